"""Samples that callers hand over: checked, and resampled as they come."""

from __future__ import annotations

import numpy as np
import soxr

from deepspeech.errors import InputError

RATES = 1000, 768_000  # Hz of audio that can be resampled


def checked(samples: np.ndarray, place: str) -> np.ndarray:
    """Samples as finite float32 (samples,) in memory of their own order, which torch may write to.

    Args:
        samples: (samples,) of a floating-point type with full scale 1, or int16; there may be none.
        place: Where they come from, for the message.

    Raises:
        InputError: They are not mono, not numbers, or not finite.
    """
    if not isinstance(samples, np.ndarray):
        raise InputError(f"{place}: a {type(samples).__name__}; give samples as a numpy array")
    if samples.ndim != 1:
        raise InputError(f"{place}: samples of shape {samples.shape}; give one channel, (samples,)")
    if samples.dtype == np.int16:
        return samples * np.float32(2**-15)
    if not np.issubdtype(samples.dtype, np.floating):
        raise InputError(f"{place}: samples of type {samples.dtype}; give float32 or int16")
    with np.errstate(over="ignore"):  # becomes infinite
        waveform = np.require(samples, np.float32, ["C", "W"])
    if not np.isfinite(waveform).all():
        raise InputError(f"{place}: audio has NaN or infinite samples; repair its source")
    return waveform


class Resampler:
    """Audio in chunks, of rates that may change, to chunks at one rate: block by block as the whole would be.

    Args:
        sample_rate: Of the result, Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = self._rate = sample_rate
        self._stream: soxr.ResampleStream | None = None
        self.seconds = 0.0  # of audio taken, of which a part may be held back

    def feed(self, samples: np.ndarray, sample_rate: int | None = None) -> np.ndarray:
        """Take the next samples (samples,), at the rate of the result by default.

        Raises:
            InputError: The samples or their rate are invalid; all is as before.
        """
        waveform, rate = checked(samples, "stream"), sample_rate or self.sample_rate
        if not RATES[0] <= rate <= RATES[1]:
            raise InputError(f"stream: audio of {rate} Hz; give {RATES[0]} to {RATES[1]} Hz")
        before = waveform[:0]
        if rate != self._rate:
            before = self.finish()
            if rate != self.sample_rate:
                self._stream, self._rate = soxr.ResampleStream(rate, self.sample_rate, 1), rate
        self.seconds += len(waveform) / rate
        after = self._stream.resample_chunk(waveform) if self._stream else waveform
        return np.concatenate([before, after]) if len(before) else after

    def finish(self) -> np.ndarray:
        """What is held back; the next audio may start."""
        nothing = np.zeros(0, np.float32)
        held: np.ndarray = self._stream.resample_chunk(nothing, last=True) if self._stream else nothing
        self._stream, self._rate = None, self.sample_rate
        return held
