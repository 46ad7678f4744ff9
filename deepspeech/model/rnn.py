"""The recurrent layer: dense passes over padded batches instead of packed sequences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from deepspeech import distributed
from deepspeech.model import cudnn
from deepspeech.model.gru import GRUCell, Recurrence, TanhCell, Transposed, advance, project

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
CELLS = {"GRU": GRUCell(), "RNN_TANH": TanhCell()}

State = tuple[Tensor, ...]  # (directions, batch, hidden_size) float32; of LSTM cells there are two


class Frames:
    """Which frames of a padded batch are valid.

    Made once for a batch and shared by its layers.

    Args:
        lengths: (batch,) int64 valid frames, best on the CPU: then no layer has to wait for a GPU.
        size: Frames of the padded batch.
        device: Where that batch is; where the lengths are by default.
    """

    def __init__(self, lengths: Tensor, size: int, device: torch.device | None = None) -> None:
        self.lengths, self.size, self.full = lengths, size, all_full(lengths, size)
        lengths = lengths.to(device or lengths.device, non_blocking=True)
        time = torch.arange(size, device=lengths.device)
        self.valid = time < lengths[:, None]  # (batch, frames)
        self.total = lengths.sum()

    @cached_property
    def _reverse(self) -> Tensor:
        """Rows of a (frames, batch) table, every utterance's valid frames reversed."""
        batch, size = self.valid.shape
        time, number = (torch.arange(each, device=self.valid.device) for each in (size, batch))
        reverse = torch.where(self.valid, self.valid.sum(1, keepdim=True) - 1 - time, time)
        return (reverse.T * batch + number).flatten()

    def clear(self, inputs: Tensor) -> Tensor:
        """Set everything beyond each utterance's end to zero: (frames, batch, size)."""
        return inputs if self.full else inputs.masked_fill(~self.valid.T[:, :, None], 0)

    def clear_images(self, inputs: Tensor) -> Tensor:
        """The same for (batch, channels, bins, frames), in place."""
        return inputs if self.full else inputs.masked_fill_(~self.valid[:, None, None, :], 0)

    def reversed(self, inputs: Tensor) -> Tensor:
        """Reverse every utterance in time within its valid frames: (frames, batch, size)."""
        return inputs.flatten(0, 1).index_select(0, self._reverse).view_as(inputs)


def all_full(lengths: Tensor, size: int) -> bool:
    """Whether no utterance of a batch is padded; False where to know it would mean waiting for a GPU."""
    return lengths.device.type == "cpu" and bool((lengths == size).all())


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
        kind = inputs.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
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
        """Measured on AVX-512 with bf16 instructions (benchmarks/train_step.py --layers).

        GRU and tanh cells always gain; LSTM cells only while their weights are small or the
        batch is large, else oneDNN's backward pass is slower than in float32.
        """
        return self.rnn.mode != "LSTM" or self.rnn.hidden_size <= 512 or batch >= 20


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """`torch.stack` that does not copy a single tensor: that took a third of a stream's time."""
    return tensors[0].unsqueeze(dim) if len(tensors) == 1 else torch.stack(tensors, dim)


WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class MaskedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation whose training statistics see valid frames only, never padding.

    deepspeech.pytorch let padding in, so that statistics depended on how utterances were batched.
    """

    synchronized = False  # whether training statistics are those of all processes together

    def _check_input_dim(self, inputs: Tensor) -> None:
        """Any number of dimensions."""

    def forward(self, inputs: Tensor, count: Tensor, channel: int) -> Tensor:
        """Normalise every channel.

        Args:
            inputs: Any shape, zero where it is not valid.
            count: Number of valid values of a channel, a scalar.
            channel: Dimension of the channels.

        Returns:
            float32, same shape; where the input is not valid the values mean nothing.
        """
        shape = [1] * inputs.dim()
        shape[channel] = -1
        inputs = inputs.float()
        if self.training:
            mean, variance = self._statistics(inputs, count, channel)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(shift.view(shape), inputs, scale.view(shape))

    def _statistics(self, inputs: Tensor, count: Tensor, channel: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of the valid values, from those of all, where padding adds zeros."""
        others = [each for each in range(inputs.dim()) if each != channel % inputs.dim()]
        variance, mean = torch.var_mean(inputs, others, correction=0)
        values = inputs.numel() / inputs.shape[channel]  # of a channel, padding counted
        sums = torch.cat([mean * values, (variance + mean.square()) * values, count.view(1)])
        if self.synchronized:
            sums = distributed.total(sums)
        count = sums[-1].clamp(min=1)
        mean, square = (sums[:-1] / count).chunk(2)
        variance = (square - mean.square()).clamp(min=0)
        self._remember(mean.detach(), variance.detach(), count)
        return mean, variance

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Take statistics up for inference, but not those of broken data or of none."""
        self.num_batches_tracked += 1
        sound = torch.isfinite(mean + variance).all() & (count > 1)
        momentum = self.momentum * sound
        unbiased = variance * (count / (count - 1))
        for running, value in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.lerp_(torch.where(sound, value, running), momentum)


class SequenceNorm(nn.Module):
    """Batch normalisation of (frames, batch, size) sequences. State-dict names: `module.*`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.module = MaskedBatchNorm(size)

    def forward(self, inputs: Tensor, frames: Frames) -> Tensor:
        return self.module(inputs, frames.total, channel=2)
