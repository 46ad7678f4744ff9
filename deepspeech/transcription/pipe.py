"""Samples from a pipe, as they come: raw, or WAV, also of unknown length."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deepspeech import log
from deepspeech.audio import mpeg
from deepspeech.audio.containers import STREAMED
from deepspeech.errors import InputError

BLOCK = 0.1  # seconds of audio that are read at a time
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # format tags of WAV
FORMATS = {  # by the first bytes
    b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "mp3", b"RIFX": "RIFX", b".snd": "AU", b"FORM": "AIFF",
    b"caff": "CAF", b"RF64": "RF64", b"riff": "W64", b"NIST_1A": "SPHERE",
}  # fmt: skip
TYPES = {(PCM, 16): "<i2", (PCM, 32): "<i4", (FLOAT, 32): "<f4"}


@dataclass(frozen=True)
class Encoding:
    """Format of the samples in a pipe."""

    sample_rate: int
    channels: int = 1
    dtype: str = "<i2"

    @property
    def frame(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * np.dtype(self.dtype).itemsize

    def decode(self, data: bytes) -> np.ndarray:
        """Whole frames -> mono waveform (samples,), float32, full scale is 1."""
        samples = np.frombuffer(data, self.dtype).reshape(-1, self.channels)
        scale = 1.0 if self.dtype == "<f4" else -float(np.iinfo(self.dtype).min)
        waveform: np.ndarray = (samples / np.float32(scale)).mean(axis=1, dtype=np.float32)
        return waveform


def read_pipe(pipe: io.BufferedReader, raw: Encoding) -> Iterator[tuple[np.ndarray, int]]:
    """Mono waveforms (samples,) and their sample rates in Hz, each as soon as it arrives.

    Args:
        pipe: Raw samples or WAV, of any length.
        raw: Format of the samples if there is no WAV header.

    Raises:
        InputError: A WAV header is damaged, or its format is not supported.
    """
    head = pipe.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        yield from _read_wav(pipe)
        return
    if length := mpeg.frame_length(head[:4]):  # or samples that look like it
        head += pipe.read(length + 4 - len(head))
    names = [name for magic, name in FORMATS.items() if head.startswith(magic)]
    if names or mpeg.frame_length(head[length:][:4]):
        raise InputError(
            f"standard input: {[*names, 'mp3'][0]} cannot be read from a pipe; send WAV or raw samples: "
            "ffmpeg -i FILE -f wav - | python transcribe.py --stream -"
        )
    yield from _read_samples(pipe, raw, math.inf, head)


def _read_samples(
    pipe: io.BufferedReader, encoding: Encoding, size: float, rest: bytes = b""
) -> Iterator[tuple[np.ndarray, int]]:
    """Read `size` bytes, which may be infinite; `rest` holds the first of them."""
    block, left = max(int(BLOCK * encoding.sample_rate), 1) * encoding.frame, size - len(rest)
    while True:
        whole = len(rest) - len(rest) % encoding.frame
        if whole:
            yield encoding.decode(rest[:whole]), encoding.sample_rate
        data = pipe.read1(int(min(block, left)))
        rest, left = rest[whole:] + data, left - len(data)
        if not data:
            break
    if 0 < left < math.inf:
        log.warning(f"standard input: ended {left} bytes before its header says")
    if rest:
        log.warning(
            f"standard input: its last {len(rest)} bytes are no whole sample of {encoding.frame} bytes; "
            "they are left out"
        )


def _read_wav(pipe: io.BufferedReader) -> Iterator[tuple[np.ndarray, int]]:
    """Read the chunks after "WAVE". Another WAV may follow, of another format."""
    encoding = None
    while len(head := pipe.read(8)) == 8:
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name == b"RIFF":
            pipe.read(4)
        elif name == b"fmt ":
            encoding = _parse_format(pipe.read(size))
        elif name == b"data":
            if encoding is None:
                raise InputError("standard input: a WAV header without a format; repair what writes it")
            yield from _read_samples(pipe, encoding, size if 0 < size < STREAMED else math.inf)
            pipe.read(size % 2)
        else:
            pipe.read(size + size % 2)


def _parse_format(data: bytes) -> Encoding:
    if len(data) < 16:
        raise InputError("standard input: a damaged WAV header; repair what writes it")
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", data[:16])
    if tag == EXTENSIBLE and len(data) >= 26:
        tag = int.from_bytes(data[24:26], "little")
    if (tag, bits) not in TYPES or not channels or not rate:
        raise InputError(
            f"standard input: WAV of format {tag}, {bits} bits, {channels} channels, {rate} Hz; "
            "send 16-bit or 32-bit PCM or 32-bit floats"
        )
    return Encoding(rate, channels, TYPES[tag, bits])
