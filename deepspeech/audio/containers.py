"""What an audio file really holds: streams, counted and checked, whatever lengths its header declares."""

from __future__ import annotations

import io
import mmap
import os
import struct
import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, TypeAlias

from deepspeech.errors import InputError

Content: TypeAlias = bytes | mmap.mmap

AUDIO_SUFFIXES = (
    ".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".snd", ".sph", ".w64",
    ".wav",
)  # fmt: skip
WIDTHS = {  # bytes of a sample
    "ALAW": 1, "ULAW": 1, "PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4,
    "DOUBLE": 8,
}  # fmt: skip
KINDS = "wav, flac, ogg, mp3, aiff, au, caf, w64, sph"
STREAMED = 0x7FFFF000  # sizes of 32 bits from here on mean "unknown": the writer could not seek back
BEGINNING_OF_STREAM = 2  # flag of an Ogg page
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # bytes with their bits reversed


@dataclass(frozen=True)
class Part:
    """A stretch of a file that is decoded by itself."""

    start: int  # bytes
    stop: int
    header: bytes = b""  # is read before them
    samples: int = 0  # of every channel, where they are counted
    size: int = 0  # bytes of samples, where the container gives their place
    mpeg: bool = False


class View(io.RawIOBase):
    """A part of a file as a file, with its header before it."""

    def __init__(self, content: Content, part: Part) -> None:
        self.content, self.part, self.position = content, part, 0
        self.size = len(part.header) + part.stop - part.start

    def readinto(self, buffer: Any) -> int:
        header, stop = self.part.header, self.position + len(buffer)
        piece = header[self.position : stop]
        first = self.part.start - len(header)  # where the file would start
        after = max(self.position, len(header))
        if stop > after:
            piece += self.content[first + after : min(first + stop, self.part.stop)]
        buffer[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.position = max(offset + (0, self.position, self.size)[whence], 0)
        return self.position

    def tell(self) -> int:
        return self.position


def truncated(data: Content, declared: int) -> NoReturn:
    """Refuse a file that ends early.

    Raises:
        InputError: Always.
    """
    raise InputError(f"truncated audio: {len(data)} of {declared} bytes are there; replace the file")


def refuse_rest(data: Content, position: int) -> None:
    """Refuse what follows the audio, unless it is padding.

    Raises:
        InputError: Something else does.
    """
    if data[position:].strip(b"\0"):
        raise InputError(
            f"damaged audio: {len(data) - position} bytes after byte {position} do not belong to it; "
            "replace or convert the file"
        )


def flac(data: Content, start: int) -> Part:
    """The stream with its length unknown, so that all of it is decoded."""
    info = data[start : start + 26]
    declared = int.from_bytes(info[21:], "big") & (1 << 36) - 1
    stop = len(data) - (128 if data[-128:-125] == b"TAG" else 0)
    header = info[:21] + bytes([info[21] & 0xF0, 0, 0, 0, 0]) if len(info) == 26 else info
    return Part(start + len(header), stop, header, declared)


def ogg(data: Content, position: int) -> list[Part]:
    """Chained streams (RFC 3533): every one begins with pages that say so.

    Raises:
        InputError: A page is damaged or missing, or the last one is incomplete.
    """
    starts: list[int] = []
    last: dict[int, tuple[int, int, bool]] = {}  # by serial number: page, granule, whether a packet goes on
    beginning = False

    def refuse_open_packet() -> None:
        if any(open_packet for *_, open_packet in last.values()):
            raise InputError("truncated audio: its last packet is incomplete; replace the file")

    while data[position : position + 4] == b"OggS":
        head = data[position : position + 27]
        lacing = data[position + 27 : position + 27 + head[26]] if len(head) == 27 else b""
        stop = position + 27 + len(lacing) + sum(lacing)
        if len(head) < 27 or len(lacing) < head[26] or stop > len(data):
            truncated(data, stop)
        flags, granule, serial, number, checksum = struct.unpack("<BqIII", head[5:26])
        page = head[:22] + bytes(4) + data[position + 26 : stop]
        if _ogg_checksum(page) != checksum:
            raise InputError(f"damaged audio: wrong checksum at byte {position}; replace the file")
        if flags & BEGINNING_OF_STREAM and not beginning:
            refuse_open_packet()
            starts.append(position)
            last.clear()
        beginning = bool(flags & BEGINNING_OF_STREAM)
        before, before_granule, open_packet = last.get(serial, (number - 1, 0, False))
        if number != before + 1 and before_granule > 0:
            raise InputError(f"damaged audio: pages are missing before byte {position}; replace the file")
        last[serial] = (number, granule, lacing[-1] == 255 if lacing else open_packet)
        position = stop
    refuse_open_packet()
    refuse_rest(data, position)
    return [Part(*span) for span in zip(starts, [*starts[1:], position], strict=True)]


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 with the most significant bit first, without inversion: zlib's, of bytes reversed bitwise."""
    reflected = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(REVERSED), "big")


def au(data: Content, order: str) -> Part:
    """AU in either byte order: the header says where the samples start, and how many bytes they have.

    Raises:
        InputError: The file has more or fewer bytes.
    """
    start, declared = struct.unpack(order + "II", data[4:12].ljust(8, b"\0"))
    unknown = declared == 0 or declared >= STREAMED
    if not unknown and start + declared > len(data):
        truncated(data, start + declared)
    size = max(len(data) - start, 0) if unknown else declared
    refuse_rest(data, start + size)
    return Part(12, start + size, data[:8] + struct.pack(order + "I", size & 0xFFFFFFFF), size=size)


