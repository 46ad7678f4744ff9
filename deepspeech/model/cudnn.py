"""Three ways to run a recurrent layer with cuDNN. They give the same and differ in speed only.

They are written with torch's functions, so that they run, and are tested, on a CPU too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from deepspeech.model.padding import Frames, State

FUNCTIONS = {"LSTM": torch.lstm, "GRU": torch.gru, "RNN_TANH": torch.rnn_tanh}
Weights = Sequence[Sequence[Tensor]]  # of each direction, in the order of nn.LSTM

# cuDNN wants all weights of a layer one after the other; torch puts them there at every call and
# says so. That costs nothing beside the recurrence, and casts and one direction alone need it.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous")


def packed(
    rnn: nn.RNNBase, inputs: Tensor, frames: Frames, weights: Weights, state: State
) -> tuple[Tensor, State]:
    """A packed sequence, which holds no padding. Its lengths must be on the CPU, and none be 0."""
    lengths = frames.lengths.clamp(min=1).cpu()
    sequence = pack_padded_sequence(inputs, lengths, enforce_sorted=False)
    start = _start(rnn, inputs, [part.index_select(1, sequence.sorted_indices) for part in state])
    flat = [each for direction in weights for each in direction]
    options = (flat, True, 1, 0.0, rnn.training, len(weights) == 2)
    outputs, *after = FUNCTIONS[rnn.mode](sequence.data, sequence.batch_sizes, start, *options)
    outputs, _ = nn.utils.rnn.pad_packed_sequence(sequence._replace(data=outputs), total_length=frames.size)
    after = tuple(part.index_select(1, sequence.unsorted_indices).float() for part in after)
    return _summed(outputs, len(weights)), after


def dense(
    rnn: nn.RNNBase, inputs: Tensor, frames: Frames, weights: Weights, state: State
) -> tuple[Tensor, State]:
    """A pass over the padded batch for each direction; the second reads time-reversed valid frames."""
    starts = list(zip(*(part.split(1) for part in state), strict=True))  # of each direction
    outputs, after = _run(rnn, inputs, weights[:1], starts[0])
    if len(weights) == 2:
        reverse = _run(rnn, frames.reversed(inputs), weights[1:], starts[1])[0]
        outputs = outputs + frames.reversed(reverse)
    return outputs, after


def joint(
    rnn: nn.RNNBase, inputs: Tensor, frames: Frames, weights: Weights, state: State
) -> tuple[Tensor, State]:
    """One pass over the padded batch for both directions, which cuDNN computes side by side.

    The direction that begins in padding must still have the state zero where the utterance begins.
    So there is one more input, 1 in padding and else 0, whose weight keeps a gate shut: the input
    gate of an LSTM, or the gate by which a GRU takes up anything new. No gradient passes it either.
    """
    if len(weights) == 1 or rnn.mode not in SHUT:
        return dense(rnn, inputs, frames, weights, state)
    padding = (~frames.valid).T[:, :, None].to(inputs.dtype)
    inputs = torch.cat([inputs, nn.functional.pad(padding, (0, ALIGNMENT - 1))], dim=2)
    gate, weight = SHUT[rnn.mode]
    size = rnn.hidden_size
    column = inputs.new_zeros(len(weights[0][0]), ALIGNMENT)
    column[gate * size : (gate + 1) * size, 0] = weight
    weights = [[torch.cat([each[0], column], dim=1), *each[1:]] for each in weights]
    return _run(rnn, inputs, weights, state)


SHUT = {"LSTM": (0, -1e4), "GRU": (1, 1e4)}  # which gate, and a weight that shuts it in any format
ALIGNMENT = 8  # inputs are added by the eight: half-precision matrix units want multiples of it
VARIANTS: dict[str, Callable[[nn.RNNBase, Tensor, Frames, Weights, State], tuple[Tensor, State]]] = {
    "packed": packed,
    "dense": dense,
    "joint": joint,
}


def _run(rnn: nn.RNNBase, inputs: Tensor, weights: Weights, state: State) -> tuple[Tensor, State]:
    """Both or one direction over all frames: (frames, batch, input) -> (frames, batch, hidden)."""
    flat = [each for direction in weights for each in direction]
    options = (flat, True, 1, 0.0, rnn.training, len(weights) == 2, False)
    outputs, *after = FUNCTIONS[rnn.mode](inputs, _start(rnn, inputs, state), *options)
    return _summed(outputs, len(weights)), tuple(part.float() for part in after)


def _start(rnn: nn.RNNBase, inputs: Tensor, state: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """A state in the format of the inputs, as torch's functions want it."""
    start = tuple(part.to(inputs.dtype) for part in state)
    return start if rnn.mode == "LSTM" else start[0]


def _summed(outputs: Tensor, directions: int) -> Tensor:
    return outputs.unflatten(2, (directions, -1)).sum(2) if directions == 2 else outputs
