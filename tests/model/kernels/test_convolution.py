"""Convolutions by the FFT against torch's in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from deepspeech.model.deepspeech2 import ConvStack
from deepspeech.model.kernels import convolution
from deepspeech.model.kernels.convolution import Conv2d, fast_length, phases

KERNELS = st.tuples(st.integers(1, 9), st.integers(1, 11))


def results(layer, inputs, seed):
    """Outputs, and gradients of inputs, weight and bias."""
    outputs = layer(inputs)
    gradient = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(seed))
    wanted = [each for each in (inputs, *layer.parameters()) if each.requires_grad]
    return [outputs.detach(), *torch.autograd.grad(outputs, wanted, gradient.to(outputs.dtype))]


def pair(*shape, **options):
    """The layer, and torch's with the same weights in float64."""
    layer = Conv2d(*shape, **options)
    exact = nn.Conv2d(*shape, **options).double()
    exact.load_state_dict(layer.state_dict())
    return layer, exact


def assert_close(found, expected):
    assert [each.shape for each in found] == [each.shape for each in expected]
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= 3e-6 * other.abs().max().clamp(min=1)  # sums can cancel out


@given(
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=KERNELS,
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    more=st.tuples(st.integers(0, 12), st.integers(0, 150)),
    seed=st.integers(0, 99),
)
def test_equal_to_torch_in_outputs_and_gradients(channels, kernel, stride, padding, more, seed):
    torch.manual_seed(seed)
    layer, exact = pair(*channels, kernel, stride=stride, padding=padding)
    size = [taps + each for taps, each in zip(kernel, more, strict=True)]
    inputs = torch.randn(9, channels[0], *size, requires_grad=True)  # at least FEWEST_BLOCKS
    assert layer._by_fft(inputs)
    assert_close(
        results(layer, inputs, seed), results(exact, inputs.detach().double().requires_grad_(), seed)
    )


def test_the_layers_of_the_network_are_closer_to_float64_than_torch():
    torch.manual_seed(0)
    for layer, inputs in zip(
        ConvStack(81).seq_module[::3], (torch.randn(8, 1, 81, 140), torch.randn(8, 32, 41, 75)), strict=True
    ):
        plain = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            stride=layer.stride,
            padding=layer.padding,
        )
        plain.load_state_dict(layer.state_dict())
        exact = results(plain.double(), inputs.double(), 0)
        errors = [
            max(
                float((one - other).abs().max() / other.abs().max())
                for one, other in zip(run, exact, strict=True)
            )
            for run in (results(layer, inputs, 0), results(plain.float(), inputs, 0))
        ]
        assert errors[0] < 1e-6
        assert errors[0] < errors[1]


@pytest.mark.parametrize(
    ("why", "by_fft"),
    [("no gradients", 0), ("bfloat16", 0), ("float64", 0), ("few frames", 0), ("nothing of these", 1)],
)
def test_torch_computes_where_that_is_better(why, by_fft, monkeypatch):
    calls = []
    monkeypatch.setattr(convolution, "phases", lambda *inputs: calls.append(inputs) or phases(*inputs))
    layer, inputs = Conv2d(1, 2, (3, 3)), torch.randn(9, 1, 8, 40)
    if why == "float64":
        layer, inputs = layer.double(), inputs.double()
    if why == "few frames":
        inputs = inputs[:2]
    with (
        torch.set_grad_enabled(why != "no gradients"),
        torch.autocast("cpu", torch.bfloat16, enabled=why == "bfloat16"),
    ):
        outputs = layer(inputs)
        expected = nn.functional.conv2d(inputs, layer.weight, layer.bias)
    assert len(calls) == 2 * by_fft  # of the inputs and of the weight
    assert torch.equal(outputs, expected) == (not by_fft)


def test_a_second_pass_gives_the_same_bits():
    layer, inputs = Conv2d(2, 3, (5, 7), stride=(2, 1)), torch.randn(8, 2, 21, 100, requires_grad=True)
    for one, other in zip(results(layer, inputs, 0), results(layer, inputs, 0), strict=True):
        assert torch.equal(one, other)


def test_fast_lengths():
    assert [fast_length(size) for size in (1, 7, 11, 30, 31, 101, 1025)] == [1, 8, 12, 30, 32, 108, 1080]
