"""Audio files as mono float32 waveforms at one sample rate."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from deepspeech.errors import InputError

AUDIO_SUFFIXES = (".flac", ".mp3", ".ogg", ".opus", ".sph", ".wav")
STREAMED = 0x7FFFF000  # RIFF sizes from here on mean "unknown": the writer could not seek back
OGG_PAGE = 65307  # bytes of the largest page (RFC 3533, section 6)


def find_audio(folder: str | Path) -> list[str]:
    """The audio files in a folder and its subfolders, sorted.

    Raises:
        InputError: There is no such folder, or one that cannot be read.
    """

    def fail(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot read the folder: {error.strerror}; correct it") from None

    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder; correct the path")
    return sorted(
        os.path.join(parent, name)
        for parent, _, files in os.walk(folder, onerror=fail, followlinks=True)
        for name in files
        if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES
    )


def load_audio(path: str | Path, sample_rate: int, data: bytes | None = None) -> np.ndarray:
    """Load an audio file: wav, flac, ogg, opus or mp3 of any sample rate, width and number of channels.

    Args:
        path: An audio file.
        sample_rate: Sample rate of the result, Hz.
        data: The file's content, for a file in a shard; `path` then only names it.

    Returns:
        Mono waveform (samples,), float32; full scale is 1.

    Raises:
        InputError: The file is missing, no audio, damaged, truncated or empty.
    """
    with _open(path, data) as file:
        waveform = _read(file, path)
        _refuse_truncated(file, path, len(waveform))
        rate = file.samplerate
    return resample(waveform, rate, sample_rate)


def resample(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Change the sample rate of a waveform (soxr, high quality)."""
    if rate != new_rate:
        waveform = soxr.resample(waveform, rate, new_rate)
    return waveform


def stream_audio(path: str | Path, sample_rate: int, seconds: float = 10.0) -> Iterator[np.ndarray]:
    """The waveform that `load_audio` returns, in blocks of `seconds`, for files that do not fit in memory.

    Raises:
        InputError: As in `load_audio`, when the fault is reached.
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
    samples: np.ndarray
    try:
        if file.subtype == "PCM_16":  # libsndfile's own conversion takes three times as long
            samples = file.read(count, dtype="int16", always_2d=True) * np.float32(2**-15)
        else:
            samples = file.read(count, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise InputError(f"{path}: damaged audio: {_reason(error)}; replace the file") from None
    waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not np.isfinite(waveform).all():
        raise InputError(f"{path}: audio has NaN or infinite samples; replace the file")
    return waveform


def _refuse_truncated(file: soundfile.SoundFile, path: str | Path, read: int) -> None:
    if read < file.frames:
        raise InputError(
            f"{path}: truncated audio: {read} of {file.frames} samples can be read; replace the file"
        )


def duration(path: str | Path, data: bytes | None = None) -> float:
    """Seconds of audio by the file's header, after a check that the last sample is there.

    Args:
        path: An audio file.
        data: Its content, as in `load_audio`.

    Raises:
        InputError: The file is missing, no audio, truncated or empty.
    """
    with _open(path, data) as file:
        try:
            file.seek(file.frames - 1)
            complete = len(file.read(1)) == 1
        except (soundfile.LibsndfileError, RuntimeError):
            complete = False
        if not complete:
            raise InputError(f"{path}: truncated audio: its end cannot be read; replace the file")
        return float(file.frames / file.samplerate)


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
    """Compare declared sizes with the file's: libsndfile reads truncated wav and ogg files without error."""
    with open(path, "rb") as file:
        head, size = file.read(12), os.path.getsize(path)
        declared = size
        if head[:4] == b"RIFF" and head[8:] == b"WAVE":
            riff = int.from_bytes(head[4:8], "little") + 8
            declared = riff - 1 if riff < STREAMED else size  # the last byte pads to an even size
        elif head[:4] == b"OggS":
            file.seek(max(0, size - OGG_PAGE))
            tail = file.read()
            page = tail.rfind(b"OggS")
            segments = tail[page + 27 :][: tail[page + 26]] if len(tail) > page + 26 else b""
            end = page + 27 + len(segments) + sum(segments)
            declared = size - len(tail) + end
    if size < declared:
        raise InputError(f"{path}: truncated audio: {size} of {declared} bytes are there; replace the file")


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).rstrip(".")
