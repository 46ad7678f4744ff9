"""MPEG audio (mp3): frames counted, joined streams separated."""

from __future__ import annotations

import contextlib
import functools
import os
import struct
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from deepspeech.audio.containers import KINDS, Content, Part, refuse_rest, truncated
from deepspeech.errors import InputError

INFO = (b"Xing", b"Info")  # the tag of the frame before an mp3 stream that counts its frames
RATES = ((11025, 12000, 8000), (), (22050, 24000, 16000), (44100, 48000, 32000))  # Hz, by MPEG version
LAYER_3 = 1
HIGHEST = 14 << 4  # bit rate
DELAY = 529  # samples of a decoder
STDERR = 2
LOCK = threading.Lock()  # of standard error
KILOBITS = {  # by layer; the second row is for MPEG 2 and 2.5
    3: (range(32, 449, 32), (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)),
    2: (
        (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
        (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    ),
    LAYER_3: (
        (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
        (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    ),
}


def mpeg(data: Content, position: int) -> list[Part]:
    """Count frames, and separate joined streams.

    Raises:
        InputError: The last frame is truncated, or something else lies between or after them.
    """
    position = _first_frame(data, position)
    streams: list[_Stream] = []
    kind = None
    while frame := _frame(head := data[position : position + 4]):
        stop = position + frame.length
        if stop > len(data):
            truncated(data, stop)
        tag = data[position + frame.info : position + frame.info + 12] if frame.info else b""
        if tag[:4] in INFO or data[position + 36 : position + 40] == b"VBRI":
            counted = tag[:4] in INFO and tag[7] & 1
            declared = int.from_bytes(tag[8:12], "big") if counted else None
            streams.append(
                _Stream(position, head, frame.samples, frame.layer, stop, 0, declared, frame.length)
            )
        else:
            if frame.kind != kind:
                streams.append(_Stream(position, head, frame.samples, frame.layer))
            streams[-1].frames += 1
            streams[-1].stop = stop
        kind = frame.kind
        if (position := skip_tag(data, stop)) != stop:
            kind = None
    position = min(position, len(data))
    refuse_rest(data, position)
    return [_counted(stream) for stream in streams if stream.frames]


def frame_length(head: bytes) -> int:
    """Bytes of the frame that a header starts; 0 if it is not one."""
    frame = _frame(head)
    return frame.length if frame else 0


def _first_frame(data: Content, start: int) -> int:
    """Where three frames, or all, follow each other: a stream may start within one."""
    for place in range(start, min(start + 65536, len(data) - 4)):
        if data[place] == 0xFF:
            stop, count = place, 0
            while count < 3 and stop < len(data) and (frame := _frame(data[stop : stop + 4])):
                stop, count = skip_tag(data, stop + frame.length), count + 1
            if count == 3 or (count and stop >= len(data)):
                return place
    raise InputError(f"not an audio file that can be read ({KINDS})")


def _counted(stream: _Stream) -> Part:
    """The stream with a frame before it that declares how many follow, where none does or it is wrong."""
    if stream.declared is not None and stream.declared > stream.frames + 1:
        raise InputError(
            f"truncated audio: {stream.frames} of {stream.declared} frames are there; replace the file"
        )
    if stream.declared == stream.frames:
        return Part(stream.start, stream.stop, mpeg=True)
    header = _declare(stream.head, stream.frames) if stream.layer == LAYER_3 else b""
    start = stream.start + stream.info
    return Part(start, stream.stop, header, stream.frames * stream.samples, mpeg=True)


def _declare(head: bytes, frames: int) -> bytes:
    """A frame that declares how many follow, and a silent one.

    A decoder drops as many samples as that frame says, and 529 in any case: here they are the silent frame's.
    """
    head = bytes([head[0], head[1] | 1, HIGHEST | head[2] & 12, head[3] & 0xCF])
    frame = _frame(head) or Frame(b"", 0, 0, 0, 0)
    drop = (frame.samples - DELAY) << 12 | DELAY
    tag = struct.pack(">4sII9s12x", b"Xing", 1, frames + 1, b"LAME3.100") + drop.to_bytes(3, "big")
    silent = head.ljust(frame.length, b"\0")
    return (head + bytes(frame.info - 4) + tag).ljust(frame.length, b"\0") + silent


def skip_tag(data: Content, position: int) -> int:
    """The byte after an ID3, APE or Lyrics3 tag, or the same without one."""
    head = data[position : position + 32]
    if head[:3] == b"ID3" and len(head) >= 10:
        size = functools.reduce(lambda total, byte: total << 7 | byte & 127, head[6:10], 0)
        return position + 10 + size + (10 if head[5] & 16 else 0)
    if head[:3] == b"TAG":
        return position + 128
    if head[:8] == b"APETAGEX" and len(head) == 32:
        return position + 32 + int.from_bytes(head[12:16], "little")
    if head[:11] == b"LYRICSBEGIN" and (end := data.find(b"LYRICS200", position)) > 0:
        return end + 9
    return position


@dataclass
class _Stream:
    """Frames of one kind, one after the other."""

    start: int
    head: bytes  # of its first frame
    samples: int  # of a frame
    layer: int
    stop: int = 0
    frames: int = 0
    declared: int | None = None  # frames
    info: int = 0  # bytes of the frame that declares them


class Frame(NamedTuple):
    """What the header of an MPEG audio frame says."""

    kind: bytes  # equal for all frames of a stream
    length: int  # bytes
    samples: int
    info: int  # place of the tag `INFO`
    layer: int


@functools.lru_cache(4096)
def _frame(head: bytes) -> Frame | None:
    """Parse the 4 bytes of a header (ISO 11172-3, section 2.4.1.3, and 13818-3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version, layer, protected = head[1] >> 3 & 3, head[1] >> 1 & 3, not head[1] & 1
    rate_index, bitrate_index, padding = head[2] >> 2 & 3, head[2] >> 4, head[2] >> 1 & 1
    if version == 1 or layer == 0 or rate_index == 3 or bitrate_index in (0, 15):
        return None
    first, mono = version == 3, head[3] >> 6 == 3
    rate = RATES[version][rate_index]
    bits = 1000 * KILOBITS[layer][not first][bitrate_index - 1]
    samples = 384 if layer == 3 else 576 if layer == LAYER_3 and not first else 1152
    length = (12 * bits // rate + padding) * 4 if layer == 3 else samples // 8 * bits // rate + padding
    side = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}[first, mono]
    info = 4 + side if layer == LAYER_3 and not protected else 0
    return Frame(bytes([head[1] | 1, head[2] & 12, mono]), length, samples, info, layer)


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Keep what the mp3 decoder writes off the terminal; what others write meanwhile comes after it.

    Raises:
        InputError: The decoder reports an error.
    """
    with LOCK, tempfile.TemporaryFile() as file:
        saved = os.dup(STDERR)
        os.dup2(file.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(saved, STDERR)
            os.close(saved)
        file.seek(0)
        for line in file:
            if b"libmpg123" in line and b"error" in line:
                reason = line.decode(errors="replace").rpartition("error: ")[2].strip(" !\n")
                raise InputError(f"damaged audio: {reason}; replace the file")
            if b"libmpg123" not in line and not line.startswith(b"Warning: Xing") and line.strip():
                os.write(STDERR, line)
