"""8-bit recurrent layers for faster transcription on CPUs."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from deepspeech.errors import InputError
from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.model.padding import Frames, State
from deepspeech.model.rnn import RecurrentLayer


def quantize(model: DeepSpeech) -> DeepSpeech:
    """Convert the weights of the recurrent layers, nearly all of the network's, to 8 bits, in place.

    Dynamic quantisation: activations are quantised on the fly, with a new scale for every product.
    torch.ao still has kernels for LSTM and GRU, but is deprecated; `_int8` alone depends on it. The
    model can then only run inference on a CPU.

    Raises:
        InputError: The layers are of tanh cells, for which torch has no 8-bit kernels, or on a GPU.
    """
    if next(model.parameters()).is_cuda:
        raise InputError("--int8: 8-bit layers run on the CPU only; leave out --cuda or --int8")
    if model.config.rnn_type == "rnn":
        raise InputError("--int8: only lstm and gru layers can be 8-bit; leave the flag out for this model")
    for index, layer in enumerate(model.rnns):
        if isinstance(layer, RecurrentLayer):
            model.rnns[index] = Int8Layer(layer)
    return model


class Int8Layer(nn.Module):
    """An inference-only `RecurrentLayer` with 8-bit weights, made from a float one."""

    def __init__(self, layer: RecurrentLayer) -> None:
        super().__init__()
        self.batch_norm, self.hidden_size = layer.batch_norm, layer.rnn.hidden_size
        self.states = 2 if layer.rnn.mode == "LSTM" else 1  # hidden and cell, or hidden
        suffixes = ("_l0", "_l0_reverse")[: 1 + layer.rnn.bidirectional]
        self.directions = nn.ModuleList(_int8(layer.rnn, suffix) for suffix in suffixes)

    def forward(self, inputs: Tensor, frames: Frames, state: State | None = None) -> tuple[Tensor, State]:
        """See `RecurrentLayer.forward`."""
        if self.batch_norm is not None:
            inputs = self.batch_norm(inputs, frames)
        inputs = inputs.float()
        state = state or (inputs.new_zeros(1, inputs.shape[1], self.hidden_size),) * self.states
        if not len(inputs):
            return inputs.new_zeros(0, *state[0].shape[1:]), state
        forward, *backward = self.directions
        outputs, state = forward(inputs, state if self.states == 2 else state[0])
        if backward:
            outputs = outputs + frames.reversed(backward[0](frames.reversed(inputs))[0])
        return frames.clear(outputs), state if isinstance(state, tuple) else (state,)


def _int8(rnn: nn.RNNBase, suffix: str) -> nn.Module:
    """One direction of a layer as an 8-bit layer of its own."""
    single = (nn.LSTM if isinstance(rnn, nn.LSTM) else nn.GRU)(rnn.input_size, rnn.hidden_size).eval()
    single.load_state_dict({name: getattr(rnn, name.replace("_l0", suffix)) for name in single.state_dict()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated
        holder: nn.Sequential = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]  # torch has no annotation
            nn.Sequential(single), {type(single)}, torch.qint8
        )
    return holder[0]
