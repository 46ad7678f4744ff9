"""Features: normalised log-spectrograms of waveforms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from deepspeech.audio.config import MEL_BANDS, FeatureConfig
from deepspeech.errors import InputError

MEL_BREAK, MEL_FACTOR = 700.0, 1127.0  # the mel scale of HTK: 1127 ln(1 + f / 700)
MEL_GAIN = 300.0  # of the bands: log1p(300 x) is a logarithm where log1p(x), in quiet sounds, is just x


def mel_bands(sample_rate: int, bins: int) -> Tensor:
    """Weights (bands, bins) that average the bins of an STFT in triangles of equal width on the mel scale.

    Each bin counts with the mean of the triangle over its width, so that bands narrower than a bin, the
    lowest ones, are not empty. The weights of a band sum to 1.

    Args:
        sample_rate: Hz.
        bins: Of the STFT, from 0 Hz to half the sample rate.
    """
    steps = 64  # points per bin
    nyquist = sample_rate / 2
    frequencies = ((np.arange(bins * steps) + 0.5) / steps - 0.5) * nyquist / (bins - 1)
    mels = MEL_FACTOR * np.log1p(np.clip(frequencies, 0, nyquist) / MEL_BREAK)
    place = mels / (MEL_FACTOR * np.log1p(nyquist / MEL_BREAK)) * (MEL_BANDS + 1)  # band k peaks at k + 1
    inside = (frequencies >= 0) & (frequencies <= nyquist)
    triangles = np.maximum(0, 1 - abs(place - np.arange(1, MEL_BANDS + 1)[:, None])) * inside
    weights = triangles.reshape(MEL_BANDS, bins, steps).mean(2)
    return torch.from_numpy(weights / weights.sum(1, keepdims=True)).float()


@dataclass(frozen=True)
class Statistics:
    """What features are normalised by: one deviation, and one mean, or a mean of each bin.

    Means of bins also remove what a microphone or a room emphasises. The prior is for `normalize_running`.
    """

    by_bin: bool
    prior_frames: int
    prior_mean: float
    prior_deviation: float


LINEAR = Statistics(by_bin=False, prior_frames=3, prior_mean=0.1, prior_deviation=0.25)
MEL = Statistics(by_bin=True, prior_frames=10, prior_mean=2.0, prior_deviation=1.5)
MIN_DEVIATION = 1e-6  # below it features are only centred, so that silence gives zeros, not NaN


@dataclass(frozen=True)
class SpectrogramState:
    """State between chunks of waveforms."""

    held: Tensor | None = None  # (batch, samples), the last ones
    sums: Tensor | None = None  # see `normalize_running`


class Spectrogram(nn.Module):
    """log1p of the magnitude STFT or of its mel bands, normalised to mean 0 and standard deviation 1.

    Equals `numpy.log1p(abs(librosa.stft(y, n_fft, hop_length, win_length, window)))`, the
    features of Deep Speech 2 (Amodei et al., 2016) as deepspeech.pytorch computes them,
    for a whole batch on any device. Mel bands are amplified by `MEL_GAIN` first.
    """

    taper: Tensor  # the window function (window samples,)
    bands: Tensor | None  # mel: amplified weights (bands, STFT bins)

    def __init__(self, config: FeatureConfig = FeatureConfig()) -> None:
        super().__init__()
        self.config = config
        size = config.window_samples
        window = getattr(torch, f"{config.window}_window")
        taper = window(size, periodic=config.periodic, dtype=torch.float64)
        self.register_buffer("taper", taper.float(), persistent=False)
        mel = config.scale == "mel"
        bands = MEL_GAIN * mel_bands(config.sample_rate, size // 2 + 1) if mel else None
        self.register_buffer("bands", bands, persistent=False)
        self.statistics = MEL if mel else LINEAR
        self.frames = config.frames

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features of a batch.

        Args:
            waveforms: (batch, samples) float32, zero beyond each utterance's end.
            lengths: (batch,) int64 sample counts, on any device; None for full rows.

        Returns:
            Features (batch, bins, frames), zero beyond each utterance's end; int64 frame counts (batch,), on
            the device of `lengths`.
        """
        features, counts, _ = self.forward_chunk(waveforms, lengths)
        return features, counts

    def forward_chunk(
        self,
        waveforms: Tensor,
        lengths: Tensor | None = None,
        state: SpectrogramState | None = None,
        final: bool = True,
    ) -> tuple[Tensor, Tensor, SpectrogramState]:
        """Features of the next chunk of a batch; offline is one final chunk.

        Args:
            waveforms: (batch, samples) float32, zero beyond each utterance's end.
            lengths: (batch,) int64 sample counts; None, as for all chunks but the final one, for full rows.
            state: The state after the chunk before; None at the start.
            final: Whether the utterances end with this chunk.

        Returns:
            Features (batch, bins, frames) of the frames that are complete now, zero beyond each end; int64
            frame counts (batch,); the state for the next chunk.

        Raises:
            InputError: There are several chunks, but features are normalised per utterance.
        """
        if self.config.normalize != "running" and not (state is None and final):
            raise InputError(
                "features that are normalised per utterance cannot stream; train with --normalize running"
            )
        if lengths is None:
            lengths = torch.full((len(waveforms),), waveforms.shape[1])
        state = state or SpectrogramState()
        counts = self.frames.count(lengths, None if state.held is None else state.held.shape[1], final)
        spectrogram, held = self.frames.slide(self._transform, waveforms, state.held, final)
        ends = counts.to(spectrogram.device, non_blocking=True)
        if self.config.normalize == "utterance":
            return normalize(spectrogram, ends, self.statistics), counts, SpectrogramState(held)
        features, sums = normalize_running(spectrogram, ends, state.sums, self.statistics)
        return features, counts, SpectrogramState(held, sums)

    def log_magnitude(self, waveforms: Tensor) -> Tensor:
        """Log-spectrogram before normalisation: (batch, samples) -> (batch, bins, frames)."""
        return self.frames.slide(self._transform, waveforms)[0]

    def _transform(self, waveforms: Tensor) -> Tensor:
        """Log-spectrogram without padding."""
        size, hop = self.frames.size, self.frames.stride
        transform = torch.stft(waveforms, size, hop, window=self.taper, center=False, return_complex=True)
        return _log_magnitude(transform, self.bands)


