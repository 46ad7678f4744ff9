"""GRU and tanh recurrences over time, several times faster on a CPU than torch's own.

Torch's backward pass through such a recurrence adds to the gradient of the recurrent weights
at every frame, which reads and writes the whole matrix each time. Here the backward pass over
time only carries the gradient of the state; the gradient of the weights is one matrix product
over all frames at its end. Both directions of a layer advance in the same step. (LSTM cells do
not need this: oneDNN's LSTM, which torch calls, works the same way.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Cell(Protocol):
    """A cell without its matrix products; everything is (..., size) float32."""

    gates: int  # matrices of a layer, stacked
    kept: int  # values a unit keeps from the forward for the backward pass

    def inputs(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Views of gate inputs (..., gates * size), as `step` takes them."""

    def views(self, kept: Tensor) -> tuple[Tensor, ...]:
        """Views of what is kept (..., kept * size), as `step` takes them."""

    def step(
        self,
        inputs: tuple[Tensor, ...],
        recurrent: Tensor,
        state: Tensor,
        kept: tuple[Tensor, ...],
        out: Tensor,
    ) -> None:
        """One frame.

        Args:
            inputs: Gate inputs from the layer below, each (directions, batch, ...).
            recurrent: Gate inputs from the state (directions, batch, gates * size).
            state: Before the frame (directions, batch, size).
            kept: Where to keep values for the backward pass, each (directions, batch, ...).
            out: Where to put the state after the frame.
        """

    def slopes(self, states: Tensor, kept: Tensor) -> tuple[Tensor, ...]:
        """Derivatives that do not depend on the gradient, for all frames at once."""

    def step_back(
        self, gradient: Tensor, slopes: tuple[Tensor, ...], inputs: Tensor, recurrent: Tensor
    ) -> Tensor | None:
        """Fill the gradients of `inputs` and `recurrent`; return that of `state` but for `recurrent`."""


class TanhCell:
    """h' = tanh(x + h)."""

    gates, kept = 1, 0

    def inputs(self, inputs: Tensor) -> tuple[Tensor, ...]:
        return (inputs,)

    def views(self, kept: Tensor) -> tuple[Tensor, ...]:
        return (kept,)

    def step(
        self,
        inputs: tuple[Tensor, ...],
        recurrent: Tensor,
        state: Tensor,
        kept: tuple[Tensor, ...],
        out: Tensor,
    ) -> None:
        torch.add(*inputs, recurrent, out=out).tanh_()

    def slopes(self, states: Tensor, kept: Tensor) -> tuple[Tensor, ...]:
        return (1 - states[1:].square(),)

    def step_back(
        self, gradient: Tensor, slopes: tuple[Tensor, ...], inputs: Tensor, recurrent: Tensor
    ) -> Tensor | None:
        torch.mul(gradient, slopes[0], out=inputs)
        recurrent.copy_(inputs)
        return None


class GRUCell:
    """Gated recurrent unit (Cho et al., 2014) in the form of cuDNN and torch.

    r = sigmoid(x_r + h_r), z = sigmoid(x_z + h_z), n = tanh(x_n + r h_n), h' = n + z (h - n)
    """

    gates, kept = 3, 4

    def inputs(self, inputs: Tensor) -> tuple[Tensor, ...]:
        size = inputs.shape[-1] // 3
        return inputs.split((2 * size, size), dim=-1)

    def views(self, kept: Tensor) -> tuple[Tensor, ...]:
        size = kept.shape[-1] // 4
        return kept[..., : 2 * size], *kept.split(size, dim=-1)

    def step(
        self,
        inputs: tuple[Tensor, ...],
        recurrent: Tensor,
        state: Tensor,
        kept: tuple[Tensor, ...],
        out: Tensor,
    ) -> None:
        gates, reset, update, new, recurrent_new = kept
        from_gates, from_new = self.inputs(recurrent)
        to_gates, to_new = inputs
        torch.add(to_gates, from_gates, out=gates).sigmoid_()
        recurrent_new.copy_(from_new)
        torch.addcmul(to_new, reset, from_new, out=new).tanh_()
        torch.lerp(new, state, update, out=out)

    def slopes(self, states: Tensor, kept: Tensor) -> tuple[Tensor, ...]:
        reset, update, new, recurrent_new = kept.split(states.shape[-1], dim=-1)
        to_new = (1 - update).mul_(1 - new.square())
        to_update = (states[:-1] - new).mul_(update).mul_(1 - update)
        to_reset = (1 - reset).mul_(reset).mul_(recurrent_new).mul_(to_new)
        return to_reset, to_update, to_new, to_new * reset, update

    def step_back(
        self, gradient: Tensor, slopes: tuple[Tensor, ...], inputs: Tensor, recurrent: Tensor
    ) -> Tensor | None:
        size = gradient.shape[-1]
        to_reset, to_update, to_new, to_recurrent_new, update = slopes
        torch.mul(gradient, to_reset, out=inputs[..., :size])
        torch.mul(gradient, to_update, out=inputs[..., size : 2 * size])
        torch.mul(gradient, to_new, out=inputs[..., 2 * size :])
        recurrent[..., : 2 * size].copy_(inputs[..., : 2 * size])
        recurrent[..., 2 * size :].copy_(gradient * to_recurrent_new)
        return gradient * update


