"""Joining transcripts of segments: no word is lost, none is doubled."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.decoding.decoder import Hypothesis
from deepspeech.decoding.word_times import Transcript, Word
from deepspeech.inference.joining import Piece, join, joined, place, seam

FRAME = 0.02


def piece(words: Sequence[Word], start: float, stop: float, gap: str = " ") -> Piece:
    """What a segment reads: words with the times of the recording, one character every frame."""
    text, offsets = "", []
    for word in words:
        if text and gap:
            text, offsets = text + gap, [*offsets, offsets[-1] + 1]
        first = round((word.start - start) / FRAME)
        text, offsets = text + word.text, [*offsets, *range(first, first + len(word.text))]
    moved = [Word(word.text, word.start - start, word.end - start, 1.0) for word in words]
    if not gap and text:  # one word for all that is said
        moved = [Word(text, moved[0].start, moved[-1].end, 1.0)]
    return place(Transcript(Hypothesis(text, offsets, -1.0), moved), start, stop, FRAME)


def texts(parts: Sequence[Transcript]) -> list[str]:
    return [part.hypothesis.text for part in parts]


def test_pieces_that_do_not_overlap_follow_each_other():
    one = piece([Word("ONE", 0.2, 0.6, 1.0), Word("TWO", 0.8, 1.2, 1.0)], 0, 2)
    two = piece([Word("THREE", 3.2, 3.6, 1.0)], 3, 4)
    parts = list(join([one, piece([], 2, 3), two]))
    assert texts(parts) == ["ONE TWO", "THREE"]
    whole = joined(parts)
    assert whole.hypothesis.text == "ONE TWO THREE"
    assert whole.hypothesis.offsets[0] == 10
    assert whole.hypothesis.offsets[-5:] == [160, 161, 162, 163, 164]
    assert len(whole.hypothesis.offsets) == len(whole.hypothesis.text)
    assert whole.hypothesis.score == -2
    assert [(word.text, word.start) for word in whole.words] == [("ONE", 0.2), ("TWO", 0.8), ("THREE", 3.2)]


def test_nothing_said():
    assert list(join([])) == list(join([piece([], 0, 2), piece([], 1, 3)])) == []
    assert joined([]) == Transcript(Hypothesis("", [], 0.0), [])


def test_the_seam_lies_between_words_near_the_middle():
    words = [Word("ONE", 6.9, 7.3, 1.0), Word("TWO", 7.6, 8.5, 1.0), Word("SIX", 8.7, 9.2, 1.0)]
    left = piece(words, 0, 10)
    right = piece([Word(word.text, word.start + 0.03, word.end + 0.03, 1.0) for word in words], 6.8, 15)
    assert 8.5 <= seam(left, right) <= 8.73
    assert texts(join([left, right])) == ["ONE TWO", "SIX"]


def test_where_segments_disagree_each_moment_is_read_once():
    """At the edges words are cut; one segment hears two words where the other hears one."""
    left = piece([Word("ONE", 7, 7.4, 1.0), Word("SEV", 8.2, 8.4, 1.0), Word("EN", 8.4, 8.7, 1.0)], 0, 10)
    right = piece([Word("NE", 7.2, 7.4, 1.0), Word("SEVEN", 8.2, 8.7, 1.0), Word("SIX", 9, 9.5, 1.0)], 7, 15)
    assert " ".join(texts(join([left, right]))) in ("ONE SEVEN SIX", "ONE SEV EN SIX")


@st.composite
def readings(draw, gap: str = " "):
    """Words of a recording, and what overlapping segments read of them: with times a little off,
    and where a word is cut by the edge of a segment, anything."""
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
        heard, told = [], 0.0
        for word in words:
            if word.start >= stop - 0.1 or word.end <= start + 0.1:
                continue
            off = draw(st.floats(-0.02, 0.02))
            first, last = max(word.start + off, told, start), min(word.end + off, stop)
            whole = word.start >= start and word.end <= stop
            heard.append(Word(word.text if whole else "?", first, last, 1.0))
            told = last
        pieces.append(piece(heard, start, stop, gap))
        if stop >= now:
            return words, pieces
        start = stop - 3


@given(readings())
def test_no_word_is_doubled_or_lost(reading):
    words, pieces = reading
    parts = list(join(pieces))
    assert " ".join(texts(parts)).split() == [word.text for word in words]
    whole = joined(parts)
    assert whole.hypothesis.text == " ".join(texts(parts))
    assert [word.text for word in whole.words] == [word.text for word in words]
    times = [time for word in whole.words for time in (word.start, word.end)]
    assert times == sorted(times)
    expected = [time for word in words for time in (word.start, word.end)]
    assert times == pytest.approx(expected, abs=0.05)


@given(readings(gap=""))
def test_no_character_is_doubled_or_lost_where_there_are_no_spaces(reading):
    words, pieces = reading
    parts = list(join(pieces, spaced=False))
    whole = joined(parts, spaced=False)
    assert whole.hypothesis.text == "".join(texts(parts)) == "".join(word.text for word in words)
    assert len(whole.hypothesis.offsets) == len(words)
    assert "".join(word.text for word in whole.words) == whole.hypothesis.text
    times = [time for word in whole.words for time in (word.start, word.end)]
    assert times == sorted(times)
