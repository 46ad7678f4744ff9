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
    """Hold the weights of the recurrent layers, nearly all of the network's, in 8 bits.

    Activations are quantised as they come, with a scale of their own for every product (dynamic
    quantisation). Changes the model, which is for inference on a CPU from then on.

    Raises:
        InputError: The layers are of tanh cells, for which torch has no 8-bit kernels, or on a GPU.
    """
    if next(model.parameters()).is_cuda:
        raise InputError("--int8: 8-bit layers run on the CPU only; leave out --cuda or --int8")
    if model.config.rnn_type == "rnn":
        raise InputError("--int8: only lstm and gru layers can be 8-bit; leave the flag out for this model")
    for index, layer in enumerate(model.rnns):
        model.rnns[index] = Int8Layer(layer)
    return model


class Int8Layer(nn.Module):
    """An inference-only `RecurrentLayer` with 8-bit weights.

    Args:
        layer: The layer that it replaces.
    """

    def __init__(self, layer: RecurrentLayer) -> None:
        super().__init__()
        self.batch_norm = layer.batch_norm
        self.start = layer.start
        suffixes = ("_l0", "_l0_reverse")[: 1 + layer.rnn.bidirectional]
        self.directions = nn.ModuleList(_int8(_direction(layer.rnn, suffix)) for suffix in suffixes)

    def forward(self, inputs: Tensor, frames: Frames, state: State | None = None) -> tuple[Tensor, State]:
        """See `RecurrentLayer.forward`."""
        if self.batch_norm is not None:
            inputs = self.batch_norm(inputs, frames)
        state = state or self.start(inputs.shape[1])
        if not len(inputs):
            return inputs.new_zeros(0, *state[0].shape[1:]), state
        inputs = inputs.float()
        starts = [
            parts if len(parts) > 1 else parts[0]
            for parts in zip(*(part.split(1) for part in state), strict=True)
        ]
        forward, *backward = self.directions
        outputs, after = forward(inputs, starts[0])
        if backward:
            outputs = outputs + frames.reversed(backward[0](frames.reversed(inputs), starts[1])[0])
        return frames.clear(outputs), after if isinstance(after, tuple) else (after,)


def _direction(rnn: nn.RNNBase, suffix: str) -> nn.RNNBase:
    """One direction of a layer as a layer of its own."""
    single = type(rnn)(rnn.input_size, rnn.hidden_size)
    single.load_state_dict({name: getattr(rnn, name.replace("_l0", suffix)) for name in single.state_dict()})
    return single.eval()


def _int8(layer: nn.RNNBase) -> nn.Module:
    """The one place that calls torch.ao, which is to be replaced by torchao some day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        holder = torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), {type(layer)}, torch.qint8)
    return holder[0]
