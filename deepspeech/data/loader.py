"""Batches, prepared by worker processes and moved to the network's device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from deepspeech import distributed
from deepspeech.audio.config import FeatureConfig
from deepspeech.audio.features import Spectrogram
from deepspeech.audio.spec_augment import Policy, warp_and_mask
from deepspeech.data.batch import Batch, WaveformBatch, collate, collate_waveforms, padded_length
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.parallel import ValueOrFault, from_workers, ignore_signals
from deepspeech.data.sampler import BucketingSampler
from deepspeech.errors import InputError
from deepspeech.labels import DEFAULT_PATH, PATH_HELP
from deepspeech.options import NOT_NEGATIVE, POSITIVE, Options, one_of, option


@dataclass(frozen=True)
class DataConfig(Options):
    """Data"""

    train_manifest: tuple[str, ...] = option(
        ("data/train_manifest.csv",),
        "manifests to train on: CSV of audio,transcript[,seconds], JSON lines, shards: 'x-{000..099}.tar'. "
        "FILE:3 is taken three times in an epoch; of FILE:0.5 half, others in every epoch",
        nargs="+",
        metavar="FILE[:N]",
    )
    val_manifest: str = option(
        "data/val_manifest.csv", "manifest to validate on after every epoch", metavar="FILE"
    )
    labels_path: str = option(DEFAULT_PATH, PATH_HELP, metavar="FILE")
    batch_size: int = option(20, "utterances in a batch", POSITIVE)
    batch_seconds: float | None = option(
        None,
        "instead of --batch-size: as many utterances of similar length as fit, padding included",
        POSITIVE,
        metavar="SECONDS",
    )
    num_workers: int = option(4, "processes that load data; 0 loads it in the main process", NOT_NEGATIVE)
    unknown_characters: str = option(
        "error", "what to do with characters outside the labels", one_of("error", "drop")
    )
    skip_faulty: bool = option(False, "leave out faulty rows of the manifests instead of stopping")
    features_on_device: bool | None = option(
        None, "compute features and SpecAugment on the network's device (default: only on a GPU)"
    )
    sorta_grad: bool = option(
        True,
        "present the first epoch shortest first (SortaGrad)",
        flags=("--sorta-grad", "--sortaGrad"),
    )


class AudioDataLoader:
    """Batches of a dataset in the sampler's order, read by worker processes.

    Args:
        dataset: Source of the samples.
        sampler: Which utterances form a batch.
        num_workers: Worker processes, at most one per core; 0 loads in this process.
        skip_faulty: Leave utterances that cannot be read out of their batch, whose `faults` name them,
            instead of raising.
        device: Where batches go; a GPU gets each one during the computation of the one before.
        features_on_device: Compute features and SpecAugment on the device, not in the workers.
    """

    def __init__(
        self,
        dataset: SpectrogramDataset,
        sampler: BucketingSampler,
        num_workers: int = 0,
        skip_faulty: bool = False,
        device: str | torch.device = "cpu",
        features_on_device: bool = False,
    ) -> None:
        self.dataset, self.batch_sampler, self.skip_faulty = dataset, sampler, skip_faulty
        self.device, self.features_on_device = torch.device(device), features_on_device
        policy = dataset.augment.policy if dataset.augment else None
        self.features = DeviceFeatures(dataset.spectrogram.config, policy).to(self.device)
        read: Callable[[int], Any] = dataset.waveform if features_on_device else dataset.__getitem__
        pad = functools.partial(collate_waveforms, stride=dataset.spectrogram.config.stride_samples)
        self._loader: DataLoader[Any] = DataLoader(
            ValueOrFault(read),  # type: ignore[arg-type]  # it has what a map-style dataset needs
            batch_sampler=sampler,
            collate_fn=pad if features_on_device else collate,
            num_workers=min(num_workers, distributed.cores_per_process()),
            pin_memory=self.device.type == "cuda",
            worker_init_fn=ignore_signals,
        )

    def __len__(self) -> int:
        """Batches of this process in the whole epoch."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over batches.

        Raises:
            InputError: An utterance cannot be read and `skip_faulty` is off, or a worker was killed.
        """
        self.dataset.epoch = self.batch_sampler.epoch  # before the worker processes take their copy
        return ahead(from_workers(self._loader), self._prepare, self.device)

    def _prepare(self, batch: Batch | WaveformBatch) -> Batch:
        if batch.faults and not self.skip_faulty:
            raise InputError(batch.faults[0])
        return batch.to(self.device) if isinstance(batch, Batch) else self.features(batch)


class DeviceFeatures(nn.Module):
    """Features of waveform batches, computed on the device of this module.

    They equal those that `SpectrogramDataset` computes for each utterance, up to rounding.

    Args:
        config: How features are computed.
        policy: Policy of the SpecAugment whose random numbers the batches hold.
    """

    def __init__(self, config: FeatureConfig, policy: Policy | None = None) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(config)
        self.policy = policy

    @torch.no_grad()
    def forward(self, batch: WaveformBatch) -> Batch:
        """Compute the features of a batch that is on the host."""
        device = self.spectrogram.taper.device
        if not len(batch):
            empty = torch.zeros(0, self.spectrogram.config.bins, 0, device=device)
            return batch.with_features(empty, batch.lengths)
        features, lengths = self.spectrogram(batch.waveforms.to(device, non_blocking=True), batch.lengths)
        size = padded_length(int(lengths.max()))
        features = nn.functional.pad(features, (0, size - features.shape[2]))
        if self.policy and batch.warp_and_masks is not None:
            ends, drawn = (each.to(device, non_blocking=True) for each in (lengths, batch.warp_and_masks))
            features = warp_and_mask(features, ends, drawn, self.policy)
        return batch.with_features(features, lengths)


def ahead(batches: Iterable[Any], prepare: Callable[[Any], Batch], device: torch.device) -> Iterator[Batch]:
    """Prepare batches, on a GPU one ahead.

    A GPU copies and prepares each batch on a separate stream while the network computes the one before.

    Args:
        batches: Batches on the host, for a GPU in pinned memory.
        prepare: Moves a batch to the device.
        device: The network's device.
    """
    if device.type != "cuda":
        yield from map(prepare, batches)
        return
    side, waiting = _side_stream(device), None
    for batch in chain(batches, [None]):
        coming = None
        if batch is not None:
            with torch.cuda.stream(side):
                coming = prepare(batch), side.record_event()
        if waiting:
            ready, event = waiting
            stream = torch.cuda.current_stream(device)
            stream.wait_event(event)
            ready.features.record_stream(stream)  # keeps the memory until the network is done with it
            yield ready
        waiting = coming


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for the whole run: the allocator keeps the freed memory of every stream for that stream alone."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # untyped in torch
