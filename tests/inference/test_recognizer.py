"""Audio in, text out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from deepspeech.audio.features import Spectrogram
from deepspeech.errors import InputError
from deepspeech.inference.endpointing import Segmenter
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


def segments(waveform):
    segmenter = Segmenter(16000)
    return [each.waveform.tolist() for each in [*segmenter.feed(waveform), *segmenter.finish()]]


ENTRANCES = {
    "transcribe": Recognizer.transcribe,
    "transcripts": Recognizer.transcripts,
    "batch_transcripts": lambda recognizer, waveform: recognizer.batch_transcripts([waveform]),
    "log_probs": lambda recognizer, waveform: recognizer.log_probs([waveform])[0].tolist(),
    "features": lambda recognizer, waveform: recognizer.features([waveform])[0].tolist(),
    "segments": lambda recognizer, waveform: segments(waveform),
}


@pytest.fixture(scope="module")
def recognizer(labels):
    return Recognizer(tiny_model(labels))


@pytest.fixture(scope="module")
def pcm():
    """16-bit samples, which float32 holds exactly."""
    return np.random.default_rng(0).integers(-9000, 9000, 16000).astype(np.int16)


def read_only(waveform):
    waveform = waveform.copy()
    waveform.flags.writeable = False
    return waveform


@pytest.mark.parametrize("entrance", ENTRANCES.values(), ids=ENTRANCES)
@pytest.mark.parametrize(
    "form",
    [
        lambda pcm: pcm,
        lambda pcm: pcm / 2**15,  # float64
        lambda pcm: (pcm / 2**15).astype(">f4"),
        lambda pcm: (pcm[::-1] / np.float32(2**15))[::-1],
        lambda pcm: np.stack([pcm, pcm], 1)[:, 0],
        lambda pcm: read_only(pcm / np.float32(2**15)),
    ],
    ids=["int16", "float64", "big-endian", "reversed", "strided", "read-only"],
)
def test_samples_in_any_form_give_the_same(recognizer, pcm, entrance, form):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert entrance(recognizer, form(pcm)) == entrance(recognizer, pcm.astype(np.float32) / 2**15)


@pytest.mark.parametrize("entrance", ENTRANCES.values(), ids=ENTRANCES)
@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.array([0.1, np.nan], np.float32), "NaN or infinite samples; repair its source"),
        (np.array([0.1, 1e300]), "NaN or infinite samples; repair its source"),
        (np.zeros((160, 2), np.float32), r"samples of shape \(160, 2\); give one channel"),
        (np.zeros(160, np.int32), "samples of type int32; give float32 or int16"),
        (torch.zeros(160), "a Tensor; give samples as a numpy array"),
    ],
)
def test_bad_samples_are_refused(recognizer, entrance, samples, words):
    with pytest.raises(InputError, match=words):
        entrance(recognizer, samples)


@pytest.mark.parametrize("name", ["transcribe", "transcripts", "batch_transcripts", "log_probs", "features"])
def test_no_samples_have_no_text(recognizer, name):
    with pytest.raises(InputError, match="waveform 1: no samples; give audio that has some"):
        ENTRANCES[name](recognizer, np.zeros(0, np.float32))


def test_no_waveforms_are_no_batch(recognizer):
    with pytest.raises(InputError, match="no waveform; give at least one"):
        recognizer.batch_transcripts([])
