"""The recurrent layer: dense passes over padded batches instead of packed sequences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deepspeech.device import autocast_format
from deepspeech.model import cudnn
from deepspeech.model.batch_norm import SequenceNorm
from deepspeech.model.gru import GRUCell, Recurrence, TanhCell, Transposed, advance, project
from deepspeech.model.padding import Frames, State

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
CELLS = {"GRU": GRUCell(), "RNN_TANH": TanhCell()}


class RecurrentLayer(nn.Module):
    """BatchNorm over valid frames (but in the first layer), then a recurrent network.

    The outputs of both directions are summed (Amodei et al., 2016, section 3.1). On a CPU each
    direction is one dense pass over the padded batch; the reverse one reads time-reversed valid
    frames, so that padding always comes last and cannot reach them. That is several times faster
    than packed sequences, with the same result. On a GPU cuDNN runs the layer (see `cudnn.py`).

    Args:
        rnn_type: "lstm", "gru" or "rnn" (tanh).
        input_size: Features of a frame.
        hidden_size: Units of a direction.
        bidirectional: Whether to read backwards too.
        batch_norm: Whether to normalise the input.
    """

    on_gpu = "joint"  # one of cudnn.VARIANTS. Not measured yet: benchmarks/train_step.py --device cuda

    def __init__(
        self, rnn_type: str, input_size: int, hidden_size: int, bidirectional: bool, batch_norm: bool
    ) -> None:
        super().__init__()
        self.batch_norm = SequenceNorm(input_size) if batch_norm else None
        self.rnn = LAYERS[rnn_type](input_size, hidden_size, bidirectional=bidirectional)
        self._transposed = Transposed()

    def forward(self, inputs: Tensor, frames: Frames, state: State | None = None) -> tuple[Tensor, State]:
        """Read some frames.

        Args:
            inputs: (frames, batch, input_size), zero beyond each end.
            frames: Which are valid.
            state: After the frames before; None at the start.

        Returns:
            (frames, batch, hidden_size), zero beyond each end; and the state of the forward direction
            after the last frame, which means something only where that is valid.
        """
        if self.batch_norm is not None:
            inputs = self.batch_norm(inputs, frames)
        kind, dtype = inputs.device.type, autocast_format(inputs.device)
        if kind == "cpu" and not self._faster_in_bf16(inputs.shape[1]):
            dtype = torch.float32
        state = state or self.start(inputs.shape[1])
        if not len(inputs):
            return inputs.new_zeros(0, *state[0].shape[1:]), state
        with torch.autocast(kind, dtype=dtype, enabled=dtype != torch.float32):
            inputs = inputs if dtype != torch.float32 else inputs.float()
            if inputs.is_cuda:
                outputs, state = self._cudnn(inputs, frames, state, dtype)
            elif self.rnn.mode == "LSTM":
                outputs, state = self._lstm(inputs, frames, state)
            else:
                outputs, state = self._recurrence(inputs, frames, state, dtype)
        return frames.clear(outputs), state

    def start(self, batch: int) -> State:
        """The state before the first frame: zeros."""
        zeros = self.rnn.weight_hh_l0.new_zeros(1 + self.rnn.bidirectional, batch, self.rnn.hidden_size)
        return (zeros, zeros) if self.rnn.mode == "LSTM" else (zeros,)

    def _lstm(self, inputs: Tensor, frames: Frames, state: State) -> tuple[Tensor, State]:
        """oneDNN's dense LSTM, once for each direction."""

        def one_direction(inputs: Tensor, start: State, weights: list[Tensor]) -> tuple[Tensor, ...]:
            return torch.lstm(inputs, start, weights, True, 1, 0.0, self.training, False, False)

        starts = list(zip(*(part.split(1) for part in state), strict=True))  # of each direction
        forward, *backward = self._weights()
        outputs, *state = one_direction(inputs, starts[0], forward)
        if backward:
            reverse = one_direction(frames.reversed(inputs), starts[1], backward[0])[0]
            outputs = outputs + frames.reversed(reverse)
        return outputs, tuple(state)

    def _recurrence(
        self, inputs: Tensor, frames: Frames, state: State, dtype: torch.dtype
    ) -> tuple[Tensor, State]:
        """Our GRU or tanh recurrence, all directions in step."""
        input_weights, weights, input_biases, biases = zip(*self._weights(), strict=True)
        all_weights, all_biases = stack(input_weights).flatten(0, 1), stack(input_biases).flatten()
        learns = torch.is_grad_enabled()
        linear = nn.functional.linear if learns or dtype != torch.float32 else project
        gates = linear(inputs, all_weights, all_biases)
        gates = list(gates.chunk(len(weights), dim=-1))  # (frames, batch, gates * size) of each direction
        gates[1:] = [frames.reversed(gate) for gate in gates[1:]]
        gates, biases, cell = stack(gates, 1), stack(biases), CELLS[self.rnn.mode]
        if learns:
            self._transposed.forget()  # the weights may be about to change
            states = Recurrence.apply(gates, *state, stack(weights), biases, cell, dtype)
        else:
            states = advance(gates, *state, self._transposed(weights, dtype), biases, cell)[0][1:]
        forward, *backward = states.unbind(1)
        outputs = forward + frames.reversed(backward[0]) if backward else forward
        return outputs, (forward[-1:],)

    def _weights(self) -> list[list[Tensor]]:
        """For each direction: input weights, recurrent weights, input biases, recurrent biases."""
        suffixes = ("_l0", "_l0_reverse")[: 1 + self.rnn.bidirectional]
        return [[getattr(self.rnn, name + suffix) for name in WEIGHTS] for suffix in suffixes]

    def _cudnn(
        self, inputs: Tensor, frames: Frames, state: State, dtype: torch.dtype
    ) -> tuple[Tensor, State]:
        """In the format of autocast, which by itself would make float16 of recurrent layers always."""
        with torch.autocast(inputs.device.type, enabled=False):
            weights = [[each.to(dtype) for each in direction] for direction in self._weights()]
            return cudnn.VARIANTS[self.on_gpu](self.rnn, inputs.to(dtype), frames, weights, state)

    def _faster_in_bf16(self, batch: int) -> bool:
        """Measured on AVX-512 with bf16 instructions (benchmarks/train_step.py).

        GRU and tanh cells always gain; LSTM cells only while their weights are small or the
        batch is large, else oneDNN's backward pass is slower than in float32.
        """
        return self.rnn.mode != "LSTM" or self.rnn.hidden_size <= 512 or batch >= 20


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """`torch.stack` that does not copy a single tensor: that took a third of a stream's time."""
    return tensors[0].unsqueeze(dim) if len(tensors) == 1 else torch.stack(tensors, dim)


WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
