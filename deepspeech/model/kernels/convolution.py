"""Convolutions whose training steps take a third of the time on a CPU: by the FFT, in float32.

With kernels of 41 x 11 and 21 x 11 taps, products of spectra need a thirtieth of the multiplications
(Mathieu et al., 2014, https://arxiv.org/abs/1312.5851). Time is cut into blocks that overlap by the kernel,
frequency is transformed whole. A convolution with a stride is one without over its phases: the inputs at
every second place are channels of their own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

BLOCK = 64  # longest block in frames
FEWEST_BLOCKS = 8  # below, the spectra of the weights cost more than they save


class Conv2d(nn.Conv2d):
    """`nn.Conv2d`, equal up to rounding; without dilation and groups, and of fewer frames than `BLOCK`."""

    def forward(self, input: Tensor) -> Tensor:
        """(batch, channels, bins, frames) -> (batch, channels, bins, frames)."""
        if not self._by_fft(input):
            return super().forward(input)
        stride, (bins, frames) = self.stride, map(int, self.padding)
        input = pad(input, (frames, frames, bins, bins))
        bins, frames = (input.shape[2 + axis] - self.kernel_size[axis] for axis in (0, 1))
        outputs: Tensor = Correlation.apply(phases(input, stride), phases(self.weight, stride))
        outputs = outputs[:, :, : bins // stride[0] + 1, : frames // stride[1] + 1]
        return outputs if self.bias is None else outputs + self.bias[:, None, None]

    def _by_fft(self, input: Tensor) -> bool:
        """Whether it trains in float32 on a CPU, and there is enough to do."""
        exact = input.is_cpu and input.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        trains = torch.is_grad_enabled() and self.weight.requires_grad
        blocks = len(input) * (input.shape[3] // (BLOCK * self.stride[1]) + 1)
        return exact and trains and blocks >= FEWEST_BLOCKS


class Correlation(torch.autograd.Function):
    """`nn.functional.conv2d` without bias, stride and padding: `Correlation.apply(inputs, weight)`."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        """(batch, channels, bins, frames), (outputs, channels, bin taps, frame taps) -> as `conv2d`."""
        bins, frames = (
            length - taps + 1 for length, taps in zip(inputs.shape[2:], weight.shape[2:], strict=True)
        )
        reach = weight.shape[3] - 1
        length = block_length(frames, reach)
        step = length - reach  # frames that a block yields
        count = math.ceil(frames / step)
        size = ctx.size = fast_length(inputs.shape[2]), length
        padded = pad(inputs, (0, count * step + reach - inputs.shape[3]))
        spectra, table = transform(padded.unfold(3, length, step), size), weight_table(weight, size)
        ctx.save_for_backward(spectra, table)
        ctx.shapes, ctx.blocks = (inputs.shape, weight.shape), (count, step)
        outputs = inverse(torch.bmm(spectra, table), size, count)
        return outputs[:, :, :bins, :, :step].flatten(3)[..., :frames]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        """From the gradient of the outputs (batch, outputs, bins, frames): those of `inputs` and `weight`."""
        spectra, table = ctx.saved_tensors
        (_, _, bins, frames), (_, _, _, taps) = ctx.shapes
        count, step = ctx.blocks
        gradient = pad(gradient, (0, count * step - gradient.shape[3])).reshape(
            *gradient.shape[:3], count, step
        )
        products = transform(gradient, ctx.size)
        to_weight = weight_gradient(torch.bmm(spectra.transpose(1, 2), products), ctx.shapes[1], ctx.size)
        if not ctx.needs_input_grad[0]:
            return None, to_weight
        blocks = inverse(torch.bmm(products, table.transpose(1, 2)), ctx.size, count)[:, :, :bins]
        to_inputs = pad(blocks[..., :step].flatten(3), (0, taps - 1))
        overlaps = to_inputs[..., step:].unfold(3, taps - 1, step)
        overlaps += blocks[..., step:]
        return to_inputs[..., :frames], to_weight


def phases(inputs: Tensor, stride: tuple[int, ...]) -> Tensor:
    """(batch, channels, bins, frames) -> (batch, channels * strides, bins / stride, frames / stride)."""
    inputs = pad(inputs, (0, -inputs.shape[3] % stride[1], 0, -inputs.shape[2] % stride[0]))
    batch, channels, bins, frames = inputs.shape
    split = inputs.reshape(batch, channels, bins // stride[0], stride[0], frames // stride[1], stride[1])
    return split.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def transform(blocks: Tensor, size: tuple[int, int]) -> Tensor:
    """Spectra of real (batch, channels, bins, blocks, frames): (frequencies, batch * blocks, channels * 2).

    The last axis alternates between real and imaginary parts, so that products of real matrices suffice.
    """
    spectra = torch.fft.rfft2(blocks, s=size, dim=(2, 4)).permute(2, 4, 0, 3, 1).contiguous()
    return torch.view_as_real(spectra).flatten(4).flatten(2, 3).flatten(0, 1)


def inverse(spectra: Tensor, size: tuple[int, int], count: int) -> Tensor:
    """The inverse of `transform`: (batch, channels, bins, blocks, frames) for `count` blocks an utterance."""
    bins, frames = size
    table = torch.view_as_complex(spectra.view(bins, frames // 2 + 1, -1, count, spectra.shape[2] // 2, 2))
    blocks: Tensor = torch.fft.irfft2(table.permute(2, 4, 0, 3, 1), s=size, dim=(2, 4))
    return blocks


def weight_table(weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Conjugate spectra of (outputs, channels, bin taps, frame taps) as real matrices.

    Returns:
        (frequencies, channels * 2, outputs * 2): what multiplies the rows of `transform`.
    """
    outputs, channels, bins, frames = weight.shape
    taps = weight.permute(2, 3, 1, 0).reshape(bins, frames, -1).to(torch.complex64)
    spectra = fourier(size[1], size[1] // 2 + 1, frames) @ taps  # (bin taps, frequencies, channels * outputs)
    spectra = (fourier(size[0], size[0], bins) @ spectra.flatten(1)).view(-1, channels, outputs)
    real, imaginary = spectra.real, spectra.imag
    rows = torch.stack([real, -imaginary], -1), torch.stack([imaginary, real], -1)
    return torch.stack(rows, 2).flatten(3).flatten(1, 2)


def weight_gradient(products: Tensor, shape: tuple[int, ...], size: tuple[int, int]) -> Tensor:
    """The gradient of the weight, the adjoint of `weight_table`.

    Args:
        products: (frequencies, channels * 2, outputs * 2), spectra of the inputs times those of the gradient.
        shape: Of the weight (outputs, channels, bin taps, frame taps).
        size: Of the transform in bins and frames.
    """
    outputs, channels, bins, frames = shape
    parts = products.view(-1, channels, 2, outputs, 2)
    spectra = torch.complex(
        parts[:, :, 0, :, 0] + parts[:, :, 1, :, 1], parts[:, :, 1, :, 0] - parts[:, :, 0, :, 1]
    )
    taps = fourier(size[0], size[0], bins).conj().T @ spectra.view(size[0], -1)
    count = size[1] // 2 + 1
    twice = torch.full(
        (count, 1), 2 / math.prod(size)
    )  # a real signal's spectrum is stored without its negative frequencies
    twice[0] = twice[-1] = 1 / math.prod(size)
    back = (fourier(size[1], count, frames).conj() * twice).T
    gradient = (back @ taps.view(bins, count, -1)).real
    return gradient.view(bins, frames, channels, outputs).permute(3, 2, 0, 1)


def fourier(size: int, frequencies: int, taps: int) -> Tensor:
    """The first columns of a Fourier matrix (frequencies, taps) complex64."""
    turns = torch.outer(torch.arange(frequencies), torch.arange(taps)) % size
    return torch.polar(torch.ones(()), -2 * math.pi / size * turns)


def block_length(frames: int, reach: int) -> int:
    """The even length of the fewest blocks that yield so many frames, each `reach` fewer than it has.

    Blocks of like length waste less than full ones and a rest: with utterances of 1.2 s an eighth of a step.
    """
    fewest = math.ceil(frames / (BLOCK - reach))
    return 2 * fast_length(math.ceil((math.ceil(frames / fewest) + reach) / 2))


def fast_length(size: int) -> int:
    """The next length whose only prime factors are 2, 3 and 5: one that divides a power of 30."""
    return next(length for length in range(size, 2 * size + 1) if 30 ** length.bit_length() % length == 0)
