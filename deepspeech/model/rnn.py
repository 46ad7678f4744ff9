"""The recurrent layer: dense passes over padded batches instead of packed sequences."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from deepspeech.device import autocast_format
from deepspeech.model.batch_norm import SequenceNorm
from deepspeech.model.kernels import recurrent
from deepspeech.model.kernels.gru import DenseGRU
from deepspeech.model.padding import Frames, State

LAYERS: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class RecurrentLayer(nn.Module):
    """BatchNorm over valid frames (except in the first layer), then a recurrent network.

    The outputs of both directions are summed (Amodei et al., 2016, section 3.1). Each direction is
    one dense pass over the padded batch; the backward one sees time-reversed valid frames, so that
    padding always comes last and cannot reach them. That is several times faster than packed
    sequences, with the same result.

    Args:
        rnn_type: "lstm", "gru" or "rnn" (tanh).
        input_size: Features per frame.
        hidden_size: Units per direction.
        bidirectional: Whether to process the utterance in both directions.
        batch_norm: Whether to normalise the input.
    """

    def __init__(
        self, rnn_type: str, input_size: int, hidden_size: int, bidirectional: bool, batch_norm: bool
    ) -> None:
        super().__init__()
        self.batch_norm = SequenceNorm(input_size) if batch_norm else None
        self.rnn = LAYERS[rnn_type](input_size, hidden_size, bidirectional=bidirectional)
        self._gru = DenseGRU()

    def forward(self, inputs: Tensor, frames: Frames, state: State | None = None) -> tuple[Tensor, State]:
        """Process the next frames.

        Args:
            inputs: (frames, batch, input_size), zero beyond each end.
            frames: Which are valid.
            state: After the frames before; None at the start.

        Returns:
            (frames, batch, hidden_size), zero beyond each end; and the state of the forward direction
            after the last frame, meaningful only where that is valid.
        """
        if self.batch_norm is not None:
            inputs = self.batch_norm(inputs, frames)
        state = state or self.start(inputs.shape[1])
        if not len(inputs):
            return inputs.new_zeros(0, *state[0].shape[1:]), state
        dtype = self._format(inputs)
        inputs, weights = inputs.float() if dtype == torch.float32 else inputs, self.weights()
        # Cast explicitly: autocast always runs cuDNN RNNs in float16
        with torch.autocast(inputs.device.type, enabled=False):
            if self.rnn.mode == "GRU" and not inputs.is_cuda:
                outputs, state = self._gru(inputs.to(dtype), frames, weights, state)
            else:
                half = dtype != torch.float32 and recurrent.persists(self.rnn, inputs)
                kernel, inner = (recurrent.persistent, torch.float16) if half else (recurrent.plain, dtype)
                outputs, state = recurrent.dense(kernel, self.rnn, inputs, frames, weights, state, inner)
        return frames.clear(outputs.to(dtype)), state

    def start(self, batch: int) -> State:
        """The state before the first frame: zeros."""
        weights = self.weights()
        zeros = weights[0][0].new_zeros(len(weights), batch, self.rnn.hidden_size)
        return (zeros, zeros) if self.rnn.mode == "LSTM" else (zeros,)

    def weights(self) -> list[list[Tensor]]:
        """Per direction: input weights, recurrent weights, input biases, recurrent biases."""
        suffixes = ("_l0", "_l0_reverse")[: 1 + self.rnn.bidirectional]
        return [[getattr(self.rnn, name + suffix) for name in WEIGHTS] for suffix in suffixes]

    def _format(self, inputs: Tensor) -> torch.dtype:
        """That of autocast, but on a CPU float32 where bf16 is slower or inexact.

        Large LSTM layers with small batches are slower: oneDNN's backward pass, measured on AVX-512 with
        bf16 instructions (benchmarks/train_step.py). For tanh layers torch adds up the gradient of the
        recurrent weights in bf16, frame by frame: it was wrong by 2.4 % after 400 frames.
        """
        slow = self.rnn.mode == "LSTM" and self.rnn.hidden_size > 512 and inputs.shape[1] < 20
        inexact = self.rnn.mode == "RNN_TANH" and torch.is_grad_enabled()
        return torch.float32 if inputs.is_cpu and (slow or inexact) else autocast_format(inputs.device)
