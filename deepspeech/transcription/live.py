"""`transcribe.py --stream`: the text so far, while audio comes from a pipe or a file."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import BinaryIO, TextIO

import numpy as np

from deepspeech.audio.loading import stream_audio
from deepspeech.decoding.decoder import Hypothesis, Partial
from deepspeech.errors import InputError
from deepspeech.inference.recognizer import Recognizer
from deepspeech.inference.stream import Stream
from deepspeech.options import NOT_NEGATIVE, POSITIVE, Options, flag_names, option
from deepspeech.transcription.pipe import BLOCK, Encoding, read_pipe


@dataclass(frozen=True)
class StreamConfig(Options):
    """Streaming"""

    stream: bool = option(
        False, "transcribe one file as it comes, telling the text so far; - reads from a pipe"
    )
    sample_rate: int = option(
        16000, "of raw samples from a pipe, in Hz; a WAV header tells its own", POSITIVE
    )
    channels: int = option(1, "of raw samples from a pipe, which are 16-bit, little-endian", POSITIVE)
    real_time: bool = option(False, "read a file no faster than it was spoken")
    end_silence: float = option(1.0, "seconds without speech that end an utterance; 0: never", NOT_NEGATIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("sample_rate", "channels", "real_time", "end_silence"):
            entry = type(self).__dataclass_fields__[name]
            if not self.stream and getattr(self, name) != entry.default:
                raise InputError(f"{flag_names(entry)[0]}: has no effect without --stream; add it")


Blocks = Iterator[tuple[np.ndarray, int]]  # waveforms (samples,) with their sample rates in Hz


def transcribe_live(recognizer: Recognizer, source: str, config: StreamConfig) -> None:
    """Print the text so far whenever it changes, and the final text of every utterance.

    On a terminal one line is rewritten; elsewhere every change is a line of JSON. An utterance
    ends with a silence. Ctrl-C ends the audio, not the transcript.

    Args:
        recognizer: Its model must be able to stream.
        source: An audio file, or `-` for standard input.
        config: How to read it.

    Raises:
        InputError: The audio cannot be read, or the model cannot stream. What was read before the
            fault is printed.
    """
    stream = recognizer.stream()
    if source == "-":
        blocks = read_standard_input(sys.stdin.buffer, config)
    else:
        blocks = read_file(source, stream.sample_rate, config.real_time)
    display = Display(sys.stdout)
    try:
        _show(stream, interruptible(blocks), config.end_silence, display, recognizer)
    finally:  # a fault in the audio takes nothing of what came before it
        if stream.seconds:
            begin, seconds, hypothesis = stream.start, stream.seconds, stream.finish()
            if hypothesis.text.strip() or not display.finished:
                display.finish(Spoken.of(hypothesis, begin, recognizer), seconds)


def _show(
    stream: Stream, blocks: Blocks, end_silence: float, display: Display, recognizer: Recognizer
) -> None:
    """Show the text so far of all blocks, and the final text of the utterances that end with a silence."""
    shown = Partial("", "")
    for samples, rate in blocks:
        partial = stream.feed(samples, rate)
        if partial != shown:
            display.show(partial, stream.seconds)
            shown = partial
        if end_silence and stream.silence >= end_silence:
            begin, hypothesis = stream.start, stream.end_utterance()
            if hypothesis.text.strip():
                display.finish(Spoken.of(hypothesis, begin, recognizer), stream.seconds)
            shown = Partial("", "")


def read_standard_input(pipe: BinaryIO, config: StreamConfig) -> Blocks:
    """What `read_pipe` reads.

    Raises:
        InputError: There is nobody at the other end, or no sample comes.
    """
    if pipe.isatty():
        raise InputError(
            "standard input is a terminal; pipe audio into it: "
            "arecord -t raw -f S16_LE -r 16000 | python transcribe.py --stream -"
        )
    empty = True
    for samples, rate in read_pipe(pipe, Encoding(config.sample_rate, config.channels)):
        empty = False
        yield samples, rate
    if empty:
        raise InputError("standard input: no audio came; check the command before the pipe")


def read_file(path: str, sample_rate: int, real_time: bool) -> Blocks:
    """A file in blocks; in real time each comes when it has been spoken."""
    start, spoken = time.monotonic(), 0
    for block in stream_audio(path, sample_rate, BLOCK):
        spoken += len(block)
        if real_time:
            time.sleep(max(start + spoken / sample_rate - time.monotonic(), 0))
        yield block, sample_rate


def interruptible(blocks: Blocks) -> Blocks:
    """End with Ctrl-C: at once while waiting for a block, else when the work on one is done."""
    waiting = stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        if waiting:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        while not stopped:
            waiting = True
            block = next(blocks, None)
            waiting = False
            if block is None:
                break
            yield block
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Spoken:
    """An utterance that has ended."""

    text: str
    start: float  # seconds since the stream began
    end: float

    @classmethod
    def of(cls, hypothesis: Hypothesis, begin: float, recognizer: Recognizer) -> Spoken:
        written = zip(hypothesis.text, hypothesis.offsets, strict=True)
        offsets = [offset for label, offset in written if label != " "] or [0]
        frame = recognizer.model.frame_seconds
        return cls(hypothesis.text, begin + offsets[0] * frame, begin + (offsets[-1] + 1) * frame)


class Display:
    """The text so far: one line that is rewritten on a terminal, else JSON lines.

    Args:
        output: Where to.
    """

    def __init__(self, output: TextIO) -> None:
        self.output, self.terminal = output, output.isatty()
        self.finished = 0  # utterances

    def show(self, partial: Partial, seconds: float) -> None:
        """Show what was read of so many seconds."""
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r\x1b[K{partial.text[-width:]}")
        else:
            self._write_row(seconds, partial, final=False)

    def finish(self, spoken: Spoken, seconds: float) -> None:
        """Show the final text of an utterance."""
        self.finished += 1
        if self.terminal:
            self._write(f"\r\x1b[K{spoken.text}\n")
        else:
            times = {"start": round(spoken.start, 3), "end": round(spoken.end, 3)}
            self._write_row(seconds, Partial(spoken.text, ""), final=True, **times)

    def _write_row(self, seconds: float, partial: Partial, **more: bool | float) -> None:
        row = {"seconds": round(seconds, 3), "committed": partial.committed, "tentative": partial.tentative}
        self._write(json.dumps(row | more) + "\n")

    def _write(self, text: str) -> None:
        self.output.write(text)
        self.output.flush()
