"""test.py --normalizer: error rates as public leaderboards count them, against jiwer."""

from __future__ import annotations

import csv
import re
import sys

import jiwer
import pytest
from whisper_normalizer.english import EnglishTextNormalizer

from deepspeech.audio.config import FeatureConfig
from deepspeech.checkpoint.format import save_checkpoint
from deepspeech.commands.test import main
from deepspeech.errors import InputError
from deepspeech.evaluation.normalizer import load_normalizer
from tests.conftest import tiny_model

TEXTS = ["Mr. Smith, uh, won't pay €5!", "TWENTY-ONE\ncolours", "Hm.", "ÉTÉ"]


@pytest.fixture
def tested(own_corpus, labels, tmp_path, capsys):
    """Run test.py; returns the WER it prints, and the references and hypotheses it writes."""
    rows = own_corpus.train.read_text().split()
    for row, text in zip(rows, TEXTS, strict=True):
        (own_corpus.folder / row.split(",")[1]).write_text(text, encoding="utf-8")
    save_checkpoint(tmp_path / "model.pth", tiny_model(labels))

    def run(*flags):
        output = tmp_path / "rows.csv"
        arguments = ["--test-manifest", own_corpus.train, "--model-path", tmp_path / "model.pth", *flags]
        main([*map(str, arguments), "--num-workers", "0", "--output", str(output)])
        with open(output, encoding="utf-8", newline="") as file:
            pairs = [(row["reference"], row["hypothesis"]) for row in csv.DictReader(file)]
        said = capsys.readouterr().out
        return float(re.search(r"WER ([\d.]+) %", said)[1]), pairs, said

    return run


@pytest.mark.parametrize("stream", [False, True])
def test_references_and_hypotheses_are_normalised(tested, labels, stream, own_corpus, tmp_path):
    if stream:
        streaming = {"bidirectional": False, "features": FeatureConfig(normalize="running")}
        save_checkpoint(tmp_path / "model.pth", tiny_model(labels, **streaming))
    flags = ["--stream"] * stream
    _, plain, _ = tested("--unknown-characters", "drop", *flags)
    rate, pairs, said = tested("--normalizer", "whisper", *flags)
    normalize = EnglishTextNormalizer()
    expected = [
        (normalize(text), normalize(hypothesis)) for text, (_, hypothesis) in zip(TEXTS, plain, strict=True)
    ]
    assert pairs == expected
    assert pairs[0][0] == "mister smith will not pay €5"
    assert pairs[1][0] == "21 colors"
    counted = [(reference, hypothesis) for reference, hypothesis in expected if reference]
    insertions = sum(len(hypothesis.split()) for reference, hypothesis in expected if not reference)
    words = sum(len(reference.split()) for reference, _ in counted)
    errors = jiwer.wer(*map(list, zip(*counted, strict=True))) * words + insertions
    assert rate == pytest.approx(100 * errors / words, abs=0.01)
    assert "4 utterances of" in said
    assert "normalised by whisper\n" in said


def test_other_languages_keep_their_words(tested):
    _, pairs, _ = tested("--normalizer", "whisper-basic")
    assert [reference for reference, _ in pairs] == [
        "mr smith uh won t pay 5",
        "twenty one colours",
        "hm",
        "été",
    ]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "whisper_normalizer.basic", None)
    with pytest.raises(
        InputError, match="--normalizer needs whisper-normalizer; pip install whisper-normalizer"
    ):
        load_normalizer("whisper")


@pytest.mark.parametrize("flag", ["--report", "--save-output"])
def test_what_needs_the_words_of_the_network_is_refused(flag):
    with pytest.raises(InputError, match=f"{flag}: needs the words of the network; leave out --normalizer"):
        main(["--normalizer", "whisper", flag, "x"])
