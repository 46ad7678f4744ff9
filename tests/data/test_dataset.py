"""Samples: features and targets of a corpus."""

from __future__ import annotations

import soundfile
import torch

from deepspeech.audio.features import Spectrogram
from deepspeech.audio.loading import load_audio
from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import SpectrogramDataset
from tests.conftest import write_rows


def dataset_of(manifest, labels):
    return SpectrogramDataset(load_corpus(manifest, labels), labels)


def test_a_sample_is_features_and_target(corpus, labels):
    dataset = dataset_of(corpus.train, labels)
    assert len(dataset) == 12
    for index, utterance in enumerate(dataset.corpus):
        sample = dataset[index]
        waveform = torch.from_numpy(load_audio(utterance.audio_path, 16000))
        assert torch.equal(sample.features, Spectrogram()(waveform[None])[0][0])
        assert sample.target.tolist() == dataset.corpus.targets[index].tolist()
        assert sample.duration == len(waveform) / 16000
        assert dataset.reference(index) == labels.decode(sample.target.tolist())


def test_an_utterance_of_one_audio_sample(tmp_path, labels):
    soundfile.write(tmp_path / "a.wav", [0.5], 48000)
    (tmp_path / "a.txt").write_text("A")
    sample = dataset_of(write_rows(tmp_path / "m.csv", [("a.wav", "a.txt")]), labels)[0]
    assert sample.features.shape == (161, 1)
    assert torch.isfinite(sample.features).all()
