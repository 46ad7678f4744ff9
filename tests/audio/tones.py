"""Tones, and their pitch."""

import numpy as np

RATE = 16000  # Hz


def tone(hertz: float, seconds: float, rate: int = RATE) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def pitch(waveform: np.ndarray, rate: int = RATE) -> float:
    """Hz of the strongest frequency."""
    return np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)))).argmax() * rate / len(waveform)
