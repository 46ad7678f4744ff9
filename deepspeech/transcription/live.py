"""`transcribe.py --stream`: the text so far, while audio comes from a pipe or a file."""

from __future__ import annotations

import io
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TextIO, cast

import numpy as np

from deepspeech.audio.loading import stream_audio
from deepspeech.decoding.decoder import Hypothesis, Partial
from deepspeech.errors import InputError
from deepspeech.inference.recognizer import Recognizer
from deepspeech.options import NOT_NEGATIVE, POSITIVE, Options, option
from deepspeech.transcription.pipe import BLOCK, Encoding, read_pipe


@dataclass(frozen=True)
class StreamConfig(Options):
    """Streaming"""

    stream: bool = option(False, "transcribe one file as it comes, printing the text so far; - is a pipe")
    sample_rate: int = option(
        16000,
        "of raw samples from a pipe, in Hz; a WAV header gives its own",
        POSITIVE,
        needs="stream",
    )
    channels: int = option(
        1, "of raw samples from a pipe, which are 16-bit, little-endian", POSITIVE, needs="stream"
    )
    real_time: bool = option(False, "read a file no faster than it was spoken", needs="stream")
    end_silence: float = option(
        1.0, "seconds without speech that end an utterance; 0: never", NOT_NEGATIVE, needs="stream"
    )


Blocks = Iterator[tuple[np.ndarray, int]]  # waveforms (samples,) with their sample rates in Hz


def transcribe_live(recognizer: Recognizer, source: str, config: StreamConfig) -> None:
    """Transcribe a file, or `-` for standard input: print the text so far, and that of every utterance.

    On a terminal one line is rewritten; elsewhere every change is a line of JSON. An utterance
    ends with a silence. Ctrl-C ends the audio, not the transcript.

    Raises:
        InputError: The audio cannot be read, or the model cannot stream. The transcript of what
            precedes the fault is printed.
    """
    stream = recognizer.stream()
    if source == "-":
        blocks = read_standard_input(config)
    else:
        blocks = read_file(source, stream.sample_rate, config.real_time)
    display, shown = Display(sys.stdout, recognizer.model.frame_seconds), Partial("", "")
    try:
        for samples, rate in interruptible(blocks):
            partial = stream.feed(samples, rate)
            if partial != shown:
                display.show(partial, stream.seconds)
                shown = partial
            if config.end_silence and stream.silence >= config.end_silence:
                start, hypothesis = stream.start, stream.end_utterance()
                if hypothesis.text.strip():
                    display.finish(hypothesis, start, stream.seconds)
                shown = Partial("", "")
    finally:  # also after a fault in the audio
        if stream.seconds:
            start, seconds, hypothesis = stream.start, stream.seconds, stream.finish()
            if hypothesis.text.strip() or not display.finished:
                display.finish(hypothesis, start, seconds)


def read_standard_input(config: StreamConfig) -> Blocks:
    """Standard input in blocks, as `read_pipe` reads it.

    Raises:
        InputError: It is a terminal, or no sample comes.
    """
    if sys.stdin.isatty():
        raise InputError(
            "standard input is a terminal; pipe audio into it: "
            "arecord -t raw -f S16_LE -r 16000 | python transcribe.py --stream -"
        )
    empty = True
    pipe = cast(io.BufferedReader, sys.stdin.buffer)  # typeshed says BinaryIO, which has no read1
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
    """End at Ctrl-C: at once while waiting for a block, else after the work on one."""
    waiting = stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        if waiting:
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, stop)
    try:
        waiting = True
        for block in blocks:
            waiting = False
            yield block
            if stopped:
                break
            waiting = True
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, previous)


class Display:
    """Shows text: one line that is rewritten on a terminal, else JSON lines."""

    def __init__(self, output: TextIO, frame_seconds: float) -> None:
        self.output, self.terminal, self.frame_seconds = output, output.isatty(), frame_seconds
        self.finished = 0  # utterances

    def show(self, partial: Partial, seconds: float) -> None:
        """Show the text after so many seconds of audio."""
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r\x1b[K{partial.text[-width:]}")
        else:
            self._write_row(seconds, partial, final=False)

    def finish(self, hypothesis: Hypothesis, start: float, seconds: float) -> None:
        """Show the final text of an utterance that started at some second of the audio so far."""
        self.finished += 1
        if self.terminal:
            self._write(f"\r\x1b[K{hypothesis.text}\n")
            return
        characters = zip(hypothesis.text, hypothesis.offsets, strict=True)
        spoken = [offset for character, offset in characters if character != " "] or [0]
        times = (start + frame * self.frame_seconds for frame in (spoken[0], spoken[-1] + 1))
        first, last = (min(each, seconds) for each in times)
        text = Partial(hypothesis.text, "")
        self._write_row(seconds, text, final=True, start=round(first, 3), end=round(last, 3))

    def _write_row(self, seconds: float, partial: Partial, **more: bool | float) -> None:
        row = {"seconds": round(seconds, 3), "committed": partial.committed, "tentative": partial.tentative}
        self._write(json.dumps(row | more) + "\n")

    def _write(self, text: str) -> None:
        self.output.write(text)
        self.output.flush()