def _log_magnitude(transform: Tensor, bands: Tensor | None) -> Tensor:
    """log1p of the absolute value, averaged in bands. On a CPU numpy is ten times as fast as torch."""
    if transform.device.type != "cpu" or transform.requires_grad:
        magnitude = transform.abs()
        return (magnitude if bands is None else bands @ magnitude).log1p_()
    magnitude = np.abs(transform.numpy())
    if bands is not None:
        magnitude = bands.numpy() @ magnitude
    return torch.from_numpy(np.log1p(magnitude, out=magnitude))


def normalize(spectrogram: Tensor, counts: Tensor, statistics: Statistics = LINEAR) -> Tensor:
    """Subtract each utterance's mean and divide by its standard deviation (unbiased).

    Args:
        spectrogram: (batch, bins, frames).
        counts: (batch,) int64 valid frames; only these enter the statistics, the rest becomes zero.
        statistics: Whether each bin has a mean of its own.
    """
    frames = torch.arange(spectrogram.shape[2], device=spectrogram.device)
    valid = (frames < counts[:, None])[:, None, :].float()
    size = (counts * spectrogram.shape[1])[:, None, None]
    spectrogram = spectrogram * valid  # several times as fast as masked_fill
    bins, axes = (1, (2,)) if statistics.by_bin else (spectrogram.shape[1], (1, 2))
    mean = spectrogram.sum(axes, keepdim=True, dtype=torch.float64) / (bins * counts)[:, None, None]
    centred = (spectrogram - mean.float()).mul_(valid)
    variance = centred.square().sum(dim=(1, 2), keepdim=True, dtype=torch.float64) / (size - 1)
    deviation = variance.sqrt().float()
    return centred.div_(torch.where(deviation > MIN_DEVIATION, deviation, 1.0))


def normalize_running(
    spectrogram: Tensor, counts: Tensor, sums: Tensor | None = None, statistics: Statistics = LINEAR
) -> tuple[Tensor, Tensor]:
    """Normalise each frame by the mean and standard deviation of all frames up to it.

    The prior of the statistics is three frames of speech. Without it the first frame, mostly noise, would be
    scaled up to deviation 1 and the first sounds to 20. Distance to the features normalised per utterance in
    the first second, measured on LibriSpeech and on digits (mean 0.09 and 0.10, deviation 0.23 and 0.29):
    0.26 and 0.18 with three frames, 0.59 and 0.42 without. More frames come closer (ten: 0.19 and 0.14) but
    adapt more slowly to another level: for audio 20 dB quieter the distance is 0.40 and 0.32 with three, 0.53
    and 0.46 with ten. Mel bands have a prior of ten frames: 0.70 and, on AN4, 0.63 in the first second, 0.17
    and 0.15 after it (0.76, 0.73, 0.16, 0.14 with three). The prior also keeps silence from giving NaN.

    Args:
        spectrogram: (batch, bins, frames).
        counts: (batch,) int64 valid frames; the rest becomes zero.
        sums: The sums returned for the frames before; None at the start.
        statistics: Whether each bin has a mean of its own, and the prior.

    Returns:
        Features of the same shape, and sums (batch, 2 + means) over the frames so far: number of values of a
        mean, their totals, and squares of all values. In float64 they stay exact enough for days.
    """
    batch, bins, frames = spectrogram.shape
    means = bins if statistics.by_bin else 1
    if sums is None:
        sums = torch.from_numpy(prior_sums(statistics, bins)).to(spectrogram.device).expand(batch, -1)
    valid = (torch.arange(frames, device=spectrogram.device) < counts[:, None])[:, None, :]
    groups = spectrogram.reshape(batch, means, bins // means, frames)
    totals = groups.sum(2, dtype=torch.float64)
    squares = spectrogram.square().sum(1, keepdim=True, dtype=torch.float64)
    own = torch.cat([torch.full_like(squares, bins // means), totals, squares], 1)
    running = sums[:, :, None] + (own * valid).cumsum(2)  # (batch, 2 + means, frames)
    sizes, totals, squares = running[:, :1], running[:, 1:-1], running[:, -1:]
    mean = totals / sizes
    variance = squares / (sizes * means) - mean.square().mean(1, keepdim=True)
    features = (spectrogram - mean.float()) / variance.clamp(min=0).sqrt().float()
    return features * valid, torch.cat([sums[:, :, None], running], 2)[:, :, -1]


def prior_sums(statistics: Statistics, bins: int) -> np.ndarray:
    """The sums of `normalize_running` before the first frame: (1, 2 + means) float64."""
    means, mean = bins if statistics.by_bin else 1, statistics.prior_mean
    square = statistics.prior_deviation**2 + mean**2
    return statistics.prior_frames * np.array([[bins / means, *[mean * bins / means] * means, square * bins]])
