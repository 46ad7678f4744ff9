"""Log-spectrograms: against librosa, alone and in a batch, in silence."""

import librosa
import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.audio import load_audio
from deepspeech.config import FeatureConfig
from deepspeech.features import Spectrogram, normalize

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


def test_normalised_to_mean_0_and_unbiased_deviation_1():
    features, frames = Spectrogram()(noise(16000)[None])
    assert features.shape == (1, 161, 101)
    assert frames.tolist() == [101]
    assert features.mean().abs() < 1e-6
    assert features.std() == pytest.approx(1, abs=1e-5)


@given(LENGTHS)
def test_an_utterance_alone_equals_itself_in_a_batch(lengths):
    waveforms = [noise(length, seed) for seed, length in enumerate(lengths)]
    padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
    spectrogram = Spectrogram()
    features, frames = spectrogram(padded, torch.tensor(lengths))
    for row, count, waveform in zip(features, frames.tolist(), waveforms, strict=True):
        alone, (own,) = spectrogram(waveform[None])
        assert own == count
        assert torch.allclose(row[:, :count], alone[0], atol=1e-5)
        assert not row[:, count:].any()


@pytest.mark.parametrize("samples", [1, 2, 100, 5000])
@pytest.mark.parametrize("level", [0.0, 1e-30, 0.5])
def test_constant_audio_gives_numbers(samples, level):
    features, _ = Spectrogram()(torch.full((2, samples), level))
    assert torch.isfinite(features).all()


def test_silence_gives_zeros():
    assert not Spectrogram()(torch.zeros(1, 4000))[0].any()


def test_loudness_does_not_leak_from_padding():
    """Statistics see valid frames only."""
    spectrogram = torch.rand(2, 5, 9)
    counts = torch.tensor([4, 9])
    dirty = spectrogram.clone()
    dirty[0, :, 4:] = 1e6
    assert torch.equal(normalize(spectrogram, counts), normalize(dirty, counts))


def test_the_window_is_no_weight():
    assert not Spectrogram().state_dict()
