"""Audio as ffmpeg decodes it, and files with damaged headers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")


def ffmpeg(*arguments: object, data: bytes | None = None) -> bytes:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def decode(path: Path, rate: int) -> np.ndarray:
    """The mean of the channels (samples,) at the file's own rate, float32."""
    return np.frombuffer(ffmpeg("-i", path, "-f", "f32le", "-ac", 1, "-ar", rate, "-"), "<f4")


def encode(folder: Path, name: str, waveform: np.ndarray, rate: int, *flags: object) -> Path:
    """Write a file as ffmpeg does; to a pipe with `-f FORMAT` among the flags."""
    raw = ("-f", "f32le", "-ar", rate, "-ac", 1, "-i", "-")
    target = "-" if "-f" in flags else folder / name
    written = ffmpeg(*raw, *flags, target, data=waveform.astype("<f4").tobytes())
    if target == "-":
        (folder / name).write_bytes(written)
    return folder / name
