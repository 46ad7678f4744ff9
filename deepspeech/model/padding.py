"""Which frames of a padded batch are valid."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

State = tuple[Tensor, ...]  # of a recurrent layer: (directions, batch, hidden_size) float32; LSTMs have two


class Frames:
    """The valid frames of a padded batch, computed once and shared by all layers.

    Args:
        lengths: (batch,) int64 valid frames, best on the CPU: then no layer waits for a GPU.
        size: Frames of the padded batch.
        device: Where the batch is; by default where the lengths are.
    """

    def __init__(self, lengths: Tensor, size: int, device: torch.device | None = None) -> None:
        self.lengths, self.size = lengths, size
        # False also where to know would mean to wait for a GPU
        self.full = lengths.device.type == "cpu" and bool((lengths == size).all())
        lengths = lengths.to(device or lengths.device, non_blocking=True)
        self.valid = torch.arange(size, device=lengths.device) < lengths[:, None]  # (batch, frames)
        self.total = lengths.sum()

    @cached_property
    def _reverse(self) -> Tensor:
        """Row indices of a (frames * batch, size) table that reverse every utterance's valid frames."""
        batch, size = self.valid.shape
        time, number = (torch.arange(each, device=self.valid.device) for each in (size, batch))
        reverse = torch.where(self.valid, self.valid.sum(1, keepdim=True) - 1 - time, time)
        return (reverse.T * batch + number).flatten()

    def clear(self, inputs: Tensor) -> Tensor:
        """Zero the padding of (frames, batch, size)."""
        return inputs if self.full else inputs.masked_fill(~self.valid.T[:, :, None], 0)

    def clear_images(self, inputs: Tensor) -> Tensor:
        """Zero the padding of (batch, channels, bins, frames), in place."""
        return inputs if self.full else inputs.masked_fill_(~self.valid[:, None, None, :], 0)

    def reversed(self, inputs: Tensor) -> Tensor:
        """Reverse every utterance of (frames, batch, size) in time, within its valid frames."""
        return _Reverse.apply(inputs, self._reverse)  # type: ignore[no-any-return]  # untyped in torch


class _Reverse(torch.autograd.Function):
    """A permutation of frames that is its own inverse: the gradient is permuted, not added up."""

    @staticmethod
    def forward(context: Any, inputs: Tensor, rows: Tensor) -> Tensor:
        context.save_for_backward(rows)
        return inputs.flatten(0, 1).index_select(0, rows).view_as(inputs)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = context.saved_tensors
        return _Reverse.apply(gradient, rows), None