def sphere(data: Content) -> Part:
    """NIST SPHERE: a text with the number of samples.

    Raises:
        InputError: It is damaged, or the file has more or fewer bytes.
    """
    fields = {words[0]: words[2] for line in data[:1024].split(b"\n") if len(words := line.split()) == 3}
    try:
        start = int(data[8:16])
        names = (b"sample_count", b"channel_count", b"sample_n_bytes")
        samples, channels, width = (int(fields.get(name, 1)) for name in names)
    except ValueError:
        raise InputError("damaged audio: its NIST header cannot be read; replace the file") from None
    size = samples * channels * width if b"sample_count" in fields else len(data) - start
    if start + size > len(data):
        truncated(data, start + size)
    refuse_rest(data, start + size)
    return Part(0, len(data), size=size)


class Layout(NamedTuple):
    """How a container of chunks names them and their sizes."""

    first: int  # byte of the first chunk
    data: bytes  # name of the chunk with the samples
    size: str  # of a size, as `struct` names it
    inclusive: bool = False  # sizes count the name and the size
    alignment: int = 2  # bytes
    inner: int = 0  # bytes of the chunk before its samples

    @property
    def head(self) -> int:
        """Bytes of a name and a size."""
        return len(self.data) + struct.calcsize(self.size)


W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a"


def layout(head: bytes) -> Layout | None:
    """The layout of a container, by the first 40 bytes of its file; None where it is not one of chunks."""
    kind, form = head[:4], head[8:12]
    if kind in (b"RIFF", b"RF64") and form == b"WAVE":
        return Layout(12, b"data", "<I")
    if kind == b"RIFX" and form == b"WAVE":
        return Layout(12, b"data", ">I")
    if kind == b"FORM" and form in (b"AIFF", b"AIFC"):
        return Layout(12, b"SSND", ">I", inner=8)
    if kind == b"caff":
        return Layout(8, b"data", ">q", alignment=1, inner=4)
    if kind == b"riff" and head[24:28] == b"wave":
        return Layout(40, W64_DATA, "<Q", inclusive=True, alignment=8)
    return None


def chunked(data: Content, layout: Layout) -> Part:
    """The chunk of samples, with its size corrected where the writer could not, or 32 bits do not hold it.

    Raises:
        InputError: The file is truncated, or something else follows its chunks.
    """
    position, found, size, sizes = layout.first, 0, 0, b""
    while found == 0 or position + layout.head <= len(data):
        head = data[position : position + layout.head]
        if len(head) < layout.head:
            raise InputError("truncated audio: no samples are there; replace the file")
        name, (declared,) = head[: len(layout.data)], struct.unpack(layout.size, head[len(layout.data) :])
        declared -= layout.head if layout.inclusive else 0
        body = position + layout.head
        if name == b"ds64":
            sizes = data[body : body + 16]
        elif name == layout.data and not found:
            found, left = body, len(data) - body
            size = int.from_bytes(sizes[8:], "little") if sizes and declared >= STREAMED else declared
            size = _true_size(data, layout, body, size)
            if size > left:
                truncated(data, body + size)
            declared = size
        elif found and not ((name[:4].isascii() and name[:4].isalnum()) or name[:4].strip().isalnum()):
            break
        stop = body + declared
        if declared < 0 or stop > len(data):
            truncated(data, stop)
        position = min(stop + -stop % layout.alignment, len(data)) if declared % layout.alignment else stop
    refuse_rest(data, position)
    return _resized(data, layout, found, size)


def _true_size(data: Content, layout: Layout, body: int, declared: int) -> int:
    """Bytes of samples: all that are left, where their number is unknown or has wrapped at 32 bits."""
    left, narrow = len(data) - body, struct.calcsize(layout.size) == 4
    if declared < 0 or (declared == 0 and left) or (narrow and STREAMED <= declared > left):
        return left
    if narrow and declared + 2**32 <= left:
        return declared + (left - declared >> 32 << 32)
    return declared


def _resized(data: Content, layout: Layout, found: int, size: int) -> Part:
    """The file with the right size of its samples in the header, as RF64 where 32 bits do not hold it."""
    width = struct.calcsize(layout.size)
    head = bytearray(data[:found])
    if size >= STREAMED and width == 4:
        if bytes(head[:4]) not in (b"RIFF", b"RF64"):
            raise InputError("holds more than 2 GiB of samples, which its header cannot say; convert to wav")
        if head[:4] == b"RIFF":
            sizes = struct.pack("<4sIQQQI", b"ds64", 28, len(data) + 28, size, 0, 0)
            head = bytearray(b"RF64\xff\xff\xff\xffWAVE" + sizes) + head[12:]
            head[-4:] = b"\xff\xff\xff\xff"
        return Part(found, len(data), bytes(head), size=size - layout.inner)
    head[-width:] = struct.pack(layout.size, size + (layout.head if layout.inclusive else 0))
    if bytes(head) == data[:found]:
        return Part(0, len(data), size=size - layout.inner)
    if width == 4:
        head[4:8] = struct.pack(layout.size, len(data) - 8)
    return Part(found, len(data), bytes(head), size=size - layout.inner)
