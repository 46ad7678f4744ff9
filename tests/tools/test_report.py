"""The HTML report on an evaluation."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.checkpoint.format import save_checkpoint
from deepspeech.evaluation.evaluate import compare
from deepspeech.evaluation.metrics import word_errors
from deepspeech.labels import Labels
from deepspeech.tools.report import Reliability, align_words, by_length, confusions
from tests.conftest import load_script, tiny_model

LABELS = Labels(["_", "A", "B", "C", " "])


def result(reference: str, hypothesis: str):
    return compare("a.wav", reference, hypothesis)


sentences = st.lists(st.sampled_from(["A", "B", "C"]), max_size=8).map(" ".join)


@given(sentences, sentences)
def test_aligned_pairs_contain_both_texts_and_all_errors(reference, hypothesis):
    pairs = align_words(reference, hypothesis)
    assert " ".join(left for left, _ in pairs if left) == reference
    assert " ".join(right for _, right in pairs if right) == hypothesis
    assert sum(left != right for left, right in pairs) == word_errors(reference, hypothesis).edits


def test_confusions_are_counted():
    counts = confusions([result("A B", "A C"), result("B C", "C C"), result("A", "A B"), result("C", "")])
    assert counts == {("B", "C"): 2, ("", "B"): 1, ("C", ""): 1}


def test_errors_by_length():
    texts = ["", "A", "A B", "A B C", "A B C A", "A B C A B"]
    rows = by_length([result(text, "A") for text in texts])
    assert [(label, utterances) for label, utterances, _ in rows] == [
        ("0 or 1", 2),
        ("2", 1),
        ("3 to 4", 2),
        ("5 to 8", 1),
    ]
    assert [counts.edits for _, _, counts in rows] == [1, 1, 5, 4]


def test_each_word_is_paired_with_its_own_confidence():
    results = [
        replace(result("A B C", "A C"), confidences=(0.75, 0.5)),
        replace(result("B", "A B"), confidences=(0.25, 1.0)),
        result("C", ""),
    ]
    assert Reliability.of(results).words == [(0.75, True), (0.5, True), (0.25, False), (1.0, True)]


def test_reliability_statistics():
    reliability = Reliability([(0.95, True), (0.95, False), (0.15, False), (1.0, True)])
    assert reliability.above(0.9) == (3, pytest.approx(2 / 3))
    bins = reliability.bins()
    assert [(round(sure, 4), round(right, 4), number) for sure, right, number in bins] == [
        (0.15, 0.0, 1),
        (0.9667, 0.6667, 3),
    ]
    assert reliability.calibration_error == pytest.approx((0.15 + 3 * 0.3) / 4)
    assert Reliability([]).bins() == []
    assert Reliability([]).calibration_error == 0


class Page(HTMLParser):
    """The addresses a browser would fetch, and the tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    save_checkpoint(folder / "model.pth", tiny_model(LABELS))
    rows = []
    for index, text in enumerate(["A B C", ""]):
        name = f"<script>{index}"
        noise = 0.1 * np.random.default_rng(index).standard_normal(8000 * (2 - index))
        soundfile.write(folder / f"{name}.wav", noise, 16000)
        (folder / f"{index}.txt").write_text(text)
        rows.append(f"{name}.wav,{index}.txt\n")
    (folder / "all.csv").write_text("".join(rows))
    (folder / "empty.csv").write_text(rows[-1])
    return folder


@pytest.mark.parametrize("manifest", ["all.csv", "empty.csv"])
def test_the_report_is_self_contained(corpus, manifest, capsys):
    path = corpus / f"{manifest}.html"
    files = "--model-path", str(corpus / "model.pth"), "--test-manifest", str(corpus / manifest)
    load_script("test.py").main([*files, "--num-workers", "0", "--report", str(path)])
    text = path.read_text()
    page = Page(text)
    assert page.sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not {"script", "link"} & set(page.tags)  # file names are text, not markup
    assert "&lt;script&gt;1.wav" in text
    wer = re.search(r"WER ([\d.]+ %|no rate)", capsys.readouterr().out)[1].replace("no rate", "–")
    assert f"<td>{wer}</td>" in text
