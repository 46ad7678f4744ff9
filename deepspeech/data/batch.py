"""Batches: utterances that go through the network together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from deepspeech.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One utterance, ready for the network."""

    index: int  # in the dataset
    features: Tensor  # (bins, frames) float32
    target: Tensor  # (characters,) int64 label indices
    duration: float  # seconds


@dataclass(frozen=True, kw_only=True)
class WaveformSample:
    """One utterance whose features are yet to be computed."""

    index: int  # in the dataset
    waveform: Tensor  # (samples,) float32
    target: Tensor  # (characters,) int64 label indices
    duration: float  # seconds
    warp_and_masks: Tensor | None = None  # (numbers,) int64: the random numbers of SpecAugment


@dataclass(frozen=True, kw_only=True)
class _Utterances:
    indices: list[int]  # in the dataset
    lengths: Tensor  # (batch,) int64, without padding
    targets: Tensor  # (sum of target_lengths,) int64, concatenated
    target_lengths: Tensor  # (batch,) int64 characters
    duration: float  # seconds of audio, without padding
    faults: tuple[InputError, ...] = ()  # of utterances that cannot be read

    def __len__(self) -> int:
        return len(self.indices)

    def pin_memory(self) -> Self:
        """Copy tensors to page-locked memory, so that copies to a GPU are asynchronous; for `DataLoader`."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        pinned: dict[str, Any] = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        return replace(self, **pinned)


@dataclass(frozen=True, kw_only=True)
class Batch(_Utterances):
    """Utterances of similar length, padded to the longest or slightly beyond; lengths count frames."""

    features: Tensor  # (batch, bins, frames) float32, zero beyond each utterance's end

    def to(self, device: torch.device) -> Batch:
        """Copy the features to a device; lengths and targets stay on the host.

        Recurrent layers, CTC and the report of short utterances need lengths there, and reading them back
        would make the host wait for the device.
        """
        return replace(self, features=self.features.to(device, non_blocking=True))


@dataclass(frozen=True, kw_only=True)
class WaveformBatch(_Utterances):
    """Utterances of similar length whose features are yet to be computed; lengths count samples."""

    waveforms: Tensor  # (batch, samples) float32, zero beyond each utterance's end
    warp_and_masks: Tensor | None = None  # (batch, numbers) int64, see `WaveformSample`

    def with_features(self, features: Tensor, lengths: Tensor) -> Batch:
        """The same utterances with features (batch, bins, frames) and frame counts (batch,)."""
        common = {entry.name: getattr(self, entry.name) for entry in fields(_Utterances)}
        return Batch(**common | {"features": features, "lengths": lengths})


def collate(samples: Sequence[Sample | InputError]) -> Batch:
    """Pad samples into a batch; utterances that cannot be read go to its `faults`."""
    features = [each.features for each in samples if isinstance(each, Sample)]
    return Batch(features=_padded(features), **_common(samples, features))


def collate_waveforms(samples: Sequence[WaveformSample | InputError], stride: int) -> WaveformBatch:
    """`collate`, but to a multiple of 16 frames of `stride` samples: cuFFT plans every new shape."""
    good = [each for each in samples if isinstance(each, WaveformSample)]
    waveforms = [each.waveform for each in good]
    drawn = [each.warp_and_masks for each in good if each.warp_and_masks is not None]
    masks = torch.stack(drawn) if drawn else None
    padded = _padded(waveforms, unit=stride)
    return WaveformBatch(waveforms=padded, warp_and_masks=masks, **_common(samples, waveforms))


def _common(
    samples: Sequence[Sample | WaveformSample | InputError], inputs: Sequence[Tensor]
) -> dict[str, Any]:
    """The fields of `_Utterances`."""
    good = [each for each in samples if not isinstance(each, InputError)]
    return {
        "indices": [each.index for each in good],
        "lengths": torch.tensor([each.shape[-1] for each in inputs], dtype=torch.int64),
        "targets": torch.cat([torch.zeros(0, dtype=torch.int64), *(each.target for each in good)]),
        "target_lengths": torch.tensor([len(each.target) for each in good], dtype=torch.int64),
        "duration": sum(each.duration for each in good),
        "faults": tuple(each for each in samples if isinstance(each, InputError)),
    }


def _padded(rows: Sequence[Tensor], unit: int = 1) -> Tensor:
    """Rows (..., length) as one tensor (rows, ..., padded length), zero beyond each end."""
    shape = rows[0].shape[:-1] if rows else ()
    longest = max((row.shape[-1] for row in rows), default=0)
    padded = torch.zeros(len(rows), *shape, padded_length(longest, unit))
    for place, row in zip(padded, rows, strict=True):
        place[..., : row.shape[-1]] = row
    return padded


# oneDNN compiles and keeps a kernel for every new shape, so batches are padded to one of few lengths.


def padded_length(longest: int, unit: int = 1) -> int:
    """The next multiple of 16 units: for training, where padding costs time and utterances last seconds."""
    return -(-longest // (16 * unit)) * 16 * unit


def padded_samples(longest: int) -> int:
    """At most an eighth more, eight lengths per octave: for recordings of any length."""
    step = max(1 << longest.bit_length() >> 4, 1)
    return -(-longest // step) * step
