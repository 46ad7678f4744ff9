"""Mutated models: of languages, of speech, and their labels. They work, or are refused in one message."""

import gzip
import importlib
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from deepspeech.beam_search.beam_decoder import BeamCTCDecoder
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.beam_search.ngram import NGramModel
from deepspeech.checkpoint.format import load_model, save_checkpoint
from deepspeech.labels import Labels
from tests.beam_search.models import WORDS_ARPA
from tests.conftest import tiny_model
from tests.fuzz.mutations import COUNT, mutations, value_or_refusal

pytestmark = pytest.mark.exhaustive


def test_mutated_language_models(tmp_path: Path, labels: Labels) -> None:
    (tmp_path / "lm.arpa").write_text(WORDS_ARPA)
    binary = NGramModel.open(tmp_path / "lm.arpa").image.tobytes()
    whole = [WORDS_ARPA.encode(), binary, gzip.compress(WORDS_ARPA.encode(), mtime=0)]
    log_probs = torch.randn(1, 12, len(labels), generator=torch.Generator().manual_seed(0)).log_softmax(2)
    read = 0
    for _, content in mutations(whole, seed=5):
        path = tmp_path / "mutated.lm"
        path.write_bytes(content)
        config = DecoderConfig(decoder="beam", lm_path=str(path), beam_width=4)
        decoder = value_or_refusal(lambda config=config: BeamCTCDecoder(labels, config))
        if isinstance(decoder, str):
            assert str(path) in decoder
            assert "\n" not in decoder
            continue
        found = value_or_refusal(lambda decoder=decoder: decoder.decode(log_probs, torch.tensor([12])))
        if not isinstance(found, str):
            read += 1
            assert all(math.isfinite(best.score) for best, *_ in found)
    assert 0 < read < COUNT


def test_mutated_checkpoints(tmp_path: Path, labels: Labels) -> None:
    save_checkpoint(tmp_path / "m.pth", tiny_model(labels))
    features = torch.randn(1, 161, 40)
    path = tmp_path / "mutated.pth"
    for _, content in mutations([(tmp_path / "m.pth").read_bytes()], seed=6):
        path.write_bytes(content)
        model = value_or_refusal(lambda: load_model(path))
        if isinstance(model, str):
            assert str(path) in model
            assert "\n" not in model
        else:
            log_probs, _ = model(features, torch.tensor([40]))
            assert torch.isfinite(log_probs).all()


def test_mutated_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    whole = [json.dumps(["_", "A", "é", "'", " "], ensure_ascii=ascii).encode() for ascii in (True, False)]
    for _, content in mutations(whole, seed=7):
        path.write_bytes(content)
        found = value_or_refusal(lambda: Labels.load(path))
        if isinstance(found, str):
            assert str(path) in found
            assert "\n" not in found
        else:
            text = "".join(each for each in found if each != "_" and not each.isspace())
            assert found.decode(found.encode(text)) == text


VALUES = [
    "",
    "0",
    "-1",
    "1",
    "2.5",
    "nan",
    "-inf",
    "1e308",
    "1000000000000",
    "é",
    "\udcff",
    "a\0b",
    "--",
    "-",
]
VALUES += ["@gone", "/dev/null", ".", "beam", "srt", "AB:5", "AB:nan", "{}", "'", "A"]


@pytest.mark.parametrize("name", ["transcribe", "test", "build_lm", "tune_lm", "manifest", "verify"])
def test_mutated_command_lines(name, tmp_path, labels, corpus, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "m.pth", tiny_model(labels))
    (tmp_path / "lm.arpa").write_text(WORDS_ARPA)
    sound = str(next(Path(corpus.train).parent.glob("*.wav")))
    usual = {
        "transcribe": [["--model-path", "m.pth"], [sound], ["--decoder", "beam"], ["--lm-path", "lm.arpa"]],
        "test": [["--model-path", "m.pth"], ["--test-manifest", str(corpus.val)], ["--num-workers", "0"]],
        "build_lm": [[str(corpus.train)], ["--output", "own.arpa"]],
        "tune_lm": [["gone.npz"], ["--lm-path", "lm.arpa"]],
        "manifest": [["convert"], [str(corpus.val)], ["out.jsonl"]],
        "verify": [[str(corpus.val)]],
    }[name]
    main = importlib.import_module(f"deepspeech.commands.{name}").main
    with pytest.raises(SystemExit):
        main(["--help"])
    flags = sorted(set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"})
    random = np.random.default_rng(8)
    for _ in range(COUNT // 6):
        words = [word for part in usual if random.random() < 0.9 for word in part]
        for _ in range(random.integers(1, 4)):
            extra = [str(random.choice(flags)), *map(str, random.choice(VALUES, random.integers(3)))]
            place = int(random.integers(len(words) + 1))
            words[place:place] = extra
        found = value_or_refusal(lambda words=words: main(words))
        if isinstance(found, str):
            assert found.strip(), words
    assert not Path("/dev/null").is_file(), "no output takes its place"
