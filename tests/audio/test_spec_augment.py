from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.audio.augment import AugmentConfig
from deepspeech.audio.spec_augment import (
    POLICIES,
    Policy,
    draw_warp_and_masks,
    spec_augment,
    time_warp,
    warp_and_mask,
)


def ramp(bins: int, frames: int) -> torch.Tensor:
    """Features whose values are their frame numbers."""
    return torch.arange(1.0, frames + 1).repeat(bins, 1)


def warp(features: torch.Tensor, centre: int, shift: int) -> torch.Tensor:
    """Time warp of one utterance (bins, frames)."""
    numbers = (torch.tensor([each]) for each in (features.shape[1], centre, shift))
    return time_warp(features[None], *numbers)[0]


def masked(features: torch.Tensor, dimension: int) -> np.ndarray:
    """Which rows or columns are all zero."""
    return np.flatnonzero((features == 0).all(dimension).numpy())


@given(frames=st.integers(3, 300), data=st.data())
def test_time_warp_moves_a_frame_and_keeps_the_ends(frames, data):
    centre = data.draw(st.integers(1, frames - 2))
    shift = data.draw(st.integers(1 - centre, frames - 2 - centre))
    warped = warp(ramp(2, frames), centre, shift)[0]
    assert warped[centre + shift].item() == pytest.approx(centre + 1, abs=1e-3)
    assert (warped[0].item(), warped[-1].item()) == (1, pytest.approx(frames, abs=1e-3))
    assert (warped.diff() > 0).all()
    steps = warped.diff()  # piecewise linear: one slope on each side
    torch.testing.assert_close(steps[: centre + shift], steps[:1].expand(centre + shift), atol=1e-3, rtol=0)


def test_a_time_warp_by_0_frames_changes_nothing():
    features = torch.randn(161, 50)
    torch.testing.assert_close(warp(features, 20, 0), features)


def test_the_warp_parameter_bounds_how_far_frames_move():
    moves = []
    for seed in range(50):
        policy = Policy(10, 0, 0, 0, 0.0, 0)
        warped = spec_augment(ramp(2, 100), policy, np.random.default_rng(seed))[0]
        moves.append((warped - ramp(1, 100)[0]).abs().max().item())
    assert 7 < max(moves) < 10
    assert min(moves) < 3


@given(
    bins=st.integers(1, 161),
    frames=st.integers(1, 400),
    seed=st.integers(0, 99),
    name=st.sampled_from([*POLICIES]),
)
def test_masks_stay_within_the_policy(bins, frames, seed, name):
    policy, features = POLICIES[name], 1 + torch.rand(bins, frames)
    before = features.clone()
    changed = spec_augment(features, policy, np.random.default_rng(seed))
    assert torch.equal(features, before)
    assert changed.shape == features.shape
    assert changed.isfinite().all()
    columns, rows = masked(changed, 0), masked(changed, 1)
    if len(columns) < frames and len(rows) < bins:
        assert len(rows) <= policy.frequency_masks * policy.frequency_mask
        longest = min(policy.time_mask, int(policy.time_share * frames))
        assert len(columns) <= policy.time_masks * longest
        kept = np.ix_(np.setdiff1d(np.arange(bins), rows), np.setdiff1d(np.arange(frames), columns))
        assert (changed.numpy()[kept] >= 1).all()  # nothing else is zero


def test_mask_widths_range_from_none_to_the_largest():
    random = np.random.default_rng(1)
    features = torch.ones(161, 200)
    original = [spec_augment(features, POLICIES["original"], random) for _ in range(400)]
    widths = [len(masked(each, 0)) for each in original]
    assert (min(widths), max(widths)) == (0, 70)
    heights = [len(masked(each, 1)) for each in original]
    assert (min(heights), max(heights)) == (0, 27)


def test_every_policy_is_a_choice_of_the_option():
    for name in POLICIES:
        assert AugmentConfig(spec_augment=name).spec_augment == name
    assert POLICIES["LD"] == Policy(80, 27, 2, 100, 1.0, 2)


@pytest.mark.parametrize("name", POLICIES)
@given(lengths=st.lists(st.integers(1, 200), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_a_batch_is_augmented_like_its_utterances(name, lengths, seed):
    policy, bins = POLICIES[name], 20
    torch.manual_seed(seed)
    utterances = [torch.randn(bins, frames) for frames in lengths]
    batch = torch.stack(
        [torch.nn.functional.pad(each, (0, max(lengths) - each.shape[1])) for each in utterances]
    )
    drawn = [
        draw_warp_and_masks(policy, bins, frames, np.random.default_rng([seed, frames])) for frames in lengths
    ]
    together = warp_and_mask(batch, torch.tensor(lengths), torch.stack(drawn), policy)
    for row, features, frames in zip(together, utterances, lengths, strict=True):
        alone = spec_augment(features, policy, np.random.default_rng([seed, frames]))
        torch.testing.assert_close(row[:, :frames], alone)
        assert not row[:, frames:].any()
