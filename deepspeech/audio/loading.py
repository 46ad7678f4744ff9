"""Audio files -> mono float32 waveforms at one sample rate."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from deepspeech.errors import InputError

AUDIO_ENDINGS = frozenset({".wav", ".flac", ".ogg", ".mp3", ".sph"})


def find_audio(folder: str | Path) -> list[str]:
    """The audio files in a folder and all folders below it, by name.

    Raises:
        InputError: There is no such folder.
    """
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder; correct the path")
    return sorted(
        os.path.join(parent, name)
        for parent, _, files in os.walk(folder, followlinks=True)
        for name in files
        if os.path.splitext(name)[1].lower() in AUDIO_ENDINGS
    )


STREAMED = 0x7FFFF000  # a RIFF size from here on means "unknown": the writer could not seek back
OGG_PAGE = 65307  # bytes of the largest page (RFC 3533, section 6)


def load_audio(path: str | Path, sample_rate: int, data: bytes | None = None) -> np.ndarray:
    """Read wav, flac, ogg or mp3 of any rate, width and channel count.

    Args:
        path: An audio file.
        sample_rate: Rate of the result in Hz; other rates are resampled (soxr, high quality).
        data: Content of the file where it does not lie at `path`, which then only names it.

    Returns:
        Mono waveform (samples,), float32, full scale is 1.

    Raises:
        InputError: The file is missing, no audio, damaged, truncated or empty.
    """
    with _open(path, data) as file:
        waveform = _read(file, path)
        _refuse_truncated(file, path, len(waveform))
        rate = file.samplerate
    return waveform if rate == sample_rate else soxr.resample(waveform, rate, sample_rate)


def stream_audio(path: str | Path, sample_rate: int, seconds: float = 10.0) -> Iterator[np.ndarray]:
    """What `load_audio` gives, in blocks of about some seconds, so that any length fits into memory.

    Raises:
        InputError: As `load_audio`, when the fault is reached.
    """
    with _open(path) as file:
        resampler = soxr.ResampleStream(file.samplerate, sample_rate, 1, dtype="float32")
        resampled, read = file.samplerate != sample_rate, 0
        while read < file.frames:
            block = _read(file, path, max(int(seconds * file.samplerate), 1))
            if not len(block):
                _refuse_truncated(file, path, read)
            read += len(block)
            yield resampler.resample_chunk(block, last=read >= file.frames) if resampled else block


def _read(file: soundfile.SoundFile, path: str | Path, count: int = -1) -> np.ndarray:
    """The next samples, all by default, as a mono waveform (samples,)."""
    try:
        samples = _decode(file, count)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise InputError(f"{path}: damaged audio: {_reason(error)}; replace the file") from None
    waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not np.isfinite(waveform).all():
        raise InputError(f"{path}: audio has NaN or infinite samples; replace the file")
    return waveform


def _decode(file: soundfile.SoundFile, count: int) -> np.ndarray:
    """(samples, channels) float32. libsndfile's own way from 16 bits takes thrice the time."""
    if file.subtype != "PCM_16":
        return file.read(count, dtype="float32", always_2d=True)
    return file.read(count, dtype="int16", always_2d=True) * np.float32(2**-15)


def _refuse_truncated(file: soundfile.SoundFile, path: str | Path, read: int) -> None:
    if read < file.frames:
        raise InputError(
            f"{path}: truncated audio: {read} of {file.frames} samples can be read; replace the file"
        )


def duration(path: str | Path, data: bytes | None = None) -> float:
    """Seconds of audio by the file's header, after a look whether the last sample is there.

    Args:
        path: An audio file.
        data: Its content, as in `load_audio`.

    Raises:
        InputError: The file is missing, no audio, truncated or empty.
    """
    with _open(path, data) as file:
        try:
            file.seek(file.frames - 1)
            whole = len(file.read(1)) == 1
        except (soundfile.LibsndfileError, RuntimeError):
            whole = False
        if not whole:
            raise InputError(f"{path}: truncated audio: its end cannot be read; replace the file")
        return file.frames / file.samplerate


def _open(path: str | Path, data: bytes | None = None) -> soundfile.SoundFile:
    if data is None and not os.path.isfile(path):
        raise InputError(f"{path}: no such audio file; correct the path")
    try:
        if data is None:
            if os.path.getsize(path) == 0:
                raise InputError(f"{path}: empty audio file; replace or remove it")
            _refuse_cut(path)
        file = soundfile.SoundFile(path if data is None else io.BytesIO(data))
    except OSError as error:
        raise InputError(f"{path}: cannot read audio: {error.strerror}") from None
    except soundfile.LibsndfileError as error:
        raise InputError(
            f"{path}: not an audio file that can be read (wav, flac, ogg, mp3): {_reason(error)}"
        ) from None
    if file.frames <= 0:
        file.close()
        raise InputError(f"{path}: audio has no samples; replace or remove it")
    return file


def _refuse_cut(path: str | Path) -> None:
    """libsndfile reads a cut wav or ogg without a word: compare declared sizes with the file's."""
    with open(path, "rb") as file:
        head, size = file.read(12), os.path.getsize(path)
        declared = size
        if head[:4] == b"RIFF" and head[8:] == b"WAVE":
            riff = int.from_bytes(head[4:8], "little") + 8
            declared = riff - 1 if riff < STREAMED else size  # the last byte pads to an even size
        elif head[:4] == b"OggS":
            file.seek(max(0, size - OGG_PAGE))
            tail = file.read()
            begin = tail.rfind(b"OggS")
            segments = tail[begin + 27 :][: tail[begin + 26]] if len(tail) > begin + 26 else b""
            complete = begin + 27 + len(segments) + sum(segments)
            declared = size - len(tail) + complete
    if size < declared:
        raise InputError(f"{path}: truncated audio: {size} of {declared} bytes are there; replace the file")


def _reason(error: Exception) -> str:
    return getattr(error, "error_string", str(error)).rstrip(".")
