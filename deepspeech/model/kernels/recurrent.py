"""Recurrent layers run by torch's own kernels: cuDNN's on a GPU, oneDNN's on a CPU.

All variants compute the same, in the format of the weights, and differ in speed only; all of them run,
and are tested, on a CPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from deepspeech.model.padding import Frames, State

FUNCTIONS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
}
Weights = Sequence[Sequence[Tensor]]  # per direction, in the order of nn.LSTM

# cuDNN wants all weights of a layer in one block; torch copies them there at every call and warns.
# The copy costs little beside the recurrence; casts and passes over one direction cannot avoid it.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous")


def packed(
    rnn: nn.RNNBase, inputs: Tensor, frames: Frames, weights: Weights, state: State
) -> tuple[Tensor, State]:
    """A packed sequence, which holds no padding. Its lengths must be positive and on the CPU."""
    lengths, order = frames.lengths.clamp(min=1).cpu().sort(descending=True)
    order = order.to(inputs.device)
    sequence = pack_padded_sequence(inputs.index_select(1, order).to(weights[0][0].dtype), lengths)
    start = _start(rnn, sequence.data, [part.index_select(1, order) for part in state])
    data, *end = FUNCTIONS[rnn.mode](sequence.data, sequence.batch_sizes, start, *_options(rnn, weights))
    outputs, _ = pad_packed_sequence(sequence._replace(data=data), total_length=frames.size)
    outputs, *end = (part.index_select(1, order.argsort()) for part in (outputs, *end))
    return _summed(outputs, weights), tuple(part.float() for part in end)


def dense(
    rnn: nn.RNNBase, inputs: Tensor, frames: Frames, weights: Weights, state: State
) -> tuple[Tensor, State]:
    """One pass over the padded batch per direction; the second sees time-reversed valid frames.

    Each casts its inputs, so that the gradients of both add up in the wider format.
    """
    outputs, end = _run(rnn, inputs, weights[:1], [part[:1] for part in state])
    if len(weights) == 2:
        backward, _ = _run(rnn, frames.reversed(inputs), weights[1:], [part[1:] for part in state])
        outputs = outputs + frames.reversed(backward)
    return outputs, end


def joint(
    rnn: nn.RNNBase, inputs: Tensor, frames: Frames, weights: Weights, state: State
) -> tuple[Tensor, State]:
    """One pass over the padded batch for both directions, which cuDNN computes side by side.

    The backward direction starts in padding and must reach the utterance's last frame with a zero
    state. So one more input is 1 in padding and 0 elsewhere, and its weight keeps a gate shut: the
    input gate of an LSTM, the update gate of a GRU. No gradient passes a shut gate either.
    """
    if len(weights) == 1 or rnn.mode not in SHUT:
        return dense(rnn, inputs, frames, weights, state)
    inputs = inputs.to(weights[0][0].dtype)
    padding = (~frames.valid).T[:, :, None].to(inputs.dtype)  # (frames, batch, 1)
    inputs = torch.cat([inputs, nn.functional.pad(padding, (0, ALIGNMENT - 1))], dim=2)
    gate, weight = SHUT[rnn.mode]
    column = inputs.new_zeros(len(weights[0][0]), ALIGNMENT)
    column[gate * rnn.hidden_size : (gate + 1) * rnn.hidden_size, 0] = weight
    return _run(rnn, inputs, [[torch.cat([first, column], dim=1), *rest] for first, *rest in weights], state)


SHUT = {"LSTM": (0, -1e4), "GRU": (1, 1e4)}  # which gate, and a weight that shuts it in any format
ALIGNMENT = 8  # inputs are padded to a multiple of 8 for tensor cores
VARIANTS: dict[str, Callable[[nn.RNNBase, Tensor, Frames, Weights, State], tuple[Tensor, State]]] = {
    "packed": packed,
    "dense": dense,
    "joint": joint,
}


def _run(rnn: nn.RNNBase, inputs: Tensor, weights: Weights, state: Sequence[Tensor]) -> tuple[Tensor, State]:
    """One or both directions over all frames: (frames, batch, input) -> (frames, batch, hidden)."""
    inputs = inputs.to(weights[0][0].dtype)
    start = _start(rnn, inputs, state)
    outputs, *end = FUNCTIONS[rnn.mode](inputs, start, *_options(rnn, weights), False)
    return _summed(outputs, weights), tuple(part.float() for part in end)


def _start(rnn: nn.RNNBase, inputs: Tensor, state: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """A state in the format of the inputs, as torch's functions take it."""
    start = tuple(part.to(inputs.dtype) for part in state)
    return start if rnn.mode == "LSTM" else start[0]


def _options(rnn: nn.RNNBase, weights: Weights) -> tuple[list[Tensor], bool, int, float, bool, bool]:
    """Weights, whether there are biases, layers, dropout, training, bidirectional."""
    flat = [each for direction in weights for each in direction]
    return flat, True, 1, 0.0, rnn.training, len(weights) == 2


def _summed(outputs: Tensor, weights: Weights) -> Tensor:
    """(frames, batch, directions * hidden) -> (frames, batch, hidden)."""
    return outputs.view(*outputs.shape[:2], 2, -1).sum(2) if len(weights) == 2 else outputs
