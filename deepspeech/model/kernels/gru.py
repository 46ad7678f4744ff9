"""GRU layers on a CPU, several times faster than torch's own.

Torch's backward pass adds to the gradient of the recurrent weights at every frame, which reads and
writes the whole matrix each time. Here the backward pass over time only carries the gradient of the
state; the gradient of the weights is one matrix product over all frames at its end. Both directions
of a layer advance in the same step. LSTM layers need none of this: oneDNN's work the same way.

The cell (Cho et al., 2014) in the form of cuDNN and torch:

    r = sigmoid(x_r + h_r)   z = sigmoid(x_z + h_z)   n = tanh(x_n + r h_n)   h' = n + z (h - n)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deepspeech.model.padding import Frames, State


class DenseGRU:
    """Runs a GRU layer over a padded batch; the counterpart of `recurrent.dense`.

    Without gradients it keeps the recurrent weights transposed in memory and makes them anew only when
    they change: a product with a single row, as in a stream, then takes a quarter of the time that it
    takes with a transposed view. The copy itself takes as long as ten such products.
    """

    def __init__(self) -> None:
        self._cache: tuple[object, Tensor] | None = None  # what it was made from; the transposed weights

    def __call__(
        self, inputs: Tensor, frames: Frames, weights: Sequence[Sequence[Tensor]], state: State
    ) -> tuple[Tensor, State]:
        """See `RecurrentLayer.forward`.

        Args:
            inputs: (frames, batch, input_size) in the format of the matrix products.
            frames: Which are valid.
            weights: Of each direction in float32: input weights, recurrent weights, and their biases.
            state: Before the first frame.
        """
        input_weights, recurrent_weights, input_biases, biases = map(list, zip(*weights, strict=True))
        dtype, learns = inputs.dtype, torch.is_grad_enabled()
        table, bias = stack(input_weights).flatten(0, 1), stack(input_biases).flatten()
        linear = nn.functional.linear if learns or dtype != torch.float32 else project
        gates = linear(inputs, table.to(dtype), bias.to(dtype))  # (frames, batch, directions * 3 * size)
        forward, *backward = gates.chunk(len(weights), dim=2)
        gates = stack([forward, *map(frames.reversed, backward)], 1)  # (frames, directions, batch, 3 * size)
        if learns:
            self._cache = None  # fused optimisers change weights without raising their version
            states = Recurrence.apply(gates, state[0], stack(recurrent_weights), stack(biases), dtype)
        else:
            table = self._transposed(recurrent_weights, dtype)
            states = advance(gates, state[0], table, stack(biases))[0][1:]
        forward, *backward = states.unbind(1)  # (frames, batch, size)
        outputs = forward + frames.reversed(backward[0]) if backward else forward
        return outputs, (forward[-1:],)

    def _transposed(self, weights: list[Tensor], dtype: torch.dtype) -> Tensor:
        """(3 * size, size) of each direction -> (directions, size, 3 * size) in a format."""
        source = dtype, [(id(weight), weight.data_ptr(), _version(weight)) for weight in weights]
        cache = self._cache  # which another thread may replace
        if cache is None or cache[0] != source:
            table = torch.stack([weight.detach().T for weight in weights]).to(dtype).contiguous()
            cache = self._cache = source, table
        return cache[1]


class Recurrence(torch.autograd.Function):
    """The GRU over time: `Recurrence.apply(inputs, start, weight, bias, dtype) -> states`."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, start: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Run over all frames, see `advance`; `weight` (directions, 3 * size, size) is float32.

        Returns:
            States (frames, directions, batch, size) float32.
        """
        learns = any(ctx.needs_input_grad)
        states, kept = advance(inputs, start, weight.to(dtype).transpose(1, 2), bias, learns)
        if learns:
            ctx.save_for_backward(states, kept, weight)
            ctx.dtype = dtype
        return states[1:]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of `inputs`, `start`, `weight` and `bias`."""
        states, kept, weight = ctx.saved_tensors
        frames, directions, batch, size = gradient.shape
        reset, update, new, recurrent_new = torch.split(kept, size, -1)
        # Derivatives that do not depend on the gradient, for all frames at once
        to_new = (1 - update).mul_(1 - new.square())
        to_update = (states[:-1] - new).mul_(update).mul_(1 - update)
        to_reset = (1 - reset).mul_(reset).mul_(recurrent_new).mul_(to_new)
        to_recurrent_new = to_new * reset

        inputs = gradient.new_empty(frames, directions, batch, 3 * size)
        recurrent = torch.empty_like(inputs, dtype=ctx.dtype)
        product = weight.to(ctx.dtype)
        carried = torch.zeros_like(states[0])
        for frame in range(frames - 1, -1, -1):
            local, own, back = carried + gradient[frame], inputs[frame], recurrent[frame]
            torch.mul(local, to_reset[frame], out=own[..., :size])
            torch.mul(local, to_update[frame], out=own[..., size : 2 * size])
            torch.mul(local, to_new[frame], out=own[..., 2 * size :])
            back[..., : 2 * size].copy_(own[..., : 2 * size])
            back[..., 2 * size :].copy_(local * to_recurrent_new[frame])
            carried = multiply(back, product).float()
            carried += local * update[frame]
        recurrent = recurrent.transpose(0, 1).flatten(1, 2)  # (directions, frames * batch, 3 * size)
        before = states[:-1].to(ctx.dtype).transpose(0, 1).flatten(1, 2)
        weight_gradient = torch.bmm(recurrent.transpose(1, 2), before).float()
        return inputs, carried, weight_gradient, recurrent.sum(1, dtype=torch.float32), None


