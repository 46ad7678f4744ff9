"""Half precision for a part of a network, with gradients scaled so that they do not underflow."""

from __future__ import annotations

import torch
from torch import Tensor

# The largest gradient after scaling. The gradient of a weight adds up those of all frames of a batch: two
# hundred thousand of this size before it overflows. Those a million times smaller are still above zero.
LARGEST = 0.25


class HalfPrecision:
    """What is computed between `enter` and `leave` is in half precision.

    float16 has no numbers below 6e-8, and gradients of a mean loss are smaller. So they are multiplied by a
    power of two where they come in, chosen for every batch, and divided by it where they go out
    (Micikevicius et al., 2018, section 3.2, for one layer). One object serves one pass.

    Args:
        dtype: The format; others than float16 are for tests.
    """

    def __init__(self, dtype: torch.dtype = torch.float16) -> None:
        self.dtype, self._scale = dtype, torch.ones(())

    def enter(self, values: Tensor) -> Tensor:
        """In half precision; of any shape."""
        values = values.view_as(values)
        if values.requires_grad:
            values.register_hook(lambda gradient: gradient / self._scale)  # type: ignore[no-untyped-call]
        return values.to(self.dtype)

    def leave(self, values: Tensor) -> Tensor:
        """In float32. Call it once: every gradient inside must come through this tensor."""
        values = values.float()
        if values.requires_grad:
            values.register_hook(self._enlarge)  # type: ignore[no-untyped-call]  # untyped in torch
        return values

    def _enlarge(self, gradient: Tensor) -> Tensor:
        largest = torch.linalg.vector_norm(gradient, torch.inf).clamp(min=1e-30)
        self._scale = torch.exp2(torch.log2(LARGEST / largest).floor())
        return gradient * self._scale
