"""The Deep Speech 2 network (Amodei et al., 2016, https://arxiv.org/abs/1512.02595)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepspeech.audio.sliding import Count, Window
from deepspeech.device import autocast, autocast_format
from deepspeech.labels import Labels
from deepspeech.model.batch_norm import MaskedBatchNorm
from deepspeech.model.config import CONV_TIME, Configured, ModelConfig
from deepspeech.model.hub import HubModel
from deepspeech.model.kernels.convolution import Conv2d
from deepspeech.model.padding import Frames
from deepspeech.model.padding import State as RecurrentState
from deepspeech.model.rnn import RecurrentLayer

CHANNELS = 32


@dataclass(frozen=True)
class State:
    """What the layers carry from chunk to chunk; None at the start."""

    conv: tuple[Tensor | None, ...] = (None, None)  # last inputs of both (batch, channels, bins, frames)
    rnns: tuple[RecurrentState, ...] | None = None
    lookahead: Tensor | None = None  # last inputs (batch, size, frames)


class DeepSpeech(HubModel, Configured):
    """Log-spectrograms -> log-probabilities of the labels, for every second frame.

    Two convolutions over frequency and time, recurrent layers, a lookahead convolution in
    unidirectional models, and a linear layer. State-dict names are those of deepspeech.pytorch 2.x.

    Args:
        config: Architecture, labels and features.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.labels = Labels(config.labels)
        self.drops = True  # whether there is dropout in train mode
        self.conv = ConvStack(config.features.bins)
        size, hidden = CHANNELS * self.conv.bins, config.hidden_size
        self.rnns = nn.ModuleList(
            RecurrentLayer(
                config.rnn_type, hidden if index else size, hidden, config.bidirectional, batch_norm=index > 0
            )
            for index in range(config.hidden_layers)
        )
        if not config.bidirectional:
            self.lookahead = nn.ModuleList([Lookahead(hidden, config.lookahead_context)])
        self.fc = nn.ModuleList([Output(hidden, len(config.labels))])

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network.

        Args:
            features: (batch, bins, frames).
            lengths: (batch,) int64 valid frames, in any order, on the CPU or where the features are.
                The result for an utterance does not depend on the others or on the padding.

        Returns:
            float32 log-probabilities (batch, frames, labels) and int64 frame counts (batch,).
        """
        log_probs, lengths, _ = self.forward_chunk(features, lengths)
        return log_probs, lengths

    def forward_chunk(
        self, features: Tensor, lengths: Tensor | None = None, state: State | None = None, final: bool = True
    ) -> tuple[Tensor, Tensor, State]:
        """Run the network over the next chunk of a batch; offline is one final chunk.

        Args:
            features: (batch, bins, frames).
            lengths: (batch,) int64 valid frames; None, as for all chunks but the final one, means
                that all are full.
            state: What the chunk before returned; None at the start.
            final: Whether the utterances end with this chunk.

        Returns:
            float32 log-probabilities (batch, frames, labels) of the frames that are complete now,
            perhaps none; int64 frame counts (batch,); the state for the next chunk.

        Raises:
            InputError: There are several chunks, and the model cannot stream.
        """
        if state is not None or not final:
            self.config.require_streaming()
        if lengths is None:
            lengths = torch.full((len(features),), features.shape[2])
        state = state or State()
        with autocast(features.device, autocast_format(features.device)):
            hidden, lengths, conv = self.conv(features, lengths, state.conv, final)
        hidden = hidden.flatten(1, 2).permute(2, 0, 1).contiguous()  # (frames, batch, size)
        frames = Frames(lengths, len(hidden), hidden.device)
        rnns = []
        for layer, carried in zip(self.rnns, state.rnns or [None] * len(self.rnns), strict=True):
            hidden, carried = layer(hidden, frames, carried)
            hidden = nn.functional.dropout(hidden, self.config.dropout, self.training and self.drops)
            rnns.append(carried)
        ahead = state.lookahead
        if not self.config.bidirectional:
            hidden, lengths, ahead = self.lookahead[0](hidden, lengths, ahead, final)
            frames = Frames(lengths, len(hidden), hidden.device)
            hidden = frames.clear(hidden)
        return self.fc[0](hidden, frames), lengths, State(conv, tuple(rnns), ahead)

    @staticmethod
    def output_lengths(lengths: Count) -> Count:
        """Frame counts of the output for frame counts of the features."""
        for window in CONV_TIME:
            lengths = window.count(lengths)
        return lengths


class ConvStack(nn.Module):
    """Two convolutions, each with BatchNorm and a clipped ReLU; the padding of their outputs is zero.

    `Window.slide` pads in time, the convolutions themselves pad in frequency.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.seq_module = nn.Sequential(
            Conv2d(1, CHANNELS, kernel_size=(41, 11), stride=(2, 2), padding=(20, 0)),
            MaskedBatchNorm(CHANNELS),
            nn.Hardtanh(0, 20, inplace=True),
            Conv2d(CHANNELS, CHANNELS, kernel_size=(21, 11), stride=(2, 1), padding=(10, 0)),
            MaskedBatchNorm(CHANNELS),
            nn.Hardtanh(0, 20, inplace=True),
        )
        for window in Window(41, 2, 20, 20), Window(21, 2, 10, 10):
            bins = window.count(bins)
        self.bins = bins

    def forward(
        self, features: Tensor, lengths: Tensor, state: Sequence[Tensor | None], final: bool
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """(batch, bins, frames) -> (batch, channels, bins, frames), the frame counts, the state."""
        hidden, carried = features[:, None], []  # (batch, 1, bins, frames)
        layers = list(self.seq_module)
        for window, held, (convolve, norm, clip) in zip(
            CONV_TIME, state, (layers[:3], layers[3:]), strict=True
        ):
            lengths = window.count(lengths, None if held is None else held.shape[3], final)
            hidden, held = window.slide(convolve, hidden, held, final)  # (batch, channels, bins, frames)
            carried.append(held)
            frames = Frames(lengths, hidden.shape[3], hidden.device)
            hidden = norm(frames.clear_images(hidden), frames.total * hidden.shape[2], channel=1)
            hidden = clip(frames.clear_images(hidden))
        return hidden, lengths, tuple(carried)


class Lookahead(nn.Module):
    """Row convolution over the frames ahead, then a clipped ReLU (Wang et al., 2016).

    Args:
        size: Features per frame, each convolved by itself.
        context: Frames that it sees: the current one and the next `context - 1`.
    """

    def __init__(self, size: int, context: int) -> None:
        super().__init__()
        self.time = Window(context, after=context - 1)
        self.conv = nn.Conv1d(size, size, kernel_size=context, groups=size, bias=False)

    def forward(
        self, inputs: Tensor, lengths: Tensor, held: Tensor | None, final: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(frames, batch, size) -> (frames, batch, size), the frame counts, the last inputs."""
        lengths = self.time.count(lengths, None if held is None else held.shape[2], final)
        inputs = inputs.permute(1, 2, 0)  # (batch, size, frames)
        outputs, held = self.time.slide(self.conv, inputs, held, final)
        return nn.functional.hardtanh(outputs, 0, 20).permute(2, 0, 1), lengths, held


class Output(nn.Module):
    """BatchNorm, a linear layer and log-softmax. State-dict names: `module.0`, `module.1`."""

    def __init__(self, size: int, labels: int) -> None:
        super().__init__()
        self.module = nn.ModuleList([MaskedBatchNorm(size), nn.Linear(size, labels, bias=False)])

    def forward(self, inputs: Tensor, frames: Frames) -> Tensor:
        """(frames, batch, size) -> (batch, frames, labels) float32."""
        norm, linear = self.module
        scores: Tensor = linear(norm(inputs, frames.total, channel=2))
        return scores.float().log_softmax(-1).transpose(0, 1)
