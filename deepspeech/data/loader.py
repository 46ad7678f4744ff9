"""Batches on their way from the host to the device where the network is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import nn

from deepspeech.audio.features import Spectrogram
from deepspeech.audio.spec_augment import Policy, apply
from deepspeech.data.batch import Batch, padded_size
from deepspeech.training.config import FeatureConfig


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
