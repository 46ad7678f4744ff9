"""Recordings of any length, by any model, in bounded memory: cut, transcribe, join."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from deepspeech.audio.loading import duration, stream_audio
from deepspeech.decoding.decoder import Hypothesis
from deepspeech.decoding.word_times import Transcript, word_spans
from deepspeech.errors import InputError
from deepspeech.inference.endpointing import Segment, Segmenter
from deepspeech.inference.recognizer import Recognizer

BLOCK = 10.0  # seconds that are read at a time
SHORTEST = 0.5  # of the longest segment: a shorter one ends only at a long silence
SEAM = 0.5  # share of an overlap, in its middle, where one segment takes over from the other
DISTANCE = 0.1  # seconds inside a word that are as bad as a second away from the overlap's middle
SHORTEST_WORD = 0.001  # seconds


def transcribe_long(
    recognizer: Recognizer,
    path: str | Path,
    chunk_seconds: float = 20.0,
    batch_seconds: float = 80.0,
    progress: bool = False,
) -> Iterator[Transcript]:
    """Transcribe a recording in segments; yields each as soon as it is done.

    Segments end at silences; without silence they overlap (see `Segmenter`). Each is
    normalised by itself, as utterances are in training.

    Args:
        recognizer: Its best hypotheses count.
        path: An audio file.
        chunk_seconds: Longest segment.
        batch_seconds: Longest batch of segments, padding included.
        progress: Whether to show a bar on standard error.

    Yields:
        Transcripts with the times of the recording; none for segments without speech.

    Raises:
        InputError: The file cannot be read, or not to its end; or the decoder gives alternatives:
            those of segments cannot be combined into those of the recording.
    """
    rate, count = recognizer.model.config.features.sample_rate, math.ceil(duration(path) / BLOCK)
    style = {"unit": "s", "unit_scale": BLOCK, "leave": False, "disable": not progress}
    blocks = tqdm(stream_audio(path, rate, BLOCK), Path(path).name, count, **style)
    try:
        yield from transcribe_blocks(
            recognizer.model, recognizer.batch_transcripts, blocks, chunk_seconds, batch_seconds
        )
    except Alternatives as error:
        raise InputError(f"{path}: {error}") from None


class Alternatives(InputError):
    """A decoder gives several hypotheses for segments of a recording."""


def transcribe_blocks(
    model: Any,
    transcripts_of: Callable[[Sequence[np.ndarray]], Sequence[Sequence[Transcript]]],
    blocks: Iterable[np.ndarray],
    chunk_seconds: float = 20.0,
    batch_seconds: float = 80.0,
) -> Iterator[Transcript]:
    """`transcribe_long` for audio that comes in blocks.

    Args:
        model: The network, see `Recognizer.model`.
        transcripts_of: Transcribes a batch of segments, see `Recognizer.batch_transcripts`.
        blocks: (samples,) float32 each, at the model's sample rate.
        chunk_seconds: Longest segment.
        batch_seconds: Longest batch of segments, padding included.

    Raises:
        Alternatives: The decoder gives more than one hypothesis.
    """
    rate, frame, spaced = model.config.features.sample_rate, model.frame_seconds, " " in model.labels
    segmenter = Segmenter(rate, chunk_seconds, SHORTEST * chunk_seconds)

    def pieces() -> Iterator[Piece]:
        for batch in batches(segments(blocks, segmenter), round(batch_seconds * rate)):
            transcripts = transcripts_of([segment.waveform for segment in batch])
            for segment, (best, *others) in zip(batch, transcripts, strict=True):
                if others:
                    raise Alternatives(
                        "it is transcribed in segments, which have no alternatives in common; "
                        "leave --top-paths out or pass --chunk-seconds 0"
                    )
                yield place(best, segment.start / rate, segment.stop / rate, frame, spaced)

    yield from join(pieces())


def segments(blocks: Iterable[np.ndarray], segmenter: Segmenter) -> Iterator[Segment]:
    """The segments of audio that comes in blocks (samples,)."""
    for block in blocks:
        yield from segmenter.feed(block)
    yield from segmenter.finish()


def batches(segments: Iterable[Segment], samples: int) -> Iterator[list[Segment]]:
    """Batches of consecutive segments, of at most `samples` with padding or of one segment."""
    batch: list[Segment] = []
    for segment in segments:
        longest = max(len(each.waveform) for each in [*batch, segment])
        if batch and longest * (len(batch) + 1) > samples:
            yield batch
            batch = []
        batch.append(segment)
    if batch:
        yield batch


@dataclass(frozen=True)
class Token:
    """A word, or a character where the labels have no space."""

    start: float  # seconds
    end: float
    first: int  # its characters in the text
    last: int  # the one after them

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


@dataclass(frozen=True)
class Piece:
    """The transcript of a segment, with the times of the recording."""

    transcript: Transcript
    tokens: Sequence[Token]  # between which the text can be cut
    start: float  # of the segment, seconds
    stop: float


def place(
    transcript: Transcript, start: float, stop: float, frame_seconds: float, spaced: bool = True
) -> Piece:
    """Shift the transcript of a segment, from `start` to `stop` seconds, to its place in the recording.

    If it is not spaced, it can be cut between any two characters, not only between words.
    """
    frames, text = round(start / frame_seconds), transcript.hypothesis.text
    offsets = [frames + offset for offset in transcript.hypothesis.offsets]
    words = [
        replace(word, start=start + word.start, end=min(start + word.end, stop)) for word in transcript.words
    ]
    if spaced:
        spans = word_spans(text)
        tokens = [Token(word.start, word.end, *span) for word, span in zip(words, spans, strict=True)]
    else:
        times = itertools.pairwise([*(offset * frame_seconds for offset in offsets), stop])
        tokens = [Token(*time, index, index + 1) for index, time in enumerate(times)]
    return Piece(Transcript(replace(transcript.hypothesis, offsets=offsets), words), tokens, start, stop)


def join(pieces: Iterable[Piece]) -> Iterator[Transcript]:
    """Yield the transcript of each piece that has text, without what the next piece repeats.

    Where two overlap, the left one counts up to a seam, the right one from there.
    """
    pieces, since, last_end = iter(pieces), -math.inf, 0.0
    left = next(pieces, None)
    while left:
        right = next(pieces, None)
        until = seam(left, right) if right and right.start < left.stop else math.inf
        if kept := [each for each in left.tokens if since <= each.middle < until]:
            transcript = _part(left.transcript, kept[0].first, kept[-1].last, max(since, last_end), until)
            last_end = transcript.words[-1].end
            yield transcript
        left, since = right, until if until < math.inf else -math.inf


def seam(left: Piece, right: Piece) -> float:
    """The moment at which one of two overlapping segments takes over from the other.

    Near the edges of a segment a network lacks context, and words are cut: so the seam lies in the
    middle half of the overlap, as near to the middle as possible and between two words of both
    segments. A word counts on the side of its own middle. So a word that both have recognised is
    kept once, as long as its two times differ by less than half of its length.
    """
    start, end = right.start, left.stop
    middle, reach = (start + end) / 2, SEAM * (end - start) / 2
    both = [*left.tokens, *right.tokens]
    edges = [moment for each in both for moment in (each.start, each.end) if abs(moment - middle) <= reach]

    def cost(moment: float) -> float:
        inside = sum(max(min(moment - each.start, each.end - moment), 0) for each in both)
        return inside + DISTANCE * abs(moment - middle)

    return min([middle, *edges], key=cost)


def _part(transcript: Transcript, first: int, last: int, since: float, until: float) -> Transcript:
    """The characters from `first` to before `last`, and what is left of their words between two times."""
    hypothesis, words = transcript.hypothesis, []
    for word, (start, stop) in zip(transcript.words, word_spans(hypothesis.text), strict=True):
        if text := hypothesis.text[max(start, first) : min(stop, last)]:
            since = max(word.start, since)
            end = max(min(word.end, until), since + SHORTEST_WORD)
            words.append(replace(word, text=text, start=since, end=end))
            since = end
    text, offsets = hypothesis.text[first:last], hypothesis.offsets[first:last]
    return Transcript(replace(hypothesis, text=text, offsets=offsets), words)


def concatenate(parts: Sequence[Transcript], spaced: bool = True) -> Transcript:
    """One transcript from consecutive ones; its scores are sums."""
    hypotheses = [part.hypothesis for part in parts]
    offsets: list[int] = []
    for hypothesis in hypotheses:
        if spaced and offsets:
            offsets.append(offsets[-1] + 1)  # of the space
        offsets += hypothesis.offsets
    text = (" " if spaced else "").join(hypothesis.text for hypothesis in hypotheses)
    scores = (
        math.fsum(getattr(hypothesis, name) for hypothesis in hypotheses)
        for name in ("score", "acoustic_score", "lm_score")
    )
    return Transcript(Hypothesis(text, offsets, *scores), [word for part in parts for word in part.words])
