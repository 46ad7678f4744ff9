# `make demo` and `make test` need Python 3.11 or newer and make, and set up the rest themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORPUS := data/synthetic
DEMO := models/demo
SAMPLE := test_00004
NUMERICS := tests/model tests/audio/test_features.py tests/checkpoint/test_deepspeech_pytorch.py \
	tests/inference/test_quantization.py

# Threads of a training step: one a core. More threads than cores make it many times slower,
# so lower the number on a shared machine: `make demo OMP_NUM_THREADS=2`.
export OMP_NUM_THREADS ?= $(shell getconf _NPROCESSORS_ONLN)

.PHONY: help demo docs test test-all lock clean
.DELETE_ON_ERROR:

help:
	@echo "make demo   train on synthetic speech, test and transcribe: minutes on two cores"
	@echo "make test   check style and types and run all tests"
	@echo "make test-all  run the tests that are slow by nature"
	@echo "make docs   build the documentation site in build/site, the executed notebook included"
	@echo "make lock   choose the versions in requirements.lock anew, check that all have wheels"
	@echo "make clean  remove the environment, the synthetic corpus and the demo's model"

demo: $(VENV)/installed $(CORPUS)/test_manifest.csv
	$(BIN)/python train.py @configs/demo.txt --save-folder $(DEMO) --id "Synthetic corpus" \
		--train-manifest $(CORPUS)/train_manifest.csv --val-manifest $(CORPUS)/val_manifest.csv
	$(BIN)/python test.py --model-path $(DEMO)/deepspeech_final.pth \
		--test-manifest $(CORPUS)/test_manifest.csv --num-workers 1 --output $(DEMO)/test.csv
	$(BIN)/python transcribe.py --model-path $(DEMO)/deepspeech_final.pth $(CORPUS)/wav/$(SAMPLE).wav \
		> $(DEMO)/transcript.json
	@echo "Reference:  $$(cat $(CORPUS)/txt/$(SAMPLE).txt)"
	@sed 's/.*"transcription": "\([^"]*\)".*/Transcript: \1/' $(DEMO)/transcript.json
	@echo "Curves:     $(DEMO)/curves.png"

# On a processor with AVX-512 what computes is tested once more as without, by AVX2 code.
test: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/python -c "import librosa.core.pitch"  # compiles; test processes doing so at once damage its cache
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup
	! grep -qs avx512 /proc/cpuinfo || ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 \
		$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup -m "not slow" $(NUMERICS)

test-all: $(VENV)/installed
	$(BIN)/codespell
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup --exhaustive

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/mkdocs build --strict --quiet

lock: $(VENV)/installed
	$(BIN)/uv pip compile --quiet --upgrade --universal --fork-strategy fewest --python-version 3.11 \
		--only-binary :all: --all-extras --no-emit-index-url --custom-compile-command "make lock" \
		--output-file requirements.lock pyproject.toml
	$(BIN)/python scripts/check_wheels.py

clean:
	rm -rf $(VENV) $(CORPUS) $(DEMO)

$(CORPUS)/test_manifest.csv: data/synthetic.py | $(VENV)/installed
	$(BIN)/python data/synthetic.py --target-dir $(CORPUS)

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || \
		{ echo "$(PYTHON) is no Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --requirement requirements.lock
	$(BIN)/pip install --no-deps --no-build-isolation --editable .
	@touch $@
