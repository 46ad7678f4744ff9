"""Log-spectrograms: against librosa, alone and in a batch, in silence."""

import librosa
import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.audio.config import FeatureConfig
from deepspeech.audio.features import (
    LINEAR,
    MEL,
    MEL_BANDS,
    Spectrogram,
    mel_bands,
    normalize,
    normalize_running,
)
from deepspeech.audio.loading import load_audio
from deepspeech.errors import InputError

LENGTHS = st.lists(st.integers(1, 3000), min_size=1, max_size=5)


def noise(samples, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.2, samples).astype(np.float32))


def with_librosa(waveform, config, window):
    size = config.window_samples
    transform = librosa.stft(
        waveform.numpy(), n_fft=size, hop_length=config.stride_samples, win_length=size, window=window
    )
    return np.log1p(np.abs(transform))


@pytest.mark.filterwarnings("ignore:n_fft=320 is too large")
@pytest.mark.parametrize("window", ["hamming", "hann", "blackman", "bartlett"])
@pytest.mark.parametrize("samples", [1, 159, 160, 161, 16000, 40001])
def test_equal_to_librosa(window, samples):
    config, waveform = FeatureConfig(window=window), noise(samples)
    features = Spectrogram(config).log_magnitude(waveform[None])[0].numpy()
    expected = with_librosa(waveform, config, window)
    assert features.shape == expected.shape
    assert np.abs(features - expected).max() < 1e-5


@pytest.mark.parametrize(
    "options",
    [{"sample_rate": 8000}, {"sample_rate": 22050}, {"window_size": 0.025}, {"window_stride": 0.0125}],
)
def test_equal_to_librosa_with_other_sizes(options):
    config, waveform = FeatureConfig(**options), noise(9999)
    features = Spectrogram(config).log_magnitude(waveform[None])[0].numpy()
    assert np.abs(features - with_librosa(waveform, config, "hamming")).max() < 1e-5


def test_symmetric_window_of_older_models_is_equal_to_librosa_with_that_window():
    config, waveform = FeatureConfig(periodic=False), noise(16000)
    symmetric = scipy.signal.windows.hamming(320, sym=True)
    features = Spectrogram(config).log_magnitude(waveform[None])[0].numpy()
    assert np.abs(features - with_librosa(waveform, config, symmetric)).max() < 1e-5
    assert np.abs(features - with_librosa(waveform, config, "hamming")).max() > 1e-3


def test_real_speech_is_equal_to_librosa(shared):
    for path in sorted((shared / "speech").rglob("*.wav"))[:3]:
        waveform = torch.from_numpy(load_audio(path, 16000))
        features = Spectrogram().log_magnitude(waveform[None])[0].numpy()
        assert np.abs(features - with_librosa(waveform, FeatureConfig(), "hamming")).max() < 1e-5


