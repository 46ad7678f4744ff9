"""ONNX files as models: the text of torch, whole and in streams, on machines that have no torch."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import numpy as np
import onnx
import pytest
import soundfile

from deepspeech.audio.config import FeatureConfig
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.checkpoint.format import save_checkpoint
from deepspeech.errors import InputError
from deepspeech.export import onnx_file
from deepspeech.inference.factory import InferenceConfig, load_recognizer
from deepspeech.inference.recognizer import Recognizer
from deepspeech.inference.stream_batch import advance
from tests.conftest import ROOT, run_script, tiny_model

REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused}:
            raise ModuleNotFoundError(f"refused: {{name}}")
sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(scope="module")
def streaming(labels):
    return tiny_model(labels, bidirectional=False, features=FeatureConfig(normalize="running"))


@pytest.fixture(scope="module")
def files(streaming, tmp_path_factory):
    """A streaming model as model.pth and model.onnx, and some noise as a.wav."""
    folder = tmp_path_factory.mktemp("onnx")
    save_checkpoint(folder / "model.pth", streaming)
    onnx_file.write(streaming, folder / "model.onnx")
    soundfile.write(folder / "a.wav", noise(40000), 16000)
    return folder


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def refusing(packages):
    return REFUSE.format(refused=sorted(packages))


def heavy():
    """The packages that the toolkit needs and transcription of ONNX files does not, and onnx itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = (ROOT / "requirements-onnx.txt").read_text(encoding="utf-8").split()
    names = {each.partition(">")[0] for each in {*project["dependencies"]} - {*needed}}
    return {"Levenshtein" if name == "python-Levenshtein" else name for name in names} | {"onnx"}


def test_a_light_install_lacks_what_is_large_and_has_the_same_versions():
    assert heavy() >= {"torch", "numba", "scipy", "matplotlib", "onnx"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = (ROOT / "requirements-onnx.txt").read_text(encoding="utf-8").split()
    assert {*needed} <= {*project["dependencies"], *project["optional-dependencies"]["onnx"]}


@pytest.mark.parametrize("arguments", [["a.wav"], ["--stream", "a.wav"], ["--words", "a.wav", "a.wav"]])
def test_transcribes_without_torch(files, arguments):
    code = "from deepspeech.__main__ import main; main()"
    command = ["transcribe", *arguments, "--model-path", "model.onnx"]
    options = {"cwd": files, "capture_output": True, "text": True, "timeout": 60}
    found = subprocess.run([sys.executable, "-c", refusing(heavy()) + code, *command], **options)
    assert not found.stderr
    command[-1] = "model.pth"
    wanted = subprocess.run([sys.executable, "-c", code, *command], **options)
    assert found.stdout.replace("model.onnx", "model.pth") == wanted.stdout


def test_importing_the_package_imports_no_torch():
    code = "import sys, deepspeech; assert 'torch' not in sys.modules; from deepspeech import *; DeepSpeech"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("decoding", [DecoderConfig(), DecoderConfig(decoder="beam", beam_width=8)])
def test_the_same_hypotheses(files, decoding):
    onnx_model, torch_model = (
        load_recognizer(InferenceConfig(model_path=str(files / name)), decoding)
        for name in ("model.onnx", "model.pth")
    )
    waveforms = [noise(samples, samples) for samples in (16000, 9000, 31000)]
    rows = zip(onnx_model.batch_transcripts(waveforms), torch_model.batch_transcripts(waveforms), strict=True)
    for (found, *_), (wanted, *_) in rows:
        assert (found.hypothesis.text, found.hypothesis.offsets) == (
            wanted.hypothesis.text,
            wanted.hypothesis.offsets,
        )
        assert found.hypothesis.score == pytest.approx(wanted.hypothesis.score, abs=1e-3)
        assert [word.confidence for word in found.words] == pytest.approx(
            [word.confidence for word in wanted.words], abs=1e-3
        )


@pytest.mark.parametrize("size", [160, 1600, 7001])
def test_streams_equal_the_whole(files, size):
    recognizer, waveform = Recognizer.load(files / "model.onnx"), noise(40000)
    stream = recognizer.stream()
    for start in range(0, len(waveform), size):
        partial = stream.feed(waveform[start : start + size])
    hypothesis = stream.finish()
    assert hypothesis.text.startswith(partial.text)
    assert hypothesis.text == recognizer.transcribe(waveform).text


def test_streams_advance_together(files):
    recognizer = Recognizer.load(files / "model.onnx")
    waveforms = [noise(8000, 1), noise(8000, 2), noise(6400, 3)]
    streams = [recognizer.stream() for _ in waveforms]
    for start in range(0, 8000, 1600):  # the last one joins when the others have a state
        going = streams if start else streams[:2]
        chunks = [each[max(len(each) - 8000 + start, 0) :][:1600] for each in waveforms]
        advance(going, [stream.prepare(chunk) for stream, chunk in zip(going, chunks, strict=False)])
    for stream, waveform in zip(streams, waveforms, strict=True):
        assert stream.finish().text == recognizer.transcribe(waveform).text


def test_whole_utterances_only(labels, tmp_path):
    onnx_file.write(tiny_model(labels), tmp_path / "model.onnx")
    with pytest.raises(
        InputError, match="the model cannot stream: it processes utterances in both directions"
    ):
        Recognizer.load(tmp_path / "model.onnx").stream()


@pytest.mark.parametrize("more", [[], ["--stream"]])
def test_error_rates(files, corpus, more):
    flags = ["--test-manifest", corpus.val, "--num-workers", 0, *more, "--model-path"]
    found, wanted = (
        run_script("test.py", *flags, files / f"model.{each}").stdout for each in ("onnx", "pth")
    )
    assert "WER" in found
    assert found == wanted


def write(path, content):
    path.write_bytes(content)
    return path


def strange_file(kind, files, streaming, folder):
    path = folder / "model.onnx"
    match kind:
        case "cut":
            return write(path, (files / "model.onnx").read_bytes()[:5000])
        case "text":
            return write(path, b"not a model")
        case "of others":
            model = onnx.load(files / "model.onnx")
            del model.metadata_props[:]
            return write(path, model.SerializeToString())
        case "features outside":
            onnx_file.write(streaming, path, features_outside=True)
    return path


FAULTS = {
    "missing": "cannot read it: No such file or directory",
    "cut": "damaged, or not an ONNX file",
    "text": "damaged, or not an ONNX file",
    "of others": "not a file of deepspeech export; export the model with --to onnx",
    "features outside": "its spectrogram is outside; export it without --features-outside",
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faulty_files(files, streaming, tmp_path, kind):
    path = strange_file(kind, files, streaming, tmp_path)
    with pytest.raises(InputError, match=FAULTS[kind]) as caught:
        Recognizer.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"cuda": True}, {"int8": True}, {"precision": "bf16"}])
def test_options_of_torch_are_refused(files, options):
    config = InferenceConfig(model_path=str(files / "model.onnx"), **options)
    with pytest.raises(InputError, match="an ONNX file runs on the CPU as it was exported"):
        load_recognizer(config, DecoderConfig())


def test_reports_need_torch(files, corpus, tmp_path):
    flags = [
        "--test-manifest",
        corpus.val,
        "--model-path",
        files / "model.onnx",
        "--report",
        tmp_path / "a.html",
    ]
    found = run_script("test.py", *flags)
    assert found.returncode == 2
    assert "--report: needs the model in torch" in found.stderr
