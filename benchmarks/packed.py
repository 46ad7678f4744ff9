"""The reference of `train_step.py`, `device_step.py` and `inference.py`: layers on packed sequences."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from deepspeech.device import autocast_format
from deepspeech.model.kernels.recurrent import FUNCTIONS
from deepspeech.model.padding import Frames, State
from deepspeech.model.rnn import RecurrentLayer


class PackedLayer(RecurrentLayer):
    """torch's own layer on a packed sequence, which holds no padding, as deepspeech.pytorch runs it."""

    def forward(self, inputs: Tensor, frames: Frames, state: State | None = None) -> tuple[Tensor, State]:
        if self.batch_norm is not None:
            inputs = self.batch_norm(inputs, frames)
        dtype = autocast_format(inputs.device)
        lengths, order = frames.lengths.clamp(min=1).cpu().sort(descending=True)
        order = order.to(inputs.device)
        sequence = pack_padded_sequence(inputs.index_select(1, order).to(dtype), lengths)
        start = [part.index_select(1, order).to(dtype) for part in state or self.start(len(lengths))]
        weights = [each.to(dtype) for direction in self.weights() for each in direction]
        with torch.autocast(inputs.device.type, enabled=False):
            data, *end = FUNCTIONS[self.rnn.mode](
                sequence.data,
                sequence.batch_sizes,
                start if self.rnn.mode == "LSTM" else start[0],
                weights,
                True,  # biases
                1,  # layers
                0.0,  # dropout
                self.training,
                self.rnn.bidirectional,
            )
        outputs, _ = pad_packed_sequence(sequence._replace(data=data), total_length=frames.size)
        outputs, *end = (part.index_select(1, order.argsort()) for part in (outputs, *end))
        summed = outputs.unflatten(2, (-1, self.rnn.hidden_size)).sum(2)
        return summed, tuple(part.float() for part in end)
