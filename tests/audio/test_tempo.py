"""Tempo changes: length, pitch, and agreement with sox."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.audio.features import Spectrogram
from deepspeech.audio.loading import load_audio
from deepspeech.audio.tempo import change_tempo
from tests.audio.tones import RATE, pitch, tone


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("factor", [0.85, 0.93, 1.0, 1.07, 1.15])
def test_tempo_changes_the_length_and_keeps_the_pitch(factor):
    changed = change_tempo(tone(220, 3), factor, RATE)
    assert len(changed) == pytest.approx(3 * RATE / factor, abs=1)
    assert pitch(changed) == pytest.approx(220, rel=0.01)
    assert np.abs(changed).max() < 0.32


def test_a_tempo_of_1_changes_nothing(random):
    waveform = random.standard_normal(30000).astype(np.float32)
    np.testing.assert_allclose(change_tempo(waveform, 1.0, RATE), waveform, atol=1e-6)


@given(
    samples=st.integers(0, 5000), factor=st.floats(0.5, 2), rate=st.sampled_from([100, 8000, 16000, 48000])
)
def test_tempo_changes_of_any_clip(samples, factor, rate):
    waveform = np.random.default_rng(samples).uniform(-1, 1, samples).astype(np.float32)
    changed = change_tempo(waveform, factor, rate)
    assert len(changed) == np.ceil(samples / factor)
    assert changed.dtype == np.float32
    assert np.abs(changed).max(initial=0) <= 2


@pytest.fixture(scope="module")
def speech(shared: Path) -> list[np.ndarray]:
    return [load_audio(path, RATE) for path in sorted((shared / "speech/librispeech/audio").iterdir())[::50]]


def sox_tempo(waveform: np.ndarray, factor: float, folder: Path) -> np.ndarray:
    cysox = pytest.importorskip("cysox")
    soundfile.write(folder / "in.wav", waveform, RATE, subtype="PCM_24")
    cysox.convert(folder / "in.wav", folder / "out.wav", effects=[cysox.fx.Tempo(factor)])
    return soundfile.read(folder / "out.wav", dtype="float32")[0]


def pitch_ratio(one: np.ndarray, other: np.ndarray) -> float:
    """Median over the loud half of the frames."""
    pitches = [librosa.yin(each[: len(other)], fmin=60, fmax=400, sr=RATE) for each in (one, other)]
    loud = librosa.feature.rms(y=other)[0]
    return np.median((pitches[0] / pitches[1])[loud > np.median(loud)])


def spectral_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Between log-spectrograms, the second stretched to the length of the first."""
    see = Spectrogram().log_magnitude
    one, other = (see(torch.from_numpy(np.ascontiguousarray(each))[None])[0] for each in (one, other))
    frames = torch.linspace(0, other.shape[1] - 1, one.shape[1]).round().long()
    return float((one - other[:, frames]).square().mean().sqrt())


@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_tempo_agrees_with_libsox(speech, factor, tmp_path):
    ours_to_sox, sox_to_itself = [], []
    for waveform in speech:
        ours, sox = change_tempo(waveform, factor, RATE), sox_tempo(waveform, factor, tmp_path)
        assert len(ours) == pytest.approx(len(sox), rel=0.01)
        assert pitch_ratio(ours, sox) == pytest.approx(1, abs=0.01)
        ours_to_sox.append(spectral_distance(sox, ours))
        sox_to_itself.append(spectral_distance(sox, sox_tempo(waveform, factor * 1.01, tmp_path)))
    assert np.mean(ours_to_sox) <= np.mean(sox_to_itself)  # splices are as clean as sox's own
