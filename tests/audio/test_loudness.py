"""Levels and pauses."""

import numpy as np
import pytest

from deepspeech.audio.loudness import LEVEL_STRIDE, find_pauses, rms_levels
from tests.decoding.test_word_times import speech

RATE = 16000


@pytest.mark.parametrize("window", [160, 640])
@pytest.mark.parametrize("stride", [160, 320])
def test_levels_are_the_rms_amplitude_in_dbfs(window, stride):
    waveform = np.random.default_rng(0).standard_normal(5000) * 0.1
    rms = [
        np.sqrt(np.mean(waveform[start : start + window] ** 2)) for start in range(0, 5001 - window, stride)
    ]
    assert rms_levels(waveform, window, stride) == pytest.approx(20 * np.log10(rms))


def test_a_tone_at_full_scale_has_minus_three_dbfs():
    assert rms_levels(np.sin(np.arange(8000)), 8000, 1) == pytest.approx([-3.01], abs=0.01)


def test_digital_silence_has_the_lowest_level():
    assert rms_levels(np.zeros(100), 50, 50) == pytest.approx([-100, -100])
    assert rms_levels(np.zeros(100), 50, 50, lowest=-90.0) == pytest.approx([-90, -90])


def test_pauses_do_not_depend_on_loudness():
    waveform = speech(1.0, (0.3, 0.6))
    loud, faint = (find_pauses(scale * waveform, RATE) for scale in (1.0, 0.05))
    assert loud == faint
    assert loud[0] == pytest.approx((0, 0.3), abs=0.025)
    assert loud[-1] == pytest.approx((0.6, 1.01), abs=0.025)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_recording_without_a_change_is_one_pause(rate):
    ((start, end),) = find_pauses(np.resize([0.1, -0.1], rate // 2), rate)
    assert start <= 2 * LEVEL_STRIDE
    assert end == pytest.approx(0.5, abs=2 * LEVEL_STRIDE)
