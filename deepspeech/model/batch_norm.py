"""Batch norm over valid frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from deepspeech import distributed
from deepspeech.model.padding import Frames

EPSILON, MOMENTUM = 1e-5, 0.1


class MaskedBatchNorm(nn.Module):
    """Batch normalisation whose training statistics cover valid frames only, never padding.

    deepspeech.pytorch includes padding, so that its statistics depend on how utterances are batched.
    State-dict names are those of `nn.BatchNorm1d`.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    synchronized = False  # whether training statistics are computed over all processes

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, inputs: Tensor, count: Tensor, channel: int) -> Tensor:
        """Normalise every channel.

        Args:
            inputs: Any shape, zero where it is not valid.
            count: Number of valid values per channel, a scalar.
            channel: Dimension of the channels.

        Returns:
            float32, same shape; the values are undefined where the input is not valid.
        """
        shape = [1] * inputs.dim()
        shape[channel] = -1
        inputs = inputs.float()
        if self.training:
            mean, variance = self._statistics(inputs, count, channel)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + EPSILON)
        shift = self.bias - mean * scale
        return torch.addcmul(shift.view(shape), inputs, scale.view(shape))

    def _statistics(self, inputs: Tensor, count: Tensor, channel: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of the valid values, derived from those of all, as padding is zero."""
        others = [each for each in range(inputs.dim()) if each != channel % inputs.dim()]
        variance, mean = torch.var_mean(inputs, others, correction=0)
        values = inputs.numel() / inputs.shape[channel]  # per channel, padding included
        sums = torch.cat([mean * values, (variance + mean.square()) * values, count.view(1)])
        if self.synchronized:
            sums = all_reduce_sum(sums)
        count = sums[-1].clamp(min=1)
        mean, square = (sums[:-1] / count).chunk(2)
        variance = (square - mean.square()).clamp(min=0)
        self._update_running(mean.detach(), variance.detach(), count)
        return mean, variance

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Update the running statistics, unless the new ones are not finite or of a single value."""
        self.num_batches_tracked += 1
        sound = torch.isfinite(mean + variance).all() & (count > 1)
        momentum = MOMENTUM * sound
        unbiased = variance * (count / (count - 1))
        for running, value in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.lerp_(torch.where(sound, value, running), momentum)


class SequenceNorm(nn.Module):
    """Batch normalisation of (frames, batch, size) sequences. State-dict names: `module.*`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.module = MaskedBatchNorm(size)

    def forward(self, inputs: Tensor, frames: Frames) -> Tensor:
        normalised: Tensor = self.module(inputs, frames.total, channel=2)
        return normalised


def all_reduce_sum(values: Tensor) -> Tensor:
    """Sum over all processes, with gradients flowing back to each of them."""
    return _AllReduceSum.apply(values) if distributed.world_size() > 1 else values


class _AllReduceSum(torch.autograd.Function):
    """Every process's loss depends on the sum, so the gradients are summed as well."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        values = values.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(values)
        return values

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return all_reduce_sum(gradient)
