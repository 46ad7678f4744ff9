"""Loudness of audio, and the pauses in it."""

from __future__ import annotations

import numpy as np

DIGITAL_SILENCE = -100.0  # dBFS; levels are never below
LEVEL_STRIDE = 0.01  # seconds between two levels
LEVEL_WINDOW = 0.02  # seconds of audio in each
PAUSE_MARGIN = 3.0  # decibels above the background that still count as a pause


def rms_levels(waveform: np.ndarray, window: int, stride: int, lowest: float = DIGITAL_SILENCE) -> np.ndarray:
    """RMS amplitude of a sliding window: (samples,) -> (windows,) in dBFS.

    Args:
        waveform: Full scale is 1.
        window: Samples in each window.
        stride: Samples from one window to the next.
        lowest: Quieter windows count as this, dBFS.
    """
    power = np.square(waveform, dtype=np.float64)
    windows: np.ndarray = np.lib.stride_tricks.sliding_window_view(power, window)[::stride]
    levels: np.ndarray = 10 * np.log10(np.maximum(windows.mean(axis=1), 10 ** (lowest / 10)))
    return levels


def find_pauses(waveform: np.ndarray, sample_rate: int) -> list[tuple[float, float]]:
    """Where nobody speaks in a recording (samples,), as (start, end) in seconds.

    A pause is as loud as the background: the tenth percentile of the levels, plus the spread
    of the background, plus a margin. Single quiet levels do not count.
    """
    window, stride = round(LEVEL_WINDOW * sample_rate), round(LEVEL_STRIDE * sample_rate)
    levels = rms_levels(np.pad(waveform, (window // 2, window - window // 2)), window, stride)
    quietest, background = np.percentile(levels, [2.5, 10])
    quiet = levels < background + (background - quietest) + PAUSE_MARGIN
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet, [0]])))
    return [(a * LEVEL_STRIDE, b * LEVEL_STRIDE) for a, b in edges.reshape(-1, 2).tolist() if b - a > 1]
