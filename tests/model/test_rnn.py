"""The recurrent layer against torch's packed sequences."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from deepspeech.model.padding import Frames
from deepspeech.model.rnn import RecurrentLayer

CELLS = ["lstm", "gru", "rnn"]
LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=5)


def packed(layer, inputs, lengths):
    """The result of torch's own layer on a packed sequence, both directions summed."""
    sequence = nn.utils.rnn.pack_padded_sequence(inputs, lengths, enforce_sorted=False)
    outputs, _ = nn.utils.rnn.pad_packed_sequence(layer.rnn(sequence)[0], total_length=len(inputs))
    return outputs.unflatten(2, (-1, layer.rnn.hidden_size)).sum(2)


def valid_of(lengths, size):
    return torch.arange(size)[:, None] < lengths


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("cell", CELLS)
@given(lengths=LENGTHS, padding=st.integers(0, 3), seed=st.integers(0, 99))
def test_equal_to_packed_sequences_forward_and_backward(cell, bidirectional, lengths, padding, seed):
    torch.manual_seed(seed)
    layer = RecurrentLayer(cell, 6, 5, bidirectional, batch_norm=False)
    lengths = torch.tensor(lengths)
    size = int(lengths.max()) + padding
    inputs = torch.randn(size, len(lengths), 6) * 2
    gradient = torch.randn(size, len(lengths), 5) * valid_of(lengths, size)[:, :, None]
    results = []
    for run in (lambda x: layer(x, Frames(lengths, size))[0], lambda x: packed(layer, x, lengths)):
        own = inputs.clone().requires_grad_()
        outputs = run(own)
        gradients = torch.autograd.grad(outputs, [own, *layer.rnn.parameters()], gradient)
        results.append([outputs, *gradients])
    for dense, expected in zip(*results, strict=True):
        assert torch.allclose(dense, expected, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@given(lengths=LENGTHS)
def test_padding_does_not_matter_and_is_zero_in_the_output(cell, lengths):
    torch.manual_seed(0)
    layer = RecurrentLayer(cell, 4, 3, True, batch_norm=False)
    lengths = torch.tensor(lengths)
    size = int(lengths.max()) + 2
    valid = valid_of(lengths, size)[:, :, None]
    inputs = torch.randn(size, len(lengths), 4)
    frames = Frames(lengths, size)
    clean, _ = layer(inputs * valid, frames)
    dirty, _ = layer(torch.where(valid, inputs, 50.0), frames)
    assert torch.allclose(clean, dirty, atol=1e-6)
    assert not (clean * ~valid).any()


@pytest.mark.parametrize("cell", ["gru", "rnn"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_inference_uses_changed_weights_at_once(cell, bidirectional):
    torch.manual_seed(0)
    layer = RecurrentLayer(cell, 4, 3, bidirectional, batch_norm=False)
    inputs, frames = torch.randn(5, 1, 4), Frames(torch.tensor([5]), 5)

    def outputs_agree():
        with torch.no_grad():
            quick = layer(inputs, frames)[0]
        return torch.allclose(quick, layer(inputs, frames)[0].detach(), atol=1e-6)

    assert outputs_agree()
    with torch.no_grad():
        layer.rnn.weight_hh_l0.mul_(2)
    assert outputs_agree()
    layer.load_state_dict(RecurrentLayer(cell, 4, 3, bidirectional, batch_norm=False).state_dict())
    assert outputs_agree()
    layer.rnn.weight_hh_l0 = nn.Parameter(torch.randn_like(layer.rnn.weight_hh_l0))
    assert outputs_agree()
    layer = copy.deepcopy(layer)
    with torch.no_grad():
        layer.rnn.weight_hh_l0 += 1
    assert outputs_agree()


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_inference_uses_the_weights_of_fused_optimizers_at_once(optimizer):
    """They change weights without raising torch's version counters."""
    torch.manual_seed(0)
    layer = RecurrentLayer("gru", 4, 3, False, batch_norm=False)
    optimizer = optimizer(layer.parameters(), lr=0.1, fused=True)
    inputs, frames = torch.randn(5, 1, 4), Frames(torch.tensor([5]), 5)
    for _ in range(3):
        layer(inputs, frames)[0].sum().backward()
        optimizer.step()
        with torch.no_grad():
            quick = layer.eval()(inputs, frames)[0]
        assert torch.allclose(quick, layer.train()(inputs, frames)[0], atol=1e-6)


def test_weights_created_in_inference_mode_run():
    with torch.inference_mode():
        layer = RecurrentLayer("gru", 4, 3, False, batch_norm=False)
        outputs, _ = layer(torch.randn(5, 1, 4), Frames(torch.tensor([5]), 5))
    assert outputs.shape == (5, 1, 3)


def test_long_sequences_are_exact_in_float32():
    torch.manual_seed(0)
    layer = RecurrentLayer("lstm", 8, 8, True, batch_norm=False)
    lengths = torch.tensor([600, 1, 300])
    inputs = torch.randn(600, 3, 8)
    valid = valid_of(lengths, 600)[:, :, None]
    difference = (layer(inputs, Frames(lengths, 600))[0] - packed(layer, inputs, lengths)) * valid
    assert difference.abs().max() < 1e-5


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_in_bf16_do_not_lose_digits_over_many_frames(cell):
    """As they would if every frame's share were added to a bf16 sum."""
    torch.manual_seed(0)
    layer = RecurrentLayer(cell, 64, 64, True, batch_norm=False)
    inputs, gradient, frames = (
        torch.randn(500, 4, 64),
        torch.randn(500, 4, 64),
        Frames(torch.full((4,), 500), 500),
    )
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            outputs, _ = layer(inputs, frames)
        found.append(torch.autograd.grad(outputs, [*layer.parameters()], gradient.to(outputs.dtype)))
    for exact, rounded in zip(*found, strict=True):
        assert (exact - rounded).norm() < 0.01 * exact.norm()
