"""Batch norm over valid frames against torch's over the valid frames alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from deepspeech.model.batch_norm import MaskedBatchNorm

LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=5)


def normalized(masked, inputs, valid):
    """The normalised valid frames of a padded (frames, batch, channels) batch."""
    return masked(inputs * valid[:, :, None], valid.sum(), channel=2)[valid]


def masked_and_plain(lengths, size, channels=5):
    """A masked norm, torch's with the same weights, the valid frames and the values of a padded batch."""
    torch.manual_seed(len(lengths) + size)
    masked, plain = MaskedBatchNorm(channels), nn.BatchNorm1d(channels)
    with torch.no_grad():
        masked.weight.uniform_(0.5, 2)
        masked.bias.normal_()
    plain.load_state_dict(masked.state_dict())
    valid = torch.arange(size)[:, None] < lengths
    inputs = torch.randn(size, len(lengths), channels) * 3 + 1
    return masked, plain, valid, inputs


@given(LENGTHS.filter(lambda lengths: sum(lengths) > 8), st.integers(0, 4))
def test_statistics_are_those_of_valid_frames(lengths, padding):
    lengths = torch.tensor(lengths)
    masked, plain, valid, inputs = masked_and_plain(lengths, int(lengths.max()) + padding)
    own, other = inputs.clone().requires_grad_(), inputs[valid].requires_grad_()
    gradient = torch.randn(int(lengths.sum()), 5)
    outputs = normalized(masked, own, valid)
    expected = plain(other)
    assert torch.allclose(outputs, expected, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(outputs, [own, *masked.parameters()], gradient),
        torch.autograd.grad(expected, [other, *plain.parameters()], gradient),
        strict=True,
    ):
        ours = ours[valid] if ours.dim() == 3 else ours
        assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4)
    for name, buffer in plain.state_dict().items():
        assert torch.allclose(masked.state_dict()[name].float(), buffer.float(), atol=1e-5, rtol=1e-5), name


def test_eval_mode_uses_running_statistics():
    masked, plain, valid, inputs = masked_and_plain(torch.tensor([4, 2]), 4)
    for norm in (masked, plain):
        norm.running_mean.fill_(0.3)
        norm.running_var.fill_(2.0)
        norm.eval()
    outputs = normalized(masked, inputs, valid)
    assert torch.allclose(outputs, plain(inputs[valid]), atol=1e-5)
    assert masked.num_batches_tracked == 0


def test_images_are_normalised_as_by_batch_norm_2d():
    torch.manual_seed(0)
    masked, plain, inputs = MaskedBatchNorm(3), nn.BatchNorm2d(3), torch.randn(2, 3, 4, 6) + 2
    outputs = masked(inputs, torch.tensor(2 * 4 * 6), channel=1)
    assert torch.allclose(outputs, plain(inputs), atol=1e-5)
    assert torch.allclose(masked.running_var, plain.running_var, atol=1e-5)


def test_one_valid_frame_gives_finite_values():
    masked, valid = MaskedBatchNorm(2), torch.tensor([[True, False]]).T
    assert torch.isfinite(normalized(masked, torch.randn(2, 1, 2), valid)).all()
    assert torch.isfinite(masked.running_var).all()


def test_a_common_offset_does_not_degrade_the_variance():
    """With a mean far from zero a sum of squares cancels."""
    masked, plain, valid, inputs = masked_and_plain(torch.tensor([50, 20, 35]), 50)
    inputs += 30
    outputs = normalized(masked, inputs, valid)
    assert torch.allclose(outputs, plain(inputs[valid]), atol=1e-3)
