"""Utterances -> batches of features: dataset, sampler, loader."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from deepspeech.audio.augment import Augmentation
from deepspeech.audio.features import FeatureConfig, Spectrogram
from deepspeech.data.batch import Sample
from deepspeech.data.corpus import Corpus
from deepspeech.labels import Labels


class SpectrogramDataset(Dataset):
    """The features and targets of a corpus.

    Args:
        corpus: Checked utterances, from `deepspeech.data.corpus.load_corpus`.
        labels: What the targets are encoded with.
        features: How features are computed.
        augment: What training does to the utterances; None, as in evaluation, leaves them as they are.
        waveforms: Leave features, and SpecAugment, to the device (see `DeviceFeatures`).
    """

    def __init__(
        self,
        corpus: Corpus,
        labels: Labels,
        features: FeatureConfig = FeatureConfig(),
        augment: Augmentation | None = None,
        waveforms: bool = False,
    ) -> None:
        self.corpus = corpus
        self.labels = labels
        self.spectrogram = Spectrogram(features)
        self.augment = augment
        self.waveforms = waveforms
        self.epoch = 0  # of the augmentation; AudioDataLoader sets it to the sampler's

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitem__(self, index: int) -> Sample:
        """Read one utterance.

        Raises:
            InputError: Its audio cannot be read.
        """
        waveform = self.corpus.load_audio(index, self.spectrogram.config.sample_rate)
        augment, random, drawn = self.augment, None, None
        if augment:
            random = augment.generator(self.epoch, index)
            waveform = augment.waveform(waveform, random)
        features = torch.from_numpy(waveform)[None]
        if not self.waveforms:
            features = self.spectrogram(features)[0][0]
            features = augment.features(features, random) if augment else features
        elif augment:
            frames = self.spectrogram.frames.count(len(waveform))
            drawn = augment.draw(self.spectrogram.config.bins, frames, random)
        target = torch.from_numpy(self.corpus.targets[index].astype(np.int64))
        return Sample(index, features, target, len(waveform) / self.spectrogram.config.sample_rate, drawn)

    def reference(self, index: int) -> str:
        """The transcript as the labels spell it."""
        return self.labels.decode(self.corpus.targets[index])
