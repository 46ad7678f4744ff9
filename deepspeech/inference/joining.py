"""Transcripts of segments, which may overlap -> those of the recording, no word lost or doubled."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from deepspeech.decoding.decoder import Hypothesis
from deepspeech.decoding.word_times import Transcript

SEAM = 0.5  # share of an overlap, in its middle, where one segment takes over from the other
DISTANCE = 0.1  # seconds inside a word that are as bad as a second away from the overlap's middle
INSTANT = 0.001  # seconds that a word lasts at least


@dataclass(frozen=True)
class Piece:
    """The transcript of a segment."""

    transcript: Transcript  # its times are those of the recording
    start: float  # of the segment, seconds
    stop: float
    frame_seconds: float  # from one output frame to the next


@dataclass(frozen=True)
class Unit:
    """A word, or a character where the labels have no space."""

    start: float  # seconds
    end: float
    first: int  # its characters in the text
    last: int  # the one after them

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


def place(transcript: Transcript, start: float, stop: float, frame_seconds: float) -> Piece:
    """Put the transcript of a segment, whose times count from 0, to its place in the recording."""
    frames, hypothesis = round(start / frame_seconds), transcript.hypothesis
    words = [
        replace(word, start=start + word.start, end=min(start + word.end, stop)) for word in transcript.words
    ]
    moved = replace(hypothesis, offsets=[frames + offset for offset in hypothesis.offsets])
    return Piece(Transcript(moved, words), start, stop, frame_seconds)


def join(pieces: Iterable[Piece], spaced: bool = True) -> Iterator[Transcript]:
    """Join pieces in the order of the recording.

    Where two overlap, the left one counts up to a seam, the right one from there.

    Args:
        pieces: They are read one by one.
        spaced: Whether spaces part words; else a seam may lie between any two characters.

    Yields:
        Transcripts that do not overlap, one for each piece in which something is said.
    """
    left, since, told = None, -math.inf, 0.0
    for right in itertools.chain(pieces, [None]):
        overlap = left is not None and right is not None and right.start < left.stop
        until = seam(left, right, spaced) if overlap else math.inf
        if left and (kept := [each for each in units(left, spaced) if since <= each.middle < until]):
            transcript = _part(left.transcript, kept[0].first, kept[-1].last, max(since, told), until)
            told = transcript.words[-1].end
            yield transcript
        left, since = right, until if overlap else -math.inf


def seam(left: Piece, right: Piece, spaced: bool = True) -> float:
    """The moment at which one of two overlapping segments takes over from the other.

    Near the edges of a segment a network lacks context, and words are cut: so the seam lies in the
    middle half of the overlap, as near to the middle as it can between two words of both segments.
    A word is on that side of it where its own middle is. So a word that both have read is
    there once, as long as its two times differ by less than half of its length.
    """
    begin, end = right.start, left.stop
    middle, reach = (begin + end) / 2, SEAM * (end - begin) / 2
    said = [each for piece in (left, right) for each in units(piece, spaced)]
    edges = [moment for each in said for moment in (each.start, each.end) if abs(moment - middle) <= reach]

    def cost(moment: float) -> float:
        inside = sum(max(min(moment - each.start, each.end - moment), 0) for each in said)
        return inside + DISTANCE * abs(moment - middle)

    return min([middle, *edges], key=cost)


def units(piece: Piece, spaced: bool = True) -> list[Unit]:
    """The words of a piece; its characters if it is not spaced."""
    hypothesis, words = piece.transcript.hypothesis, piece.transcript.words
    if spaced:
        spans = [match.span() for match in re.finditer("[^ ]+", hypothesis.text)]
        return [Unit(word.start, word.end, *span) for word, span in zip(words, spans, strict=True)]
    times = [offset * piece.frame_seconds for offset in hypothesis.offsets] + [piece.stop]
    return [Unit(start, end, i, i + 1) for i, (start, end) in enumerate(itertools.pairwise(times))]


def _part(transcript: Transcript, first: int, last: int, since: float, until: float) -> Transcript:
    """The characters from `first` to before `last`, and what is left of the words, between two times."""
    hypothesis, words = transcript.hypothesis, []
    spans = [match.span() for match in re.finditer("[^ ]+", hypothesis.text)]
    for word, (start, stop) in zip(transcript.words, spans, strict=True):
        if text := hypothesis.text[max(start, first) : min(stop, last)]:
            since = max(word.start, since)
            end = max(min(word.end, until), since + INSTANT)
            words.append(replace(word, text=text, start=since, end=end))
            since = end
    text, offsets = hypothesis.text[first:last], hypothesis.offsets[first:last]
    return Transcript(replace(hypothesis, text=text, offsets=offsets), words)


def joined(parts: Sequence[Transcript], spaced: bool = True) -> Transcript:
    """One transcript of those that follow each other; its scores are sums."""
    text, offsets, words = "", [], []
    for part in parts:
        if spaced and text:
            text += " "
            offsets.append(offsets[-1] + 1)
        text += part.hypothesis.text
        offsets += part.hypothesis.offsets
        words += part.words
    scores = (
        math.fsum(getattr(part.hypothesis, name) for part in parts)
        for name in ("score", "acoustic_score", "lm_score")
    )
    return Transcript(Hypothesis(text, offsets, *scores), words)
