"""Long recordings, transcribed by a network whose output is known from the audio."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from deepspeech.beam_search.config import DecoderConfig
from deepspeech.decoding.decoder import Hypothesis
from deepspeech.decoding.word_times import Transcript, Word
from deepspeech.errors import InputError
from deepspeech.inference.endpointing import Segment
from deepspeech.inference.factory import make_decoder
from deepspeech.inference.long_form import Piece, batches, concatenate, join, place, seam, transcribe_long
from deepspeech.inference.recognizer import Recognizer
from deepspeech.labels import Labels
from deepspeech.model.config import ModelConfig

RATE = 16000
LABELS = Labels(["_", "A", "B", "C", "D", "E", "F", " "])
TONE = 600  # Hz between the tones of two labels
LETTER = 0.12  # seconds
FRAME = 0.02


class Tones(nn.Module):
    """Writes a letter for every tone, a space for silence and for the highest tone."""

    def __init__(self) -> None:
        super().__init__()
        self.config, self.labels = ModelConfig(labels=LABELS.characters), LABELS
        self.frame_seconds = 0.02
        self.weight = nn.Parameter(torch.zeros(1))  # for its device

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
    whole = concatenate(parts)
    assert whole.hypothesis.text.split() == words
    assert [word.text for word in whole.words] == words
    found = [time for word in whole.words for time in (word.start, word.end)]
    assert found == sorted(found)
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


def test_minutes_of_silence_are_skipped(recognizer, tmp_path):
    times = say(["ABC", "DEF", "A"], [150.0, 30.0, 20.0], tmp_path / "a.wav")
    parts = list(transcribe_long(recognizer, tmp_path / "a.wav", batch_seconds=5))
    assert [part.hypothesis.text for part in parts] == ["ABC", "DEF", "A"]
    for part, (start, end) in zip(parts, times, strict=True):
        (word,) = part.words
        assert (word.start, word.end) == pytest.approx((start, end), abs=0.05)
        assert 0.02 * part.hypothesis.offsets[0] == pytest.approx(start, abs=0.03)


def test_silence_alone_gives_nothing(recognizer, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100 * RATE), RATE)
    assert list(transcribe_long(recognizer, tmp_path / "a.wav")) == []


def test_results_come_while_the_recording_is_processed(recognizer, tmp_path):
    """Its end is damaged: what precedes that has been yielded by then."""
    say(["ABC", "DEF"] * 60, [0.6, 2.5] * 60, tmp_path / "a.flac")
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[-20000:-10000] = bytes(10000)
    (tmp_path / "a.flac").write_bytes(content)
    found = []
    with pytest.raises(InputError, match="damaged audio"):
        found.extend(transcribe_long(recognizer, tmp_path / "a.flac"))
    assert len(found) >= 4


def test_alternatives_are_refused(tmp_path):
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


def piece(words: Sequence[Word], start: float, stop: float, gap: str = " ") -> Piece:
    """A segment's transcript: words with the times of the recording, one character every frame."""
    text, offsets = "", []
    for word in words:
        if text and gap:
            text, offsets = text + gap, [*offsets, offsets[-1] + 1]
        first = round((word.start - start) / FRAME)
        text, offsets = text + word.text, [*offsets, *range(first, first + len(word.text))]
    moved = [Word(word.text, word.start - start, word.end - start, 1.0) for word in words]
    if not gap and text:  # one word for all that is said
        moved = [Word(text, moved[0].start, moved[-1].end, 1.0)]
    return place(Transcript(Hypothesis(text, offsets, -1.0), moved), start, stop, FRAME, spaced=bool(gap))


def texts_of(parts: Sequence[Transcript]) -> list[str]:
    return [part.hypothesis.text for part in parts]


def test_pieces_that_do_not_overlap_follow_each_other():
    one = piece([Word("ONE", 0.2, 0.6, 1.0), Word("TWO", 0.8, 1.2, 1.0)], 0, 2)
    two = piece([Word("THREE", 3.2, 3.6, 1.0)], 3, 4)
    parts = list(join([one, piece([], 2, 3), two]))
    assert texts_of(parts) == ["ONE TWO", "THREE"]
    whole = concatenate(parts)
    assert whole.hypothesis.text == "ONE TWO THREE"
    assert whole.hypothesis.offsets[0] == 10
    assert whole.hypothesis.offsets[-5:] == [160, 161, 162, 163, 164]
    assert len(whole.hypothesis.offsets) == len(whole.hypothesis.text)
    assert whole.hypothesis.score == -2
    assert [(word.text, word.start) for word in whole.words] == [("ONE", 0.2), ("TWO", 0.8), ("THREE", 3.2)]


