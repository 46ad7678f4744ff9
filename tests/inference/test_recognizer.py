"""Audio in, text out."""

from __future__ import annotations

import numpy as np
import torch

from deepspeech.audio.features import Spectrogram
from deepspeech.inference.recognizer import Recognizer
from tests.conftest import tiny_model


def test_lengths_stay_on_the_host(labels):
    """On a GPU the host would have to wait for them; the meta device cannot give them back at all."""
    recognizer = Recognizer(tiny_model(labels).to("meta"))
    features, lengths = recognizer.features([np.zeros(16000, np.float32), np.zeros(8000, np.float32)])
    assert (features.device.type, lengths.tolist()) == ("meta", [101, 51])


def test_lengths_of_full_rows_are_on_the_host():
    _, lengths = Spectrogram().to("meta")(torch.zeros(2, 16000, device="meta"))
    assert lengths.tolist() == [101, 101]
