"""Which frames of a padded batch are valid."""

from __future__ import annotations

import torch
from torch.profiler import profile

from deepspeech.model.padding import Frames


def test_reversing_twice_gives_the_inputs_and_padding_stays_in_place():
    frames = Frames(torch.tensor([4, 1, 0]), 5)
    inputs = torch.arange(15.0).view(5, 3, 1)
    once = frames.reversed(inputs)
    assert once[:, 0, 0].tolist() == [9, 6, 3, 0, 12]
    assert torch.equal(once[:, 1:], inputs[:, 1:])
    assert torch.equal(frames.reversed(once), inputs)


def test_the_gradient_of_reversed_frames_is_reversed_not_added_up():
    """Adding rows up takes a GPU four times as long as permuting them."""
    frames = Frames(torch.tensor([4, 2]), 5)
    inputs, gradient = torch.randn(5, 2, 3, requires_grad=True), torch.randn(5, 2, 3)
    with profile() as trace:
        (found,) = torch.autograd.grad(frames.reversed(inputs), inputs, gradient, retain_graph=True)
    assert torch.equal(found, frames.reversed(gradient))
    assert not any("index_add" in event.name for event in trace.events())
    assert torch.autograd.gradcheck(frames.reversed, inputs.double().detach().requires_grad_())
