"""Uploaded recordings: decoded within limits, transcribed as transcribe.py does it, whole or in segments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from deepspeech.audio.loading import duration, stream_audio
from deepspeech.decoding.word_times import Transcript
from deepspeech.errors import InputError
from deepspeech.inference.long_form import BLOCK, transcribe_blocks
from deepspeech.serving.engine import Client, Engine
from deepspeech.transcription.recordings import RecordingsConfig

LIMITS = RecordingsConfig()  # which recordings are cut, and where


class TooLongError(InputError):
    """A recording lasts longer than the server allows."""


class RecordingError(InputError):
    """A recording cannot be decoded; the words name no path of the server."""


def transcribe_recording(
    engine: Engine, path: Path, max_seconds: float
) -> tuple[float, Iterator[Transcript]]:
    """Transcribe an audio file.

    Args:
        engine: Of the model.
        path: The file, under a name of the server's own.
        max_seconds: Longest recording. What the header declares counts first, then what is decoded.

    Returns:
        Seconds of audio, and the transcript in parts, each as soon as it is done.

    Raises:
        RecordingError: It is no audio, or damaged; also while the parts are made.
        TooLongError: It is too long; also while the parts are made.
    """
    try:
        seconds = duration(path)
    except InputError as error:
        raise RecordingError(_without(path, error)) from None
    if seconds > max_seconds:
        raise TooLongError(f"the recording lasts {seconds:.0f} s; at most {max_seconds:.0f} s are allowed")
    return seconds, _parts(engine, path, max_seconds)


def _parts(engine: Engine, path: Path, max_seconds: float) -> Iterator[Transcript]:
    blocks = stream_audio(path, engine.sample_rate, BLOCK)
    try:
        yield from transcribe_audio(engine, limited(blocks, max_seconds * engine.sample_rate))
    except TooLongError:
        raise
    except InputError as error:
        raise RecordingError(_without(path, error)) from None


def transcribe_audio(engine: Engine, blocks: Iterable[np.ndarray]) -> Iterator[Transcript]:
    """Transcribe audio that comes in blocks (samples,): whole if it is short, else in segments."""
    transcripts_of = partial(engine.transcripts_of, client=Client())
    blocks, first, size = iter(blocks), list[np.ndarray](), 0
    for block in blocks:
        first.append(block)
        size += len(block)
        if size > LIMITS.whole_seconds * engine.sample_rate:
            yield from transcribe_blocks(
                engine.recognizer.model,
                transcripts_of,
                chain(first, blocks),
                LIMITS.segment_seconds,
                LIMITS.batch_seconds,
            )
            return
    ((best, *_),) = transcripts_of([np.concatenate(first)])
    yield best


def limited(blocks: Iterator[np.ndarray], samples: float) -> Iterator[np.ndarray]:
    """Blocks up to a number of samples, whatever the header of their file says.

    Raises:
        TooLongError: There are more.
    """
    for block in blocks:
        samples -= len(block)
        if samples < 0:
            raise TooLongError("the recording lasts longer than its header says and than is allowed")
        yield block


def _without(path: Path, error: InputError) -> str:
    """The message without the path, which means nothing to the client."""
    return str(error).replace(f"{path}: ", "").replace(str(path), "the file")
