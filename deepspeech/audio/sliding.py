"""Windows that slide over time: the length formula of every layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Count = TypeVar("Count", int, "Tensor")


@dataclass(frozen=True)
class Window:
    """A window of `size` units that moves along an axis by `stride`.

    The axis is padded with `before` zeros at its start and `after` zeros at its end. It may come in chunks:
    then the last units, which later windows need, are held and take the place of the zeros at the start.
    """

    size: int
    stride: int = 1
    before: int = 0
    after: int = 0

    def count(self, length: Count, held: int | None = None, final: bool = True) -> Count:
        """The number of complete windows, an int or int64 tensor.

        Args:
            length: Units of the axis, or of its next chunk.
            held: Units held from the chunks before; None at the start.
            final: Whether the axis ends with this chunk.
        """
        before = self.before if held is None else held
        after, reach = (self.after, self.size) if final else (0, max(self.size, self.stride))
        number = (before + length + after - reach) // self.stride + 1
        return max(number, 0) if isinstance(number, int | np.integer) else number.clamp(min=0)

    def slide(
        self,
        layer: Callable[[Tensor], Tensor],
        chunk: Tensor,
        held: Tensor | None = None,
        final: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Run a layer over the next chunk of an axis; the whole axis is one final chunk.

        Args:
            layer: Maps (..., units) to (..., windows), without padding of its own.
            chunk: (..., units).
            held: The units held after the chunk before; None at the start.
            final: Whether the axis ends with this chunk.

        Returns:
            The layer's outputs for all windows that are complete now, and the units to hold.
        """
        import torch  # not needed to transcribe with onnxruntime
        from torch.nn.functional import pad

        ready = self.count(chunk.shape[-1], None if held is None else held.shape[-1], final)
        if held is not None:
            chunk = torch.cat([held, chunk], dim=-1)
        inputs = pad(chunk, (self.before if held is None else 0, self.after if final else 0))
        held = inputs[..., ready * self.stride :]
        if not ready:  # the layer still determines the shape of the empty output
            inputs = chunk.new_zeros(*chunk.shape[:-1], self.size)
        outputs = layer(inputs)
        # The whole output is no view: in-place layers after a view copy it, and so does its backward pass.
        return outputs if outputs.shape[-1] == ready else outputs[..., :ready], held
