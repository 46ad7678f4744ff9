"""Batch norm over valid frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepspeech import distributed
from deepspeech.model.padding import Frames


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
            sums = distributed.all_reduce_sum(sums)
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
