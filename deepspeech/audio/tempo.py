"""Tempo change by WSOLA."""

from __future__ import annotations

import math

import numpy as np

HOP, OVERLAP, SEARCH = 0.068, 0.012, 0.015  # seconds; the proportions of sox
SEARCH_RATE = 8000  # Hz, of the comparison; more takes longer and does not sound better


def change_tempo(waveform: np.ndarray, factor: float, sample_rate: int) -> np.ndarray:
    """Make speech faster (factor above 1) or slower without changing its pitch.

    WSOLA (Verhelst and Roelands, 1993): the result consists of pieces of the input. Each is taken near the
    position that the tempo asks for, where it differs least from the continuation of the piece before, so
    that periods of the voice stay whole.

    Returns:
        Waveform of ceil(samples / factor) samples.
    """
    step = max(1, round(sample_rate / SEARCH_RATE))  # all positions are multiples of it
    hop, overlap, search = (max(1, round(part * sample_rate / step)) for part in (HOP, OVERLAP, SEARCH))
    length = math.ceil(len(waveform) / factor)
    padded = np.pad(waveform, (search // 2 * step, (hop + 2 * overlap + search + 1) * step))
    thin = np.ascontiguousarray(padded[::step])
    energy = np.cumsum(np.square(thin), dtype=np.float64)
    starts = np.full(math.ceil(length / (hop * step)), search // 2)
    for piece in range(1, len(starts)):
        follows = thin[starts[piece - 1] + hop :][:overlap]
        low = round(piece * hop * factor)
        similarity = 2 * np.correlate(thin[low : low + search + overlap - 1], follows)
        similarity -= energy[low + overlap - 1 :][:search] - energy[low : low + search]
        starts[piece] = low + similarity.argmax()  # where the squared difference is least

    hop, overlap = hop * step, overlap * step
    pieces: np.ndarray = np.lib.stride_tricks.sliding_window_view(padded, hop + overlap)[starts * step]
    rise = np.linspace(0, 1, overlap, dtype=np.float32)
    output = pieces[:, :hop]
    output[1:, :overlap] *= rise
    output[1:, :overlap] += pieces[:-1, hop:] * rise[::-1]
    return output.ravel()[:length]
