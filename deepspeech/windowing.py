"""Arithmetic of windows that slide over time: the only length formula in the project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch

Count = TypeVar("Count", int, torch.Tensor)


@dataclass(frozen=True)
class Window:
    """A window of `size` units that moves by `stride` over an axis padded on both sides."""

    size: int
    stride: int = 1
    padding: int = 0

    def count(self, length: Count) -> Count:
        """How many windows fit an axis of `length` units; int or int64 tensor, never below 0."""
        number = (length + 2 * self.padding - self.size) // self.stride + 1
        return number.clamp(min=0) if isinstance(number, torch.Tensor) else max(number, 0)