@pytest.mark.parametrize(("rate", "bins"), [(16000, 201), (8000, 81), (44100, 442)])
def test_mel_bands_are_those_of_librosa_on_a_fine_grid(rate, bins):
    """Averaged over the width of each bin, which librosa's, taken at its centre, approach with finer bins."""
    fine = 65  # a fine bin is centred on each coarse one, so the outer ones reach half a coarse bin
    triangles = librosa.filters.mel(
        sr=rate, n_fft=2 * (bins - 1) * fine, n_mels=MEL_BANDS, fmin=0, htk=True, norm=None
    )
    expected = np.pad(triangles, ((0, 0), (fine // 2, fine // 2))).reshape(MEL_BANDS, bins, fine).sum(2)
    expected /= expected.sum(1, keepdims=True)
    assert np.abs(mel_bands(rate, bins).numpy() - expected).max() < 5e-3
    assert mel_bands(rate, bins).sum(1).numpy() == pytest.approx(1)


def test_mel_features_are_amplified_band_means_of_the_magnitudes():
    config, waveform = FeatureConfig(scale="mel", window_size=0.025), noise(16000)
    features = Spectrogram(config).log_magnitude(waveform[None])[0].numpy()
    magnitudes = np.expm1(with_librosa(waveform, config, "hamming"))
    assert features.shape == (config.bins, magnitudes.shape[1])
    assert np.abs(features - np.log1p(300 * mel_bands(16000, 201).numpy() @ magnitudes)).max() < 1e-4


def test_normalised_to_mean_0_and_unbiased_deviation_1():
    features, frames = Spectrogram()(noise(16000)[None])
    assert features.shape == (1, 161, 101)
    assert frames.tolist() == [101]
    assert features.mean().abs() < 1e-6
    assert features.std() == pytest.approx(1, abs=1e-5)


def test_mel_bands_each_have_mean_0():
    features, _ = Spectrogram(FeatureConfig(scale="mel"))(noise(16000)[None])
    assert features.mean(2).abs().max() < 1e-5
    assert features.square().sum() == pytest.approx(features.numel() - 1, rel=1e-5)


def test_a_microphone_does_not_change_mel_features():
    """Whatever it does to each band; where sounds are loud enough for a logarithm."""
    loud = torch.expm1(5 + torch.rand(1, 80, 40, generator=torch.manual_seed(0)))
    gains = torch.linspace(0.5, 2, 80)[:, None]
    counts = torch.tensor([40])
    before, after = (normalize(torch.log1p(each), counts, MEL) for each in (loud, gains * loud))
    assert torch.allclose(before, after, atol=0.02)


@given(LENGTHS, st.sampled_from(["linear", "mel"]))
def test_an_utterance_alone_equals_itself_in_a_batch(lengths, scale):
    waveforms = [noise(length, seed) for seed, length in enumerate(lengths)]
    padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
    spectrogram = Spectrogram(FeatureConfig(scale=scale))
    features, frames = spectrogram(padded, torch.tensor(lengths))
    for row, count, waveform in zip(features, frames.tolist(), waveforms, strict=True):
        alone, (own,) = spectrogram(waveform[None])
        assert own == count
        assert torch.allclose(row[:, :count], alone[0], atol=1e-5)
        assert not row[:, count:].any()


@pytest.mark.parametrize("samples", [1, 2, 100, 5000])
@pytest.mark.parametrize("level", [0.0, 1e-30, 0.5])
def test_constant_audio_gives_finite_features(samples, level):
    features, _ = Spectrogram()(torch.full((2, samples), level))
    assert torch.isfinite(features).all()


def test_silence_gives_zeros():
    assert not Spectrogram()(torch.zeros(1, 4000))[0].any()


def test_statistics_ignore_padding():
    """Statistics see valid frames only."""
    spectrogram = torch.rand(2, 5, 9)
    counts = torch.tensor([4, 9])
    dirty = spectrogram.clone()
    dirty[0, :, 4:] = 1e6
    assert torch.equal(normalize(spectrogram, counts), normalize(dirty, counts))


def test_the_window_is_not_in_the_state_dict():
    assert not Spectrogram().state_dict()


def running(waveforms, lengths=None, scale="linear"):
    return Spectrogram(FeatureConfig(normalize="running", scale=scale))(waveforms, lengths)


@given(LENGTHS, st.integers(0, 400), st.sampled_from(["linear", "mel"]))
def test_running_statistics_in_a_padded_batch_equal_those_alone(lengths, padding, scale):
    waveforms = torch.zeros(len(lengths), max(lengths) + padding)
    for row, length in zip(waveforms, lengths, strict=True):
        row[:length] = noise(length, seed=length)
    features, counts = running(waveforms, torch.tensor(lengths), scale)
    for index, (length, count) in enumerate(zip(lengths, counts.tolist(), strict=True)):
        alone, _ = running(waveforms[index : index + 1, :length], scale=scale)
        tolerance = 1e-4 if scale == "mel" else 0  # products of matrices depend on their sizes
        assert torch.allclose(features[index, :, :count], alone[0], rtol=0, atol=tolerance)
        assert not features[index, :, count:].any()


def two_values(statistics):
    """Two values with the moments of the prior."""
    return statistics.prior_mean + statistics.prior_deviation * np.array([[-1.0], [1.0]])


def test_running_statistics_are_those_of_the_prior_and_the_frames_so_far():
    spectrogram = torch.rand(1, 7, 9, generator=torch.manual_seed(0)) + 50
    features, _ = normalize_running(spectrogram, torch.tensor([9]))
    prior = two_values(LINEAR)
    for frame in range(9):
        seen = spectrogram[0, :, : frame + 1].double().numpy().ravel()
        values = np.concatenate([np.tile(prior, LINEAR.prior_frames * 7).ravel(), seen, seen])
        expected = (spectrogram[0, :, frame].numpy() - values.mean()) / values.std()
        assert np.abs(features[0, :, frame].numpy() - expected).max() < 1e-5


def test_running_statistics_of_mel_bands_have_a_mean_for_each():
    spectrogram = torch.rand(1, 7, 9, generator=torch.manual_seed(0)) + torch.arange(7)[:, None]
    features, _ = normalize_running(spectrogram, torch.tensor([9]), statistics=MEL)
    prior = np.tile(two_values(MEL).ravel(), (7, MEL.prior_frames))
    for frame in range(9):
        seen = spectrogram[0, :, : frame + 1].double().numpy()
        values = np.concatenate([prior, seen, seen], axis=1)
        means = values.mean(axis=1)
        expected = (spectrogram[0, :, frame].numpy() - means) / np.sqrt(
            np.mean((values - means[:, None]) ** 2)
        )
        assert np.abs(features[0, :, frame].numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("scale", ["linear", "mel"])
def test_running_statistics_are_causal(scale):
    waveform = noise(16000)
    changed = waveform.clone()
    changed[8000:] *= 30
    before, after = (running(each[None], scale=scale)[0] for each in (waveform, changed))
    first = int((before != after).any(dim=1).nonzero()[0, 1])
    assert first == 50  # whose window starts 160 samples before


def test_running_statistics_of_hours_of_silence_are_finite():
    features, sums = normalize_running(torch.zeros(1, 1, 500_000), torch.tensor([500_000]))
    features, _ = normalize_running(torch.zeros(1, 1, 100), torch.tensor([100]), 1e4 * sums)
    assert torch.isfinite(features).all()
    assert features.abs().max() < 0.01


@pytest.mark.parametrize("samples", [1, 100, 5000])
@pytest.mark.parametrize("level", [0.0, 1e-30, 0.5, 1.0])
def test_running_statistics_of_constant_audio_are_finite(samples, level):
    features, _ = running(torch.full((2, samples), level))
    assert torch.isfinite(features).all()
    assert features.abs().max() < 100


def test_running_statistics_approach_those_of_the_utterance():
    waveform = noise(64000)
    difference = running(waveform[None])[0] - Spectrogram()(waveform[None])[0]
    assert difference[:, :, 200:].abs().mean() < 0.05


def test_features_per_utterance_cannot_stream():
    with pytest.raises(InputError, match="cannot stream; train with --normalize running"):
        Spectrogram().forward_chunk(noise(400)[None], final=False)