def test_pieces_without_text_yield_nothing():
    assert list(join([])) == list(join([piece([], 0, 2), piece([], 1, 3)])) == []
    assert concatenate([]) == Transcript(Hypothesis("", [], 0.0), [])


def test_the_seam_lies_between_words_near_the_middle():
    words = [Word("ONE", 6.9, 7.3, 1.0), Word("TWO", 7.6, 8.5, 1.0), Word("SIX", 8.7, 9.2, 1.0)]
    left = piece(words, 0, 10)
    right = piece([Word(word.text, word.start + 0.03, word.end + 0.03, 1.0) for word in words], 6.8, 15)
    assert 8.5 <= seam(left, right) <= 8.73
    assert texts_of(join([left, right])) == ["ONE TWO", "SIX"]


def test_where_segments_disagree_each_moment_counts_once():
    """At the edges words are cut; one segment has two words where the other has one."""
    left = piece([Word("ONE", 7, 7.4, 1.0), Word("SEV", 8.2, 8.4, 1.0), Word("EN", 8.4, 8.7, 1.0)], 0, 10)
    right = piece([Word("NE", 7.2, 7.4, 1.0), Word("SEVEN", 8.2, 8.7, 1.0), Word("SIX", 9, 9.5, 1.0)], 7, 15)
    assert " ".join(texts_of(join([left, right]))) in ("ONE SEVEN SIX", "ONE SEV EN SIX")


@st.composite
def readings(draw, gap: str = " "):
    """Words of a recording, and the transcripts of overlapping segments: with times a little off,
    and a wrong word where the edge of a segment cuts one."""
    count = draw(st.integers(20, 60))
    length = st.floats(0.12, 0.6) if gap else st.floats(0.15, 0.4)
    pause = st.floats(0, 0.5) if gap else st.just(0.0)
    words, now = [], 0.0
    for index in range(count):
        start = now + draw(pause)
        now = start + draw(length)
        words.append(Word(f"W{index}" if gap else chr(0x4E00 + index), start, now, 1.0))
    pieces, start = [], 0.0
    while True:
        stop = min(start + draw(st.floats(5, 8)), now)
        found, last_end = [], 0.0
        for word in words:
            if word.start >= stop - 0.1 or word.end <= start + 0.1:
                continue
            off = draw(st.floats(-0.02, 0.02))
            first, last = max(word.start + off, last_end, start), min(word.end + off, stop)
            whole = word.start >= start and word.end <= stop
            found.append(Word(word.text if whole else "?", first, last, 1.0))
            last_end = last
        pieces.append(piece(found, start, stop, gap))
        if stop >= now:
            return words, pieces
        start = stop - 3


@given(readings())
def test_no_word_is_doubled_or_lost(reading):
    words, pieces = reading
    parts = list(join(pieces))
    assert " ".join(texts_of(parts)).split() == [word.text for word in words]
    whole = concatenate(parts)
    assert whole.hypothesis.text == " ".join(texts_of(parts))
    assert [word.text for word in whole.words] == [word.text for word in words]
    times = [time for word in whole.words for time in (word.start, word.end)]
    assert times == sorted(times)
    expected = [time for word in words for time in (word.start, word.end)]
    assert times == pytest.approx(expected, abs=0.05)


@given(readings(gap=""))
def test_no_character_is_doubled_or_lost_where_there_are_no_spaces(reading):
    words, pieces = reading
    parts = list(join(pieces))
    whole = concatenate(parts, spaced=False)
    assert whole.hypothesis.text == "".join(texts_of(parts)) == "".join(word.text for word in words)
    assert len(whole.hypothesis.offsets) == len(words)
    assert "".join(word.text for word in whole.words) == whole.hypothesis.text
    times = [time for word in whole.words for time in (word.start, word.end)]
    assert times == sorted(times)
