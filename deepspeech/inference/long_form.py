"""Recordings of any length, by any model, in bounded memory: cut, transcribe, join."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from deepspeech.audio.loading import duration, stream_audio
from deepspeech.decoding.word_times import Transcript
from deepspeech.errors import InputError
from deepspeech.inference.joining import Piece, join, place
from deepspeech.inference.recognizer import Recognizer
from deepspeech.inference.segmenter import Segment, Segmenter

SHORTEST = 0.5  # of the longest segment: a shorter one ends only at a long silence


def transcribe_long(
    recognizer: Recognizer,
    path: str | Path,
    chunk_seconds: float = 20.0,
    batch_seconds: float = 80.0,
    progress: bool = False,
) -> Iterator[Transcript]:
    """Transcribe a recording in segments; yields one after the other as they are done.

    Segments end at silences and overlap where there is none (see `Segmenter`). Each is
    normalised by itself, as utterances are in training.

    Args:
        recognizer: Its best hypotheses count.
        path: An audio file.
        chunk_seconds: Longest segment.
        batch_seconds: As many segments are computed together, padding included.
        progress: Whether to show a bar on standard error.

    Yields:
        Transcripts with the times of the recording, without those of segments in which nothing is said.

    Raises:
        InputError: The file cannot be read, or not to its end; or there is more than one hypothesis:
            alternatives for a segment make none for the recording.
    """
    rate, frame = recognizer.model.config.features.sample_rate, recognizer.model.frame_seconds
    segmenter = Segmenter(rate, chunk_seconds, SHORTEST * chunk_seconds)
    length = round(duration(path))

    def pieces(bar: tqdm) -> Iterator[Piece]:
        for batch in batches(segments(stream_audio(path, rate), segmenter), round(batch_seconds * rate)):
            transcripts = recognizer.batch_transcripts([segment.waveform for segment in batch])
            for segment, (best, *others) in zip(batch, transcripts, strict=True):
                if others:
                    raise InputError(
                        f"{path}: it is transcribed in segments, which have no alternatives in common; "
                        "leave --top-paths out or pass --chunk-seconds 0"
                    )
                yield place(best, segment.start / rate, segment.stop / rate, frame)
            bar.update(min(round(batch[-1].stop / rate), length) - bar.n)

    with tqdm(total=length, desc=Path(path).name, unit="s", leave=False, disable=not progress) as bar:
        yield from join(pieces(bar), spaced=" " in recognizer.model.labels)


def segments(blocks: Iterable[np.ndarray], segmenter: Segmenter) -> Iterator[Segment]:
    """The segments of audio that comes in blocks (samples,)."""
    for block in blocks:
        yield from segmenter.feed(block)
    yield from segmenter.finish()


def batches(segments: Iterable[Segment], samples: int) -> Iterator[list[Segment]]:
    """Consecutive segments, as many as take at most some samples when padded to the longest; at least one."""
    batch: list[Segment] = []
    for segment in segments:
        longest = max(len(each.waveform) for each in [*batch, segment])
        if batch and longest * (len(batch) + 1) > samples:
            yield batch
            batch = []
        batch.append(segment)
    if batch:
        yield batch
