"""Utterances that go through the network together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deepspeech.errors import InputError

FRAME_STEP = 16  # batches are padded to a multiple of it: oneDNN makes a kernel for every new shape


@dataclass(frozen=True)
class Sample:
    """One utterance, ready for the network."""

    index: int  # in the dataset
    features: Tensor  # (bins, frames) float32; a waveform (1, samples) where a device computes them
    target: Tensor  # (characters,) int64
    duration: float  # seconds
    drawn: Tensor | None = None  # what SpecAugment shall do, where a device does it: (numbers,) int64


@dataclass(frozen=True)
class Batch:
    """Utterances of like length, padded to the longest or a little beyond it."""

    indices: list[int]
    features: Tensor  # (batch, bins, frames) float32, zero beyond each end; or waveforms, see `Sample`
    lengths: Tensor  # (batch,) int64 frames or samples
    targets: Tensor  # (sum of target_lengths,) int64, one after the other
    target_lengths: Tensor  # (batch,) int64 characters
    duration: float  # seconds of audio, padding not counted
    faults: tuple[InputError, ...] = ()  # utterances that could not be read
    drawn: Tensor | None = None  # (batch, numbers) int64, see `Sample`

    def __len__(self) -> int:
        return len(self.indices)

    def pin_memory(self) -> Batch:
        """Put it where a GPU copies from without waiting; the loader calls this."""
        return self._map(Tensor.pin_memory, "features", "lengths", "targets", "target_lengths", "drawn")

    def to(self, device: torch.device) -> Batch:
        """What the network sees goes to the device; lengths and targets stay on the host.

        Recurrent layers, CTC and the report of short utterances want lengths there, and reading
        them back would make the host wait for the device.
        """
        return self._map(lambda tensor: tensor.to(device, non_blocking=True), "features", "drawn")

    def _map(self, function: Callable[[Tensor], Tensor], *names: str) -> Batch:
        tensors = {name: getattr(self, name) for name in names}
        return replace(
            self, **{name: function(tensor) for name, tensor in tensors.items() if tensor is not None}
        )


def collate(samples: Sequence[Sample | InputError]) -> Batch:
    """Pad samples into a batch; what could not be read goes to its `faults`."""
    faults = tuple(sample for sample in samples if isinstance(sample, InputError))
    samples = [sample for sample in samples if isinstance(sample, Sample)]
    lengths = torch.tensor([sample.features.shape[1] for sample in samples], dtype=torch.int64)
    bins = samples[0].features.shape[0] if samples else 0
    drawn = [sample.drawn for sample in samples if sample.drawn is not None]
    features = torch.zeros(len(samples), bins, padded_size(lengths))
    for row, sample in zip(features, samples, strict=True):
        row[:, : sample.features.shape[1]] = sample.features
    return Batch(
        indices=[sample.index for sample in samples],
        features=features,
        lengths=lengths,
        targets=torch.cat([sample.target for sample in samples]) if samples else torch.zeros(0).long(),
        target_lengths=torch.tensor([len(sample.target) for sample in samples], dtype=torch.int64),
        duration=sum(sample.duration for sample in samples),
        faults=faults,
        drawn=torch.stack(drawn) if drawn else None,
    )


def padded_size(lengths: Tensor) -> int:
    """Frames of a padded batch of utterances with `lengths` (batch,) int64 frames, on the CPU."""
    return math.ceil(max(lengths.tolist(), default=0) / FRAME_STEP) * FRAME_STEP
