"""Long recordings, transcribed by a network whose output is known from the audio."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from deepspeech.beam_search.config import DecoderConfig
from deepspeech.errors import InputError
from deepspeech.inference.factory import make_decoder
from deepspeech.inference.joining import joined
from deepspeech.inference.long_form import batches, transcribe_long
from deepspeech.inference.recognizer import Recognizer
from deepspeech.inference.segmenter import Segment
from deepspeech.labels import Labels
from deepspeech.model.deepspeech2 import ModelConfig

RATE = 16000
LABELS = Labels(["_", "A", "B", "C", "D", "E", "F", " "])
TONE = 600  # Hz between the tones of two labels
LETTER = 0.12  # seconds


class Tones(nn.Module):
    """Writes a letter for every tone, a space for silence and for the highest tone."""

    def __init__(self) -> None:
        super().__init__()
        self.config, self.labels = ModelConfig(labels=LABELS.characters), LABELS
        self.frame_seconds = 0.02
        self.weight = nn.Parameter(torch.zeros(1))  # tells the device

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        bins = [0, *(index * TONE // 50 for index in range(1, len(LABELS)))]
        scores = features[:, bins, ::2].transpose(1, 2).clone()
        scores[:, :, 0] = -9  # no blanks: repeated letters are one
        silent = scores.max(dim=2).values < 3
        scores[silent] = torch.eye(len(LABELS))[-1]
        return (20 * scores).log_softmax(-1), (lengths + 1) // 2


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(Tones())


def tone(index: int, seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return 0.3 * np.sin(2 * np.pi * TONE * index * time) * np.minimum(1, 40 * np.hanning(len(time)))


def say(words: list[str], pauses: list[float], path: Path, rate: int = RATE) -> list[tuple[float, float]]:
    """Write the words with a pause after each; a pause of 0 is a loud tone that means a space.

    Returns the times of the words.
    """
    parts, times, now = [], [], 0
    for word, pause in zip(words, pauses, strict=True):
        parts += [tone(LABELS.index(letter), LETTER) for letter in word]
        times.append((now / RATE, now / RATE + LETTER * len(word)))
        parts.append(np.zeros(round(pause * RATE)) if pause else tone(len(LABELS) - 1, 0.08))
        now += sum(map(len, parts[-1 - len(word) :]))
    waveform = np.concatenate(parts)
    waveform += 1e-3 * np.random.default_rng(0).standard_normal(len(waveform))
    soundfile.write(path, waveform, RATE)
    return times


@st.composite
def texts(draw, pause: st.SearchStrategy[float], shortest: int) -> tuple[list[str], list[float]]:
    letters = st.lists(st.sampled_from("ABCDEF"), min_size=1, max_size=6)
    words = draw(st.lists(letters, min_size=shortest, max_size=shortest + 30))
    words = ["".join(a for a, b in zip(word, [*word[1:], ""], strict=True) if a != b) for word in words]
    return words, [draw(pause) for _ in words]


def check(recognizer, folder, words, pauses, chunk_seconds):
    times = say(words, pauses, folder / "said.wav")
    parts = list(transcribe_long(recognizer, folder / "said.wav", chunk_seconds))
    whole = joined(parts)
    assert whole.hypothesis.text.split() == words
    assert [word.text for word in whole.words] == words
    told = [time for word in whole.words for time in (word.start, word.end)]
    assert told == sorted(told)
    assert len(whole.hypothesis.offsets) == len(whole.hypothesis.text)
    for (start, end), word in zip(times, whole.words, strict=True):
        assert start - 0.5 <= word.start < word.end <= end + 0.5
    return parts


@settings(max_examples=12)
@given(texts(st.sampled_from([0.0, 0.3, 0.6, 1.0]), 30), st.sampled_from([4.0, 6.0, 12.0]))
def test_no_word_is_lost_or_doubled_at_silences(recognizer, tmp_path_factory, said, chunk_seconds):
    parts = check(recognizer, tmp_path_factory.getbasetemp(), *said, chunk_seconds)
    assert len(parts) > 1


@settings(max_examples=12)
@given(texts(st.just(0.0), 65), st.sampled_from([4.0, 6.0, 12.0]))
def test_no_word_is_lost_or_doubled_without_silences(recognizer, tmp_path_factory, said, chunk_seconds):
    parts = check(recognizer, tmp_path_factory.getbasetemp(), *said, chunk_seconds)
    assert len(parts) > 1


def test_silence_of_minutes_is_passed_over(recognizer, tmp_path):
    times = say(["ABC", "DEF", "A"], [150.0, 30.0, 20.0], tmp_path / "a.wav")
    parts = list(transcribe_long(recognizer, tmp_path / "a.wav", batch_seconds=5))
    assert [part.hypothesis.text for part in parts] == ["ABC", "DEF", "A"]
    for part, (start, end) in zip(parts, times, strict=True):
        (word,) = part.words
        assert (word.start, word.end) == pytest.approx((start, end), abs=0.05)
        assert 0.02 * part.hypothesis.offsets[0] == pytest.approx(start, abs=0.03)


def test_nothing_but_silence(recognizer, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100 * RATE), RATE)
    assert list(transcribe_long(recognizer, tmp_path / "a.wav")) == []


def test_results_come_as_the_recording_is_read(recognizer, tmp_path):
    """The end of the file is broken: what is before it has been told by then."""
    say(["ABC", "DEF"] * 60, [0.6, 2.5] * 60, tmp_path / "a.flac")
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[-20000:-10000] = bytes(10000)
    (tmp_path / "a.flac").write_bytes(content)
    heard = []
    with pytest.raises(InputError, match="damaged audio"):
        heard.extend(transcribe_long(recognizer, tmp_path / "a.flac"))
    assert len(heard) >= 4


def test_alternatives_are_refused(tmp_path):
    pytest.importorskip("flashlight.lib.text")
    say(["ABC", "DEF"], [1.0, 1.0], tmp_path / "a.wav")
    recognizer = Recognizer(Tones())
    recognizer.decoder = make_decoder(DecoderConfig(decoder="beam", top_paths=2), LABELS)
    with pytest.raises(InputError, match="leave --top-paths out or pass --chunk-seconds 0"):
        list(transcribe_long(recognizer, tmp_path / "a.wav"))


def test_memory_does_not_grow_with_the_recording(recognizer, tmp_path):
    def peak(words: int) -> int:
        say(["AB"] * words, [0.8] * words, tmp_path / f"{words}.wav")
        tracemalloc.start()
        try:
            for _ in transcribe_long(recognizer, tmp_path / f"{words}.wav"):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(560) < peak(140) + 2**20


@given(st.lists(st.integers(1, 20), max_size=30), st.integers(1, 90))
def test_batches(lengths, samples):
    segments = [Segment(np.zeros(length), 0) for length in lengths]
    grouped = list(batches(segments, samples))
    assert [segment for batch in grouped for segment in batch] == segments
    for batch in grouped:
        assert len(batch) == 1 or len(batch) * max(len(each.waveform) for each in batch) <= samples
