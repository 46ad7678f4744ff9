"""The utterances of a corpus as samples: audio is loaded, augmented and turned into features."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from deepspeech.audio.augment import Augmentation
from deepspeech.audio.config import FeatureConfig
from deepspeech.audio.features import Spectrogram
from deepspeech.audio.spec_augment import draw_warp_and_masks, warp_and_mask
from deepspeech.data.batch import Sample, WaveformSample
from deepspeech.data.corpus import Corpus
from deepspeech.labels import Labels


class SpectrogramDataset(Dataset[Sample]):
    """The features and targets of a corpus.

    Args:
        corpus: Checked utterances, from `deepspeech.data.corpus.load_corpus`.
        labels: The alphabet of the targets.
        features: How features are computed.
        augment: The augmentation of training data; None, as in evaluation, leaves utterances unchanged.
    """

    def __init__(
        self,
        corpus: Corpus,
        labels: Labels,
        features: FeatureConfig = FeatureConfig(),
        augment: Augmentation | None = None,
    ) -> None:
        self.corpus = corpus
        self.labels = labels
        self.spectrogram = Spectrogram(features)
        self.augment = augment
        self.epoch = 0  # of the augmentation; AudioDataLoader sets it to the sampler's

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitem__(self, index: int) -> Sample:
        """Load an utterance and compute its features; for the indices of copies see `BucketingSampler`.

        Raises:
            InputError: Its audio cannot be read.
        """
        sample = self.waveform(index)
        features, lengths = self.spectrogram(sample.waveform[None])
        if self.augment and self.augment.policy and sample.warp_and_masks is not None:
            features = warp_and_mask(features, lengths, sample.warp_and_masks[None], self.augment.policy)
        return Sample(
            index=sample.index, features=features[0], target=sample.target, duration=sample.duration
        )

    def waveform(self, index: int) -> WaveformSample:
        """Load an utterance, for a device to compute its features (see `DeviceFeatures`).

        Raises:
            InputError: Its audio cannot be read.
        """
        config, augment, drawn = self.spectrogram.config, self.augment, None
        row = index % len(self.corpus)
        waveform = self.corpus.load_audio(row, config.sample_rate)
        if augment:
            random = augment.generator(self.epoch, index)
            waveform = augment.waveform(waveform, random)
            if augment.policy and self.epoch >= augment.plain_epochs:
                frames = self.spectrogram.frames.count(len(waveform))
                drawn = draw_warp_and_masks(augment.policy, config.bins, frames, random)
        return WaveformSample(
            index=row,
            target=torch.from_numpy(self.corpus.targets[row].astype(np.int64)),
            duration=len(waveform) / config.sample_rate,
            waveform=torch.from_numpy(waveform),
            warp_and_masks=drawn,
        )

    def reference(self, index: int) -> str:
        """The transcript of an utterance, as the labels spell it or, if the corpus keeps it, as written."""
        texts = self.corpus.texts
        return self.labels.decode(self.corpus.targets[index]) if texts is None else texts[index]
