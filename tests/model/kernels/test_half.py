"""Gradients in half precision against float64."""

import pytest
import torch

from deepspeech.model.kernels.half import HalfPrecision


def gradients(size):
    """Of a product in half precision and in float64, for gradients of a size from above."""
    torch.manual_seed(0)
    weights, inputs = torch.randn(8, 16), torch.randn(32, 16)
    outer = size * torch.randn(32, 8)
    half = HalfPrecision()
    leaves = [each.clone().requires_grad_() for each in (inputs, weights)]
    outputs = half.leave(half.enter(leaves[0]) @ half.enter(leaves[1]).T)
    outputs.backward(outer)
    exact = outer.double() @ weights.double(), outer.double().T @ inputs.double()
    return outputs, [each.grad for each in leaves], exact


@pytest.mark.parametrize("size", [1e-12, 1e-5, 1.0, 1e12])
def test_gradients_of_any_size_survive(size):
    outputs, found, exact = gradients(size)
    assert outputs.dtype == torch.float32
    for ours, expected in zip(found, exact, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), expected, rtol=0, atol=2e-3 * float(expected.abs().max()))


def test_a_gradient_of_zero_stays_zero():
    _, found, _ = gradients(0.0)
    assert all(not each.any() for each in found)


def test_gradients_that_are_not_finite_are_seen():
    _, found, _ = gradients(float("inf"))
    assert not any(torch.isfinite(each).all() for each in found)
