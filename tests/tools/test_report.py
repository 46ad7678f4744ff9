"""The HTML report on an evaluation."""

from __future__ import annotations

import base64
import io
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.checkpoint.format import save_checkpoint
from deepspeech.evaluation.evaluate import compare
from deepspeech.evaluation.metrics import word_errors
from deepspeech.inference.recognizer import Recognizer
from deepspeech.labels import Labels
from deepspeech.tools import utterance_view
from deepspeech.tools.report import Reliability, align_words, by_length, confusions
from deepspeech.tools.utterance_view import views
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
    model = tiny_model(LABELS)
    with torch.no_grad():  # it seldom writes blanks
        model.fc[0].module[1].weight.mul_(10)[LABELS.blank] = -1
    save_checkpoint(folder / "model.pth", model)
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


def write(corpus, manifest: str) -> str:
    path = corpus / f"{manifest}.html"
    files = "--model-path", str(corpus / "model.pth"), "--test-manifest", str(corpus / manifest)
    load_script("test.py").main([*files, "--num-workers", "0", "--report", str(path)])
    return path.read_text()


@pytest.mark.parametrize("manifest", ["all.csv", "empty.csv"])
def test_the_report_is_self_contained(corpus, manifest, capsys):
    text = write(corpus, manifest)
    page = Page(text)
    assert page.sources
    assert all(re.match("data:(image/png|audio/flac);base64,", source) for source in page.sources)
    assert page.tags.count("script") == 1, "file names are text, not markup"
    assert "link" not in page.tags
    assert "&lt;script&gt;1.wav" in text
    wer = re.search(r"WER ([\d.]+ %|no rate)", capsys.readouterr().out)[1].replace("no rate", "–")
    assert f"<td>{wer}</td>" in text


def test_what_is_heard_and_seen_is_the_recording(corpus):
    sources = Page(write(corpus, "all.csv")).sources
    sounds, pictures = (
        [base64.b64decode(each.partition(",")[2]) for each in sources if each.startswith(f"data:{kind}")]
        for kind in ("audio/flac", "image/png")
    )
    heard, rate = soundfile.read(io.BytesIO(max(sounds, key=len)))
    recorded, _ = soundfile.read(corpus / "<script>0.wav")
    np.testing.assert_allclose(heard, recorded, atol=2**-15)
    features = Recognizer.load(corpus / "model.pth").model.config.features
    assert rate == features.sample_rate
    sizes = [matplotlib.image.imread(io.BytesIO(each)).shape[:2] for each in pictures]
    assert (features.bins, features.frames.count(len(recorded))) in sizes, "a pixel for each bin and frame"


def test_sound_beyond_the_limit_is_linked(corpus, monkeypatch):
    monkeypatch.setattr(utterance_view, "EMBEDDED", 0)
    sources = [each for each in Page(write(corpus, "all.csv")).sources if not each.startswith("data:image")]
    assert sorted(sources) == [(corpus / f"<script>{index}.wav").as_uri() for index in range(2)]


def test_words_in_the_page_have_times_and_characters_places(corpus):
    recognizer = Recognizer.load(corpus / "model.pth")
    waveform = 0.1 * np.random.default_rng(3).standard_normal(16000).astype(np.float32)
    heard = replace(result("A B", "A"), index=0)
    (view,) = views([heard], recognizer, lambda index: waveform)
    (transcript, *_) = recognizer.transcripts(waveform)
    assert view.words
    assert "".join(mark.text for mark in view.marks) == transcript.hypothesis.text
    assert view.words == transcript.words
    assert all(0 < mark.place < 1 and 0 < mark.probability <= 1 for mark in view.marks)
    frames = len(view.blank)
    assert frames == recognizer.model.output_lengths(recognizer.model.config.features.frames.count(16000))
    sums = np.array(view.blank) + sum(np.array(curve) for _, curve in view.curves)
    assert np.all(sums < 1.0001)


@pytest.mark.exhaustive
def test_a_click_on_a_word_plays_it_and_the_list_can_be_sorted(corpus):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("chromium is not installed")
    write(corpus, "all.csv")
    arguments = ["--no-sandbox", "--headless=new"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, headless=False, args=arguments)
        page = browser.new_page()
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto((corpus / "all.csv.html").as_uri())
        first = page.locator("article").first
        word = first.locator("button").first
        word.click()
        page.wait_for_function("document.querySelector('article audio').currentTime > 0")
        start = float(word.get_attribute("data-start"))
        assert page.evaluate("document.querySelector('article audio').currentTime") >= start - 0.01
        page.select_option("#sort", "name")
        names = page.locator("article").evaluate_all("all => all.map(each => each.dataset.name)")
        assert names == sorted(names)
        browser.close()
    assert not faults
