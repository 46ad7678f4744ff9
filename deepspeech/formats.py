"""Transcripts as JSON, subtitles (SubRip, WebVTT) and time-marked words (CTM)."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepspeech.words import Transcript, Word

LINE_WIDTH = 42  # characters; this and the next two are common practice for subtitles
LINES = 2
CUE_SECONDS = 7.0
LONG_PAUSE = 1.0  # seconds after which another subtitle begins in any case


def rows(
    transcripts: Sequence[Transcript], seconds: Callable[[int], float], offsets: bool, words: bool
) -> list[dict[str, Any]]:
    """The `output` of deepspeech.pytorch's JSON, best first.

    Args:
        transcripts: Of one recording.
        seconds: When an output frame begins.
        offsets: Tell where each character begins, in output frames and in seconds.
        words: Tell the time and confidence of each word.
    """
    result = []
    for transcript in transcripts:
        hypothesis = transcript.hypothesis
        row = {"transcription": hypothesis.text}
        if offsets:
            row["offsets"] = hypothesis.offsets
            row["offsets_seconds"] = [round(seconds(offset), 3) for offset in hypothesis.offsets]
        if words:
            row["words"] = [_rounded(asdict(word)) for word in transcript.words]
        result.append(row)
    return result


def srt(words: Sequence[Word]) -> str:
    """SubRip subtitles."""
    cues = (
        f"{number}\n{_clock(cue[0].start, ',')} --> {_clock(cue[-1].end, ',')}\n{_lines(cue)}\n"
        for number, cue in enumerate(cues_of(words), start=1)
    )
    return "\n".join(cues)


def vtt(words: Sequence[Word]) -> str:
    """WebVTT subtitles (https://www.w3.org/TR/webvtt1/)."""
    cues = (
        f"{_clock(cue[0].start, '.')} --> {_clock(cue[-1].end, '.')}\n"
        f"{html.escape(_lines(cue), quote=False)}\n"
        for cue in cues_of(words)
    )
    return "\n".join(["WEBVTT\n", *cues])


def ctm(words: Sequence[Word], audio_path: str | Path) -> str:
    """Lines of NIST's CTM: recording, channel, start, seconds, word, confidence."""
    recording = "_".join(Path(audio_path).stem.split())
    return "".join(
        f"{recording} 1 {word.start:.2f} {word.end - word.start:.2f} {word.text} {word.confidence:.3f}\n"
        for word in words
    )


def cues_of(words: Sequence[Word]) -> list[Sequence[Word]]:
    """Cut words into subtitles: two lines of 42 characters, 7 seconds, at pauses where possible.

    A subtitle ends at a long pause. What is too much for one takes as many words as it can hold,
    and ends at the longest pause in the second half of them.
    """
    cues = []
    while words:
        count = 1
        while count < len(words) and _fits(words[: count + 1]):
            count += 1
        long = [i for i in range(1, count) if words[i].start - words[i - 1].end >= LONG_PAUSE]
        if long:
            count = long[0]
        elif count < len(words):
            count = max(
                range((count + 1) // 2, count + 1), key=lambda i: (words[i].start - words[i - 1].end, i)
            )
        cues.append(words[:count])
        words = words[count:]
    return cues


def _fits(words: Sequence[Word]) -> bool:
    return words[-1].end - words[0].start <= CUE_SECONDS and _lines(words).count("\n") < LINES


def _lines(words: Sequence[Word]) -> str:
    text = " ".join(word.text for word in words)
    return textwrap.fill(text, LINE_WIDTH, break_long_words=False, break_on_hyphens=False)


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}
