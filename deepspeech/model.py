"""The Deep Speech 2 network (Amodei et al., 2016, https://arxiv.org/abs/1512.02595)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepspeech.config import ModelConfig
from deepspeech.labels import Labels
from deepspeech.rnn import Frames, MaskedBatchNorm, RecurrentLayer
from deepspeech.windowing import Window

CHANNELS = 32


class DeepSpeech(nn.Module):
    """Log-spectrograms -> log-probabilities of the labels, for every second frame.

    Two convolutions over frequency and time, recurrent layers, for models that read forward
    only a lookahead convolution, and a linear layer. The names in its state dict are those
    of deepspeech.pytorch 2.x.

    Args:
        config: Architecture, labels and features.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.labels = Labels(config.labels)
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
        output = nn.ModuleList([MaskedBatchNorm(hidden), nn.Linear(hidden, len(config.labels), bias=False)])
        self.fc = nn.ModuleList([_Named(output)])

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network.

        Args:
            features: (batch, bins, frames).
            lengths: (batch,) int64 valid frames, in any order, on the CPU or where the features are.
                What an utterance yields does not depend on the others or on the padding.

        Returns:
            float32 log-probabilities (batch, frames, labels) and int64 frame counts (batch,).
        """
        hidden, lengths = self.conv(features, lengths)  # (batch, channels, bins, frames)
        hidden = hidden.flatten(1, 2).permute(2, 0, 1)  # (frames, batch, size)
        frames = Frames(lengths, len(hidden), hidden.device)
        for layer in self.rnns:
            hidden = layer(hidden, frames)
        if not self.config.bidirectional:
            hidden = frames.clear(self.lookahead[0](hidden))
        norm, linear = self.fc[0].module
        hidden = norm(hidden, frames.total, channel=2)
        return linear(hidden).float().log_softmax(-1).transpose(0, 1), lengths

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Frame counts of the output for frame counts of the input."""
        for window in self.conv.time:
            lengths = window.count(lengths)
        return lengths


class _Named(nn.Module):
    """Puts `.module.` into a state-dict name."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


class ConvStack(nn.Module):
    """Two convolutions with BatchNorm and a clipped ReLU; padding is zero after each."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.seq_module = nn.Sequential(
            nn.Conv2d(1, CHANNELS, kernel_size=(41, 11), stride=(2, 2), padding=(20, 5)),
            MaskedBatchNorm(CHANNELS),
            nn.Hardtanh(0, 20, inplace=True),
            nn.Conv2d(CHANNELS, CHANNELS, kernel_size=(21, 11), stride=(2, 1), padding=(10, 5)),
            MaskedBatchNorm(CHANNELS),
            nn.Hardtanh(0, 20, inplace=True),
        )
        convolutions = self.seq_module[0], self.seq_module[3]
        over_bins, self.time = (
            [Window(c.kernel_size[axis], c.stride[axis], c.padding[axis]) for c in convolutions]
            for axis in (0, 1)
        )
        for window in over_bins:
            bins = window.count(bins)
        self.bins = bins

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, bins, frames) -> (batch, channels, bins, frames) and the frame counts."""
        hidden = features[:, None]
        layers = list(self.seq_module)
        for window, (convolve, norm, clip) in zip(self.time, (layers[:3], layers[3:]), strict=True):
            hidden = convolve(hidden)
            lengths = window.count(lengths)
            ends = lengths.to(hidden.device, non_blocking=True)
            valid = torch.arange(hidden.shape[3], device=hidden.device) < ends[:, None, None, None]
            hidden = norm(hidden.masked_fill_(~valid, 0), ends.sum() * hidden.shape[2], channel=1)
            hidden = clip(hidden.masked_fill_(~valid, 0))
        return hidden, lengths


class Lookahead(nn.Module):
    """Row convolution over the coming frames, then a clipped ReLU (Wang et al., 2016).

    Args:
        size: Features of a frame, each convolved by itself.
        context: Frames it sees: this one and the `context - 1` next.
    """

    def __init__(self, size: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.conv = nn.Conv1d(size, size, kernel_size=context, groups=size, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """(frames, batch, size) -> the same shape."""
        inputs = nn.functional.pad(inputs.permute(1, 2, 0), (0, self.context - 1))
        return nn.functional.hardtanh(self.conv(inputs), 0, 20).permute(2, 0, 1)