class Recurrence(torch.autograd.Function):
    """A cell over time: `Recurrence.apply(inputs, start, weight, bias, cell, dtype) -> states`."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, start: Tensor, weight: Tensor, bias: Tensor, cell: Cell, dtype: torch.dtype
    ) -> Tensor:
        """Run over all frames.

        Args:
            ctx: What the backward pass needs.
            inputs: Gate inputs (frames, directions, batch, gates * size) from the layer below.
            start: State before the first frame (directions, batch, size).
            weight: Recurrent weights (directions, gates * size, size).
            bias: Recurrent biases (directions, gates * size).
            cell: The cell.
            dtype: Format of the matrix products; states and gates are float32 always.

        Returns:
            States (frames, directions, batch, size) float32.
        """
        learns = any(ctx.needs_input_grad)
        product = weight.to(dtype).transpose(1, 2)
        states, kept = advance(inputs, start, product, bias, cell, learns)
        if learns:
            ctx.save_for_backward(states, kept, weight)
            ctx.cell, ctx.dtype = cell, dtype
        return states[1:]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of `inputs`, `start`, `weight` and `bias`."""
        states, kept, weight = ctx.saved_tensors
        cell, dtype, size = ctx.cell, ctx.dtype, weight.shape[-1]
        frames, directions, batch, _ = gradient.shape
        slopes = cell.slopes(states, kept)
        inputs = gradient.new_empty(frames, directions, batch, cell.gates * size)
        recurrent = torch.empty_like(inputs, dtype=dtype)
        product = weight.to(dtype)
        carried = torch.zeros_like(states[0])
        for frame in range(frames - 1, -1, -1):
            local = carried + gradient[frame]
            direct = cell.step_back(
                local, tuple(slope[frame] for slope in slopes), inputs[frame], recurrent[frame]
            )
            carried = multiply(recurrent[frame], product).float()
            if direct is not None:
                carried += direct
        recurrent = recurrent.transpose(0, 1).flatten(1, 2)  # (directions, frames * batch, gates * size)
        before = states[:-1].to(dtype).transpose(0, 1).flatten(1, 2)
        weight_gradient = torch.bmm(recurrent.transpose(1, 2), before).float()
        return inputs, carried, weight_gradient, recurrent.sum(1, dtype=torch.float32), None, None


def advance(
    inputs: Tensor, start: Tensor, weight: Tensor, bias: Tensor, cell: Cell, learns: bool = False
) -> tuple[Tensor, Tensor]:
    """Run a cell over all frames, without gradients.

    Args:
        inputs: Gate inputs (frames, directions, batch, gates * size) from the layer below.
        start: State before the first frame (directions, batch, size).
        weight: Transposed recurrent weights (directions, size, gates * size), in the format of the products.
        bias: Recurrent biases (directions, gates * size).
        cell: The cell.
        learns: Whether to keep what the backward pass needs.

    Returns:
        States (frames + 1, directions, batch, size) float32, that before the first frame included;
        and what each frame kept.
    """
    size, (frames, directions, batch, _) = weight.shape[1], inputs.shape
    states = inputs.new_empty(frames + 1, directions, batch, size, dtype=torch.float32)
    states[0] = start
    kept = states.new_empty(frames if learns else 1, directions, batch, cell.kept * size)
    bias = bias.float()[:, None]
    rows = states.unbind()  # all views at once: in a stream a view costs as much as a sum
    keeps = list(zip(*(view.unbind() for view in cell.views(kept)), strict=True))
    all_inputs = zip(*(view.unbind() for view in cell.inputs(inputs)), strict=True)
    for frame, frame_inputs in enumerate(all_inputs):
        recurrent = affine(rows[frame], weight, bias)
        cell.step(frame_inputs, recurrent, rows[frame], keeps[frame if learns else 0], rows[frame + 1])
    return states, kept


def affine(state: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """state x weight + bias in float32, the product in the format of the weight."""
    if weight.dtype == torch.float32 and len(weight) == 1:
        return torch.addmm(bias[0], state[0], weight[0])[None]
    return multiply(state.to(weight.dtype), weight) + bias


def project(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`nn.functional.linear` (frames, batch, size) without gradients, for a stream's few frames.

    Measured with 512 to 1536 units and two threads: of up to 64 rows MKL takes a half to a third of
    the time if the columns come in blocks, which the threads share.
    """
    rows, blocks = inputs.shape[0] * inputs.shape[1], 4
    if rows > 64 or inputs.dtype != torch.float32 or len(weight) % blocks or not inputs.is_cpu:
        return nn.functional.linear(inputs, weight, bias)
    table = inputs.reshape(1, rows, -1).expand(blocks, -1, -1)
    columns = weight.unflatten(0, (blocks, -1)).transpose(1, 2)
    outputs = torch.baddbmm(bias.view(blocks, 1, -1), table, columns)
    return outputs.transpose(0, 1).reshape(*inputs.shape[:2], -1)


def multiply(left: Tensor, right: Tensor) -> Tensor:
    """`torch.bmm`, but of single matrices `torch.mm`: ten times as fast in bfloat16."""
    return torch.mm(left[0], right[0])[None] if len(left) == 1 else torch.bmm(left, right)


class Transposed:
    """Recurrent weights as `advance` takes them, made again only when they change.

    Laid out anew, not seen through other strides: a product with a single row, as in a stream,
    takes a quarter of the time. The layout itself takes as long as ten such products. Steps of torch's
    fused optimisers go unnoticed: before them, call `forget`.
    """

    def __init__(self) -> None:
        self._made: tuple[tuple, Tensor] | None = None  # from what, and what

    def forget(self) -> None:
        """Make them anew next time."""
        self._made = None

    def __call__(self, weights: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """(gates * size, size) of each direction -> (directions, size, gates * size) in a format."""
        source = dtype, *((id(weight), weight.data_ptr(), _version(weight)) for weight in weights)
        made = self._made
        if made is None or made[0] != source:
            result = torch.stack([weight.detach().T for weight in weights]).to(dtype).contiguous()
            made = self._made = source, result
        return made[1]


def _version(tensor: Tensor) -> int:
    """How often it was changed in place, where torch counts that."""
    return 0 if tensor.is_inference() else tensor._version
