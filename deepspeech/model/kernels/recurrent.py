"""Recurrent layers run by torch's own kernels: oneDNN's on a CPU, cuDNN's on a GPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from deepspeech.model.kernels.half import HalfPrecision
from deepspeech.model.padding import Frames, State

FUNCTIONS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
}
Weights = Sequence[Tensor]  # of a direction, in the order of nn.LSTM
Kernel = Callable[[nn.RNNBase, Tensor, Weights, Sequence[Tensor], torch.dtype], tuple[Tensor, State]]

# Of persistent kernels; cells and inputs are padded to multiples of UNITS, utterances of ROWS
UNITS, ROWS, MOST_UNITS, MOST_ROWS, LEAST_PROCESSORS = 128, 8, 1024, 128, 98

# cuDNN wants all weights of a layer in one block; torch copies them there at every call and warns.
# The copy costs little beside the recurrence; casts and passes over one direction cannot avoid it.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous")


def dense(
    kernel: Kernel,
    rnn: nn.RNNBase,
    inputs: Tensor,
    frames: Frames,
    weights: Sequence[Weights],
    state: State,
    dtype: torch.dtype,
) -> tuple[Tensor, State]:
    """One pass over the padded batch per direction; the second sees time-reversed valid frames.

    Each casts its inputs, so that the gradients of both add up in the wider format.

    Args:
        kernel: `plain` or `persistent`.
        rnn: Its mode and sizes.
        inputs: (frames, batch, input).
        frames: Which are valid.
        weights: Of each direction, in float32.
        state: Before the first frame.
        dtype: To compute in.

    Returns:
        (frames, batch, hidden), directions summed; the state of the first after the last frame, float32.
    """
    outputs, end = kernel(rnn, inputs, weights[0], [part[:1] for part in state], dtype)
    if len(weights) == 2:
        backward, _ = kernel(rnn, frames.reversed(inputs), weights[1], [part[1:] for part in state], dtype)
        outputs = outputs + frames.reversed(backward)
    return outputs, end


def plain(
    rnn: nn.RNNBase, inputs: Tensor, weights: Weights, state: Sequence[Tensor], dtype: torch.dtype
) -> tuple[Tensor, State]:
    """One direction over all frames: (frames, batch, input) -> (frames, batch, hidden)."""
    start = tuple(part.to(dtype) for part in state)
    options = (
        True,
        1,
        0.0,
        rnn.training,
        False,
        False,
    )  # biases, layers, dropout, ..., directions, batch first
    outputs, *end = FUNCTIONS[rnn.mode](
        inputs.to(dtype),
        start if rnn.mode == "LSTM" else start[0],
        [each.to(dtype) for each in weights],
        *options,
    )
    return outputs, tuple(part.float() for part in end)


def persistent(
    rnn: nn.RNNBase, inputs: Tensor, weights: Weights, state: Sequence[Tensor], dtype: torch.dtype
) -> tuple[Tensor, State]:
    """As `plain`, by kernels that stay on the processors, with the recurrent weights, for all frames.

    The others are launched at every frame, and read the weights. torch takes these for layers that `persists`
    describes, in float16, with sizes that are multiples of `UNITS` and `ROWS`: so they are padded. Padded
    cells stay zero. The outputs are float32; no gradient flows through the state after the end.
    """
    half = HalfPrecision(dtype)
    batch, hidden = inputs.shape[1], rnn.hidden_size
    rows, columns, units = -batch % ROWS, -inputs.shape[2] % UNITS, -hidden % UNITS
    padded = []
    for each, wider in zip(weights, ((0, columns), (0, units), (), ()), strict=True):
        gates = half.enter(each).view(-1, hidden, *each.shape[1:])
        padded.append(pad(gates, (*wider, 0, units)).flatten(0, 1))
    inputs = pad(half.enter(inputs), (0, columns, 0, rows))
    outputs, end = plain(rnn, inputs, padded, [pad(part, (0, units, 0, rows)) for part in state], dtype)
    return half.leave(outputs[:, :batch, :hidden]), tuple(part[:, :batch, :hidden].detach() for part in end)


def persists(rnn: nn.RNNBase, inputs: Tensor) -> bool:
    """Whether torch runs `persistent` by such kernels: see cudnn/RNN.cpp of torch 2.11."""
    fits = rnn.hidden_size <= MOST_UNITS and inputs.shape[1] <= MOST_ROWS
    if not (fits and inputs.is_cuda and rnn.mode == "LSTM"):
        return False
    gpu = torch.cuda.get_device_properties(inputs.device)
    return gpu.major >= 8 and gpu.minor != 6 and gpu.multi_processor_count >= LEAST_PROCESSORS
