"""Utterances -> batches of features: dataset, sampler, loader."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from deepspeech import distributed
from deepspeech.audio.augment import Augmentation
from deepspeech.audio.features import Spectrogram
from deepspeech.data.batch import Batch, Sample, collate
from deepspeech.data.corpus import Corpus
from deepspeech.data.loader import DeviceFeatures, ahead
from deepspeech.errors import InputError, UnreadableError
from deepspeech.labels import Labels
from deepspeech.training.config import FeatureConfig

LIKE_LENGTH = 0.05  # utterances whose durations differ by less than this share may trade places


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


class BucketingSampler(Sampler[list[int]]):
    """Batches of utterances of like length.

    Utterances are sorted by duration and cut into batches. Shuffling happens between the
    batches and among utterances of like length, seeded by (seed, epoch), so that every
    epoch can be made again from its number. The first epoch goes from the shortest to the
    longest (SortaGrad, Amodei et al., 2016, section 3.2).

    Args:
        durations: Seconds of every utterance.
        batch_size: Utterances in a batch of one process.
        shuffle: Whether epochs differ; without it all go from short to long.
        sorta_grad: Whether epoch 0 is not shuffled.
        seed: Seed of the shuffling.
        num_replicas: Processes that share an epoch. Each gets the same number of batches:
            consecutive utterances of a global batch are dealt out to the processes. Where they
            do not come out even, some get one less, or an empty batch.
        rank: Which of them this is.
        batch_seconds: Bounds a batch instead of `batch_size`: as many utterances as keep
            (utterances x longest), which memory and time go by, within these seconds. An
            utterance longer than that is a batch alone.
    """

    def __init__(
        self,
        durations: Sequence[float] | np.ndarray,
        batch_size: int,
        shuffle: bool = True,
        sorta_grad: bool = True,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
        batch_seconds: float | None = None,
    ) -> None:
        self.durations = np.asarray(durations, dtype=np.float64)
        self.batch_size, self.shuffle, self.sorta_grad, self.seed = batch_size, shuffle, sorta_grad, seed
        self.num_replicas, self.rank, self.batch_seconds = num_replicas, rank, batch_seconds
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch, counted from 0, and the batch in it to begin with."""
        self.epoch, self.start = epoch, start
        self._batches = self.batches()

    def plan(self) -> list[int | float]:
        """What the batches of an epoch depend on, to compare with another run's."""
        size = 0 if self.batch_seconds else self.batch_size * self.num_replicas
        replicas = self.num_replicas if self.batch_seconds else 1
        return [self.seed, size, self.batch_seconds or 0, replicas, self.sorta_grad,
                len(self.durations), float(self.durations.sum())]  # fmt: skip

    def __len__(self) -> int:
        """Batches of one process in the whole epoch."""
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._batches[self.start :]:
            yield batch[self.rank :: self.num_replicas].tolist()

    def batches(self) -> list[np.ndarray]:
        """All batches of the epoch, over all processes, as arrays of indices."""
        shuffled = self.shuffle and not (self.sorta_grad and self.epoch == 0)
        random = np.random.default_rng([self.seed, self.epoch])
        keys = self.durations
        if shuffled:
            keys = keys * random.uniform(1 - LIKE_LENGTH, 1 + LIKE_LENGTH, len(keys))
        order = np.argsort(keys, kind="stable")
        batches = np.split(order, self._cuts(self.durations[order])) if len(order) else []
        if shuffled:
            batches = [batches[index] for index in random.permutation(len(batches))]
        return batches

    def _cuts(self, durations: np.ndarray) -> Sequence[int]:
        """Where batches end, but for the last one, along utterances from short to long."""
        if self.batch_seconds is None:
            size = self.batch_size * self.num_replicas
            return range(size, len(durations), size)
        cuts, start, longest = [], 0, 0.0
        for index, duration in enumerate(durations.tolist()):
            longest = max(longest, duration)
            share = math.ceil((index + 1 - start) / self.num_replicas)  # utterances of one process
            if share > 1 and share * longest > self.batch_seconds:
                cuts.append(index)
                start, longest = index, duration
        return cuts


class _Reader(Dataset):
    """Hands an unreadable utterance on as a value, so that it can cross from a worker process."""

    def __init__(self, dataset: SpectrogramDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Sample | InputError:
        try:
            return self.dataset[index]
        except InputError as error:
            return error


def ignore_signals(worker: int) -> None:
    """Ctrl-C and `timeout` signal the whole process group: the main process decides when to end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class AudioDataLoader(DataLoader):
    """Batches of a dataset in the sampler's order, read by worker processes.

    Args:
        dataset: Where samples come from.
        sampler: Which go together.
        num_workers: Worker processes that read, at most one a core; 0 reads in this one.
        skip_faulty: Leave utterances that cannot be read out of their batch (its `faults`
            name them) instead of raising.
        device: Where batches go; on a GPU they are copied while the one before is computed.
    """

    def __init__(
        self,
        dataset: SpectrogramDataset,
        sampler: BucketingSampler,
        num_workers: int = 0,
        skip_faulty: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        super().__init__(
            _Reader(dataset),
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=min(num_workers, distributed.share_of_cores()),
            pin_memory=self.device.type == "cuda",
            worker_init_fn=ignore_signals,
        )
        self.skip_faulty = skip_faulty
        policy = dataset.augment.policy if dataset.augment else None
        self.features = DeviceFeatures(dataset.spectrogram.config, policy).to(self.device)

    @property
    def utterances(self) -> SpectrogramDataset:
        """The dataset that was given."""
        return self.dataset.dataset

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over batches.

        Raises:
            UnreadableError: An utterance cannot be read and `skip_faulty` is off.
        """
        self.utterances.epoch = self.batch_sampler.epoch  # before worker processes take their copy
        return ahead(self._readable(super().__iter__()), self._prepare, self.device)

    def _readable(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if batch.faults and not self.skip_faulty:
                raise UnreadableError(batch.faults[0])
            yield batch

    def _prepare(self, batch: Batch) -> Batch:
        return self.features(batch) if self.utterances.waveforms else batch.to(self.device)
