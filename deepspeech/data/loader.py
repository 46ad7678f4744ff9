"""Batches on their way from the host to the device where the network is."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.utils.data import DataLoader

from deepspeech import distributed
from deepspeech.audio.features import FeatureConfig, Spectrogram
from deepspeech.audio.spec_augment import Policy, apply
from deepspeech.data.batch import Batch, collate, padded_size
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.parallel import ValueOrFault
from deepspeech.data.sampler import BucketingSampler
from deepspeech.errors import UnreadableError
from deepspeech.options import (
    NOT_NEGATIVE,
    POSITIVE,
    Options,
    one_of,
    option,
)


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
        self.utterances = dataset
        super().__init__(
            ValueOrFault(dataset.__getitem__),
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=min(num_workers, distributed.cores_per_process()),
            pin_memory=self.device.type == "cuda",
            worker_init_fn=ignore_signals,
        )
        self.skip_faulty = skip_faulty
        policy = dataset.augment.policy if dataset.augment else None
        self.features = DeviceFeatures(dataset.spectrogram.config, policy).to(self.device)

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


@dataclass(frozen=True)
class DataConfig(Options):
    """Data"""

    train_manifest: str = option(
        "data/train_manifest.csv",
        "CSV of audio,transcript[,seconds] to train on, or shards: 'x-{000..099}.tar'",
    )
    val_manifest: str = option("data/val_manifest.csv", "CSV to validate on after every epoch")
    labels_path: str = option("labels.json", "JSON list of the characters, with '_' as the blank")
    batch_size: int = option(20, "utterances in a batch", POSITIVE)
    batch_seconds: float | None = option(
        None,
        "instead of --batch-size: as many utterances of like length as fit, padding counted",
        POSITIVE,
    )
    num_workers: int = option(4, "processes that load data; 0 loads in the main one", NOT_NEGATIVE)
    unknown_characters: str = option(
        "error", "what to do with characters outside the labels: error or drop", one_of("error", "drop")
    )
    skip_faulty: bool = option(False, "go on without faulty rows of the manifests instead of stopping")
    features_on_device: bool | None = option(
        None, "compute features and SpecAugment where the network is, or not (default: on a GPU only)"
    )
    sorta_grad: bool = option(
        True,
        "present the first epoch shortest first (SortaGrad)",
        flags=("--sorta-grad", "--sortaGrad"),
    )


class DeviceFeatures(nn.Module):
    """Batches of waveforms -> batches of features, on the device where this module is.

    The same as `SpectrogramDataset` computes for one utterance after another, up to rounding.

    Args:
        config: How features are computed.
        policy: SpecAugment; what it does to an utterance was drawn when it was read.
    """

    def __init__(self, config: FeatureConfig, policy: Policy | None = None) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(config)
        self.policy = policy

    @torch.no_grad()
    def forward(self, batch: Batch) -> Batch:
        """Features instead of the waveforms (batch, 1, samples); lengths become frames."""
        if not len(batch):
            return batch
        batch = batch.to(self.spectrogram.taper.device)
        features, lengths = self.spectrogram(batch.features[:, 0], batch.lengths)
        features = nn.functional.pad(features, (0, padded_size(lengths) - features.shape[2]))
        if self.policy:
            ends = lengths.to(features.device, non_blocking=True)
            features = apply(features, ends, batch.drawn, self.policy)
        return replace(batch, features=features, lengths=lengths)


def ahead(
    batches: Iterable[Batch], prepare: Callable[[Batch], Batch], device: torch.device
) -> Iterator[Batch]:
    """Prepared batches, on a GPU always one ahead.

    There a batch is copied and prepared on a stream of its own, while the network is busy with the
    one before.

    Args:
        batches: On the host, for a GPU in pinned memory.
        prepare: Moves a batch to the device.
        device: Where the network is.
    """
    if device.type != "cuda":
        yield from map(prepare, batches)
        return
    side, waiting = torch.cuda.Stream(device), None
    for batch in batches:
        with torch.cuda.stream(side):
            coming = prepare(batch), side.record_event()
        if waiting:
            yield _taken_over(*waiting, device)
        waiting = coming
    if waiting:
        yield _taken_over(*waiting, device)


def _taken_over(batch: Batch, ready: torch.cuda.Event, device: torch.device) -> Batch:
    """Let the network's stream wait for a batch, and its memory for that stream."""
    stream = torch.cuda.current_stream(device)
    stream.wait_event(ready)
    batch.features.record_stream(stream)
    return batch