def advance(
    inputs: Tensor, start: Tensor, weight: Tensor, bias: Tensor, learns: bool = False
) -> tuple[Tensor, Tensor]:
    """Run over all frames, without gradients.

    Args:
        inputs: Gate inputs (frames, directions, batch, 3 * size) from the layer below.
        start: State before the first frame (directions, batch, size).
        weight: Transposed recurrent weights (directions, size, 3 * size), in the format of the products.
        bias: Recurrent biases (directions, 3 * size).
        learns: Whether to keep what the backward pass needs.

    Returns:
        States (frames + 1, directions, batch, size) float32, from the one before the first frame on;
        and r, z, n and h_n of every frame (frames, directions, batch, 4 * size), of one if not `learns`.
    """
    size, (frames, directions, batch, _) = weight.shape[1], inputs.shape
    states = inputs.new_empty(frames + 1, directions, batch, size, dtype=torch.float32)
    states[0] = start
    kept = states.new_empty(frames if learns else 1, directions, batch, 4 * size)
    bias = bias.float()[:, None]
    # All views at once: in a stream a view takes as long as a sum
    rows, both = states.unbind(), [2 * size, size]
    x_gates, x_new = (part.unbind() for part in torch.split(inputs, both, -1))
    views = kept[..., : 2 * size], *torch.split(kept, size, -1)
    kept_rows = list(zip(*(view.unbind() for view in views), strict=True))
    for frame in range(frames):
        gates, reset, update, new, recurrent_new = kept_rows[frame if learns else 0]
        h_gates, h_new = torch.split(affine(rows[frame], weight, bias), both, -1)
        torch.add(x_gates[frame], h_gates, out=gates).sigmoid_()
        recurrent_new.copy_(h_new)
        torch.addcmul(x_new[frame], reset, h_new, out=new).tanh_()
        torch.lerp(new, rows[frame], update, out=rows[frame + 1])
    return states, kept


def affine(state: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """state x weight + bias in float32, the product in the format of the weight."""
    if weight.dtype == torch.float32 and len(weight) == 1:
        return torch.addmm(bias[0], state[0], weight[0])[None]
    return multiply(state.to(weight.dtype), weight) + bias


def multiply(left: Tensor, right: Tensor) -> Tensor:
    """`torch.bmm`, but of single matrices `torch.mm`: ten times as fast in bfloat16."""
    return torch.mm(left[0], right[0])[None] if len(left) == 1 else torch.bmm(left, right)


def project(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`nn.functional.linear` (frames, batch, size) without gradients, for a stream's few frames.

    Measured with 512 to 1536 units and two threads: of up to 64 rows MKL takes a half to a third of
    the time if the columns come in blocks, which the threads share.
    """
    rows, blocks = inputs.shape[0] * inputs.shape[1], 4
    if rows > 64 or len(weight) % blocks or not inputs.is_cpu:
        return nn.functional.linear(inputs, weight, bias)
    table = inputs.reshape(1, rows, -1).expand(blocks, -1, -1)
    columns = weight.view(blocks, -1, weight.shape[1]).transpose(1, 2)
    outputs = torch.baddbmm(bias.view(blocks, 1, -1), table, columns)
    return outputs.transpose(0, 1).reshape(*inputs.shape[:2], -1)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """`torch.stack` that does not copy a single tensor: that took a third of a stream's time."""
    return tensors[0].unsqueeze(dim) if len(tensors) == 1 else torch.stack(list(tensors), dim)


def _version(tensor: Tensor) -> int:
    """How often the tensor was changed in place, where torch counts that."""
    return 0 if tensor.is_inference() else tensor._version
