"""Audio files as mono float32 waveforms at one sample rate."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from deepspeech.audio import containers, mpeg
from deepspeech.audio.containers import AUDIO_SUFFIXES, KINDS, WIDTHS, Content, Part, View
from deepspeech.errors import InputError

STEP = 1 << 18  # samples that are decoded at a time where their number is not known
UNKNOWN = 1 << 62  # libsndfile's number of samples from here on means that it does not know
SEGMENT = re.compile(r"(.+)#t=(\d+(?:\.\d+)?)(?:,(\d+(?:\.\d+)?))?", re.DOTALL)
TOLERANCE = 0.1  # seconds by which a segment may end after its file: times are often rounded


def segment(path: str | Path, start: float, stop: float = math.inf) -> str:
    """The path of a segment of an audio file, in seconds: `a.wav#t=12.5,17`, a W3C media fragment.

    All functions here take such a path where they take a file (https://www.w3.org/TR/media-frags/).
    """
    times = (f"{each:.6f}".rstrip("0").rstrip(".") for each in (start, stop) if each < math.inf)
    return f"{path}#t={','.join(times)}"


def locate(path: str | Path) -> tuple[str, float, float]:
    """The audio file that a path names, and the start and the stop of its segment in seconds."""
    match = SEGMENT.fullmatch(str(path))
    return (match[1], float(match[2]), float(match[3] or math.inf)) if match else (str(path), 0.0, math.inf)


def find_audio(folder: str | Path) -> list[str]:
    """The audio files in a folder and its subfolders, sorted.

    Raises:
        InputError: There is no such folder, or one that cannot be read.
    """

    def fail(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot read the folder: {error.strerror}; correct it") from None

    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder; correct the path")
    found, seen = [], {os.path.realpath(folder)}
    for parent, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        targets = {name: os.path.realpath(os.path.join(parent, name)) for name in sorted(folders)}
        folders[:] = {target: name for name, target in targets.items() if target not in seen}.values()
        seen.update(targets.values())
        suffixes = ((name, os.path.splitext(name)[1].lower()) for name in files)
        found += [os.path.join(parent, name) for name, suffix in suffixes if suffix in AUDIO_SUFFIXES]
    return sorted(found)


def load_audio(path: str | Path, sample_rate: int, data: bytes | None = None) -> np.ndarray:
    """Load an audio file: wav, flac, ogg, opus, mp3 and others of any sample rate, width, number of channels.

    Args:
        path: An audio file, or a `segment` of one: nothing after it is read, in wav and flac nothing before.
        sample_rate: Sample rate of the result, Hz.
        data: The file's content, for a file in a shard; `path` then only names it.

    Returns:
        Mono waveform (samples,), float32; full scale is 1.

    Raises:
        InputError: The file is missing, no audio, damaged, truncated or empty, or ends before the segment.
    """
    blocks = list(_blocks(path, sample_rate, math.inf, data))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def stream_audio(path: str | Path, sample_rate: int, seconds: float = 10.0) -> Iterator[np.ndarray]:
    """The waveform that `load_audio` returns, in blocks of `seconds`, for files that do not fit in memory.

    Raises:
        InputError: As in `load_audio`, when the fault is reached.
    """
    return _blocks(path, sample_rate, seconds)


def resample(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Change the sample rate of a waveform (soxr, high quality)."""
    return waveform if rate == new_rate else soxr.resample(waveform, rate, new_rate)


def duration(path: str | Path, data: bytes | None = None) -> float:
    """Seconds of audio, by what the container holds and without decoding it.

    Args:
        path: An audio file, or a segment of one.
        data: Its content, as in `load_audio`.

    Raises:
        InputError: The file is missing, no audio, truncated or empty, or ends before the segment.
    """
    name, start, stop = locate(path)
    seconds = 0.0
    with _opened(name, data) as streams:
        for file in streams:
            seconds += file.count() / file.samplerate
        check_segment(start, stop, seconds)
    return min(stop, seconds) - start


def check_segment(start: float, stop: float, seconds: float) -> None:
    """Refuse a segment that is not within a file of so many seconds.

    Raises:
        InputError: Names both.
    """
    if not start < min(stop, seconds) or (stop < math.inf and stop > seconds + TOLERANCE):
        until = "the end" if stop == math.inf else f"{stop:g} s"
        length = f": it has {seconds:.2f} s" if start < stop else ""
        raise InputError(f"no audio from {start:g} s to {until}{length}; correct the times")


def sample_rate(path: str | Path) -> int:
    """Sample rate of an audio file, Hz; of its first stream, where it has several.

    Raises:
        InputError: As in `duration`.
    """
    with _opened(locate(path)[0], None) as streams:
        return int(next(streams).samplerate)


def find_parts(data: Content) -> list[Part]:
    """The streams of an audio file, in order.

    Raises:
        InputError: The container is truncated, damaged or unknown.
    """
    start = mpeg.skip_tag(data, 0)
    magic = data[start : start + 4]
    if magic == b"fLaC":
        return [containers.flac(data, start)]
    if magic == b"OggS":
        return containers.ogg(data, start)
    if magic in (b".snd", b"dns."):
        return [containers.au(data, ">" if magic == b".snd" else "<")]
    if data[:7] == b"NIST_1A":
        return [containers.sphere(data)]
    if layout := containers.layout(data[:40]):
        return [containers.chunked(data, layout)]
    return mpeg.mpeg(data, start)


def _blocks(path: str | Path, target: int, seconds: float, data: bytes | None = None) -> Iterator[np.ndarray]:
    name, start, stop = locate(path)
    position = 0.0  # seconds
    with _opened(name, data) as streams:
        for file in streams:
            rate = file.samplerate
            resampler = soxr.ResampleStream(rate, target, 1, dtype="float32")
            span = (round(min(max(rate * (each - position), 0), UNKNOWN)) for each in (start, stop))
            for block, last in file.blocks(seconds, *span):
                yield resampler.resample_chunk(block, last=last) if rate != target else block
            position += file.position / rate
        check_segment(start, stop, position)


@contextlib.contextmanager
def _opened(path: str | Path, data: bytes | None) -> Iterator[Iterator[_Decoder]]:
    """The streams of a file, in order; errors name the file."""
    try:
        if data is not None:
            yield _streams(data, None)
            return
        if not os.path.isfile(path):
            kind, remedy = "", "; correct the path"
            if os.path.isdir(path):
                kind, remedy = ", but a folder", "; pass it with --folder or correct the path"
            elif os.path.exists(path) or str(path) == "-":
                kind, remedy = ", but a pipe or device", "; send it to --stream - or make it a file"
            raise InputError(f"no such audio file{kind}{remedy}")
        if os.path.getsize(path) == 0:
            raise InputError("empty audio file; replace or remove it")
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield _streams(content, file.fileno())
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read audio: {error.strerror}") from None


def _streams(content: Content, descriptor: int | None) -> Iterator[_Decoder]:
    samples = 0
    for part in find_parts(content):
        with _Decoder(content, part, descriptor) as file:
            samples += file.expected or file.frames
            if file.frames > 0:
                yield file
    if not samples:
        raise InputError("audio has no samples; replace or remove it")


class _Decoder(soundfile.SoundFile):
    """Decodes a stream from its start to its end.

    To soundfile it cannot seek: soundfile would seek after every read, which costs an mp3 decoder its bit
    reservoir, and would believe the length in the header.
    """

    def __init__(self, content: Content, part: Part, descriptor: int | None) -> None:
        self.part = part
        self.position = 0  # samples that are decoded or skipped
        self.muted = mpeg.muted if part.mpeg else contextlib.nullcontext
        whole = not part.header and part.stop - part.start == len(content)
        if whole and descriptor is not None:  # read without Python's help
            os.lseek(descriptor, 0, os.SEEK_SET)
            source: int | View = os.dup(descriptor)
        else:
            source = self.source = View(content, part)
        try:
            with self.muted():
                super().__init__(source)
        except soundfile.LibsndfileError as error:
            reason = str(error.error_string).rstrip(".")
            raise InputError(f"not an audio file that can be read ({KINDS}): {reason}") from None

    def seekable(self) -> bool:
        return False

    @property
    def expected(self) -> int:
        """Samples of every channel that must be there."""
        frame = self.channels * WIDTHS.get(self.subtype, math.inf)
        known = self.frames if self.frames < UNKNOWN else 0
        return self.part.samples or max(int(self.part.size / frame), known)

    def count(self) -> int:
        """Samples of every channel, without decoding them if possible.

        Raises:
            InputError: The last one cannot be decoded.
        """
        there = self.expected > 0
        if there and self.format == "FLAC":
            content, there = self.source.content, False
            with contextlib.suppress(soundfile.LibsndfileError):
                file = soundfile.SoundFile(View(content, Part(0, len(content))))
                file.seek(self.expected - 1)
                there = len(file.read(1)) == 1
        return self.expected if there else sum(len(block) for block, _ in self.blocks(math.inf))

    def blocks(
        self, seconds: float, start: int = 0, stop: int = UNKNOWN
    ) -> Iterator[tuple[np.ndarray, bool]]:
        """Mono waveforms (samples,) between two samples, each with whether it is the last.

        Raises:
            InputError: The stream is damaged or truncated.
        """
        count = int(min(max(seconds * self.samplerate, 1), max(self.expected + 1, STEP)))
        self._skip(start)
        block = self._mono(min(count, max(stop - self.position, 0)))
        while len(block):
            following = self._mono(min(count, stop - self.position)) if len(block) == count else block[:0]
            yield block, not len(following)
            block = following
        if self.position < min(self.expected, stop):
            raise InputError(
                f"truncated audio: {self.position} of {self.expected} samples can be read; replace the file"
            )

    def _skip(self, samples: int) -> None:
        """Go to a sample, or to the end; codecs whose samples depend on earlier ones decode those."""
        exact = self.format == "FLAC" or self.subtype in WIDTHS
        if exact and (target := min(samples, self.expected - 1)) > 0:
            self._mono(0, target)
        while self.position < samples and len(self._mono(min(samples - self.position, STEP))):
            pass

    def _mono(self, count: int, start: int | None = None) -> np.ndarray:
        exact = self.subtype == "PCM_16"  # libsndfile's own conversion takes three times as long
        try:
            with self.muted():
                if start is not None:
                    self.position = self.seek(start)
                samples: np.ndarray = self.read(count, "int16" if exact else "float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise InputError(f"damaged audio: {str(error).rstrip('.')}; replace the file") from None
        self.position += len(samples)
        if exact:
            samples = samples * np.float32(2**-15)
        waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
        if not np.isfinite(waveform).all():
            raise InputError("audio has NaN or infinite samples; replace the file")
        return waveform
