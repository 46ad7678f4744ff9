"""Transcripts as JSON, subtitles (SubRip, WebVTT) and time-marked words (CTM)."""

from __future__ import annotations

import html
import itertools
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deepspeech.decoding.word_times import Transcript, Word

LINE_WIDTH = 42  # characters; this and the next two are common practice for subtitles
LINES = 2
CUE_SECONDS = 7.0
SHORTEST_CUE = 1000  # milliseconds that a cue stays, if there is time
LONG_PAUSE = 1.0  # seconds that always end a cue


@dataclass(frozen=True)
class Cue:
    """The text of a subtitle and when it is shown."""

    start: int  # milliseconds
    end: int
    words: Sequence[Word]


def rows(
    transcripts: Sequence[Transcript],
    frame_seconds: float,
    offsets: bool = False,
    words: bool = False,
    scores: bool = False,
) -> list[dict[str, Any]]:
    """The `output` of deepspeech.pytorch's JSON, best first.

    On demand with where each character starts (in output frames and in seconds), with times and
    confidences of words, with what the decoder ranks by.
    """
    result = []
    for transcript in transcripts:
        hypothesis = transcript.hypothesis
        row: dict[str, Any] = {"transcription": hypothesis.text}
        if scores:
            names = ("score", "acoustic_score", "lm_score")
            row |= {name: round(getattr(hypothesis, name), 4) for name in names}
        if offsets:
            row["offsets"] = hypothesis.offsets
            row["offsets_seconds"] = [round(offset * frame_seconds, 3) for offset in hypothesis.offsets]
        if words:
            numbers = ("start", "end", "confidence")
            row["words"] = [
                {"text": word.text} | {name: round(getattr(word, name), 3) for name in numbers}
                for word in transcript.words
            ]
        result.append(row)
    return result


def text(parts: Iterable[Transcript], spaced: bool = True) -> Iterator[str]:
    """One line for a recording, piece by piece as its parts come."""
    gap = ""
    for part in parts:
        if part.hypothesis.text:
            yield gap + part.hypothesis.text
            gap = " " if spaced else ""
    yield "\n"


def srt(words: Iterable[Word]) -> Iterator[str]:
    """SubRip subtitles, cue by cue."""
    for number, cue in enumerate(cues_of(words), start=1):
        gap = "\n" if number > 1 else ""
        yield f"{gap}{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_lines(cue.words)}\n"


def vtt(words: Iterable[Word]) -> Iterator[str]:
    """WebVTT subtitles (https://www.w3.org/TR/webvtt1/), cue by cue."""
    yield "WEBVTT\n"
    for cue in cues_of(words):
        lines = html.escape(_lines(cue.words), quote=False)
        yield f"\n{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{lines}\n"


def ctm(words: Iterable[Word], recording: str) -> Iterator[str]:
    """Lines of NIST's CTM: recording, channel, start, duration, word, confidence."""
    for word in words:
        times = f"{word.start:.2f} {word.end - word.start:.2f}"
        yield f"{recording} 1 {times} {word.text} {word.confidence:.3f}\n"


def cues_of(words: Iterable[Word]) -> Iterator[Cue]:
    """Cues of words that come one by one: at most two lines of 42 characters and 7 seconds.

    Each stays long enough to be read, unless the next one starts, and none overlap.
    """
    groups, free = _grouped(words), 0  # when the screen is free again
    group = next(groups, None)
    while group:
        following = next(groups, None)
        start = max(round(1000 * group[0].start), free)
        end = max(round(1000 * group[-1].end), start + SHORTEST_CUE)
        end = min(end, start + round(1000 * CUE_SECONDS))
        if following:
            end = min(end, round(1000 * following[0].start))
        free = max(end, start + 1)
        yield Cue(start, free, group)
        group = following


def _grouped(words: Iterable[Word]) -> Iterator[list[Word]]:
    """The words of each cue: as many as fit, up to the longest pause in their second half."""
    cue: list[Word] = []
    for word in words:
        while cue and (not _fits([*cue, word]) or word.start - cue[-1].end >= LONG_PAUSE):
            pauses = [after.start - before.end for before, after in itertools.pairwise([*cue, word])]
            _, count = max((pause, index) for index, pause in enumerate(pauses, 1) if 2 * index >= len(cue))
            yield cue[:count]
            cue = cue[count:]
        cue.append(word)
    if cue:
        yield cue


def _fits(words: Sequence[Word]) -> bool:
    return words[-1].end - words[0].start <= CUE_SECONDS and _lines(words).count("\n") < LINES


def _lines(words: Sequence[Word]) -> str:
    text = " ".join(word.text for word in words)
    return textwrap.fill(text, LINE_WIDTH, break_long_words=False, break_on_hyphens=False)


def _clock(milliseconds: int, point: str) -> str:
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
