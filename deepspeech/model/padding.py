"""Which frames of a padded batch are valid."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

State = tuple[Tensor, ...]  # of a recurrent layer: (directions, batch, hidden_size) float32; LSTMs have two


class Frames:
    """Which frames of a padded batch are valid.

    Made once for a batch and shared by its layers.

    Args:
        lengths: (batch,) int64 valid frames, best on the CPU: then no layer has to wait for a GPU.
        size: Frames of the padded batch.
        device: Where that batch is; where the lengths are by default.
    """

    def __init__(self, lengths: Tensor, size: int, device: torch.device | None = None) -> None:
        self.lengths, self.size, self.full = lengths, size, all_full(lengths, size)
        lengths = lengths.to(device or lengths.device, non_blocking=True)
        time = torch.arange(size, device=lengths.device)
        self.valid = time < lengths[:, None]  # (batch, frames)
        self.total = lengths.sum()

    @cached_property
    def _reverse(self) -> Tensor:
        """Rows of a (frames, batch) table, every utterance's valid frames reversed."""
        batch, size = self.valid.shape
        time, number = (torch.arange(each, device=self.valid.device) for each in (size, batch))
        reverse = torch.where(self.valid, self.valid.sum(1, keepdim=True) - 1 - time, time)
        return (reverse.T * batch + number).flatten()

    def clear(self, inputs: Tensor) -> Tensor:
        """Set everything beyond each utterance's end to zero: (frames, batch, size)."""
        return inputs if self.full else inputs.masked_fill(~self.valid.T[:, :, None], 0)

    def clear_images(self, inputs: Tensor) -> Tensor:
        """The same for (batch, channels, bins, frames), in place."""
        return inputs if self.full else inputs.masked_fill_(~self.valid[:, None, None, :], 0)

    def reversed(self, inputs: Tensor) -> Tensor:
        """Reverse every utterance in time within its valid frames: (frames, batch, size)."""
        return inputs.flatten(0, 1).index_select(0, self._reverse).view_as(inputs)


def all_full(lengths: Tensor, size: int) -> bool:
    """Whether no utterance of a batch is padded; False where to know it would mean waiting for a GPU."""
    return lengths.device.type == "cpu" and bool((lengths == size).all())
