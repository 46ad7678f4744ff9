"""Folders for sherpa-onnx: its recogniser gives the text of ours."""

from __future__ import annotations

import numpy as np
import pytest
import sherpa_onnx

from deepspeech.audio.config import FeatureConfig
from deepspeech.errors import InputError
from deepspeech.export.sherpa import LEVEL, write_folder
from deepspeech.inference.recognizer import Recognizer
from tests.conftest import tiny_model


def transcribe(folder, waveform):
    files = {"model": str(folder / "model.onnx"), "tokens": str(folder / "tokens.txt")}
    recognizer = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(**files)
    stream = recognizer.create_stream()
    stream.accept_waveform(16000, waveform)
    recognizer.decode_stream(stream)
    return stream.result


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_same_text_at_the_level_of_speech(labels, tmp_path, bidirectional):
    features = FeatureConfig(normalize="utterance" if bidirectional else "running")
    model = tiny_model(labels, bidirectional=bidirectional, features=features)
    write_folder(model, tmp_path)
    noise = np.random.default_rng(0).normal(0, 1, 24000).astype(np.float32)
    waveform = (noise - noise.mean()) / noise.std() * np.float32(LEVEL)
    expected = Recognizer(model).transcribe(waveform)
    for gain in (1, 0.1):  # it scales every recording
        result = transcribe(tmp_path, gain * waveform)
        assert "".join(result.tokens) == expected.text
        assert result.timestamps == pytest.approx([0.02 * offset for offset in expected.offsets], abs=1e-3)


def test_other_sample_rates_are_refused(labels, tmp_path):
    with pytest.raises(InputError, match="--to sherpa: the model takes 8000 Hz, sherpa-onnx gives 16000 Hz"):
        write_folder(tiny_model(labels, features=FeatureConfig(sample_rate=8000)), tmp_path)
