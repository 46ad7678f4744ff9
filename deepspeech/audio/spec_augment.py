"""SpecAugment: features that are warped in time, with bands of frequencies and spans of time masked.

Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech
Recognition" (2019). Two differences: time is warped by piecewise linear interpolation
instead of a thin-plate spline, which is the same map along the line that is warped and
costs a hundredth of the time; and the features have linear bins, not mel bins, so that the
same numbers mask a smaller share of them.

What happens to an utterance is drawn apart from doing it: worker processes draw, and the batch is
warped and masked at once, on the device where the features are computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Policy:
    """The parameters of the paper's table 1."""

    time_warp: int  # W: a frame moves by less than this many frames
    frequency_mask: int  # F: bins of a mask, at most
    frequency_masks: int  # how many
    time_mask: int  # T: frames of a mask, at most
    time_share: float  # p: ... and at most this share of the utterance
    time_masks: int  # how many


POLICIES = {
    "original": Policy(40, 27, 1, 70, 1.0, 1),  # that of deepspeech.pytorch
    "LB": Policy(80, 27, 1, 100, 1.0, 1),
    "LD": Policy(80, 27, 2, 100, 1.0, 2),
    "SM": Policy(40, 15, 2, 70, 0.2, 2),
    "SS": Policy(40, 27, 2, 70, 0.2, 2),
}


def spec_augment(features: Tensor, policy: Policy, random: np.random.Generator) -> Tensor:
    """Warp and mask one utterance.

    Args:
        features: (bins, frames), normalised, so that a mask of zeros is one of means.
        policy: How much.
        random: Draws the frames and bins.

    Returns:
        A new tensor (bins, frames).
    """
    bins, frames = features.shape
    drawn = draw(policy, bins, frames, random)
    return apply(features[None], torch.tensor([frames]), drawn[None], policy)[0]


def draw(policy: Policy, bins: int, frames: int, random: np.random.Generator) -> Tensor:
    """What `apply` shall do to an utterance of `frames` frames.

    Returns:
        int64 (2 + 2 * masks,): the frame to move and by how many frames (0, 0 for none), then first
        and last + 1 bin of each mask of frequencies, then first and last + 1 frame of each of time.
    """
    reach, warp = policy.time_warp, (0, 0)
    if 0 < 2 * reach < frames:  # else no frame is `reach` away from both ends
        warp = random.integers(reach, frames - reach), random.integers(1 - reach, reach)
    longest = min(policy.time_mask, int(policy.time_share * frames))
    spans = [_span(bins, policy.frequency_mask, random) for _ in range(policy.frequency_masks)]
    spans += [_span(frames, longest, random) for _ in range(policy.time_masks)]
    return torch.tensor([warp, *spans], dtype=torch.int64).flatten()


def apply(features: Tensor, lengths: Tensor, drawn: Tensor, policy: Policy) -> Tensor:
    """Warp and mask a batch, without waiting for its device.

    Args:
        features: (batch, bins, frames), normalised, zero beyond each end.
        lengths: (batch,) int64 valid frames.
        drawn: (batch, numbers) int64, a row of `draw` for each utterance.
        policy: What was drawn from.

    Returns:
        A new tensor (batch, bins, frames), zero beyond each end.
    """
    warp, over_bins, over_time = drawn.unflatten(1, (-1, 2)).split(
        [1, policy.frequency_masks, policy.time_masks], dim=1
    )
    if policy.time_warp:
        features = time_warp(features, lengths, *warp[:, 0].unbind(1))
    bins, frames = (torch.arange(size, device=features.device) for size in features.shape[1:])
    kept_frames = ~_within(over_time, frames) & (frames < lengths[:, None])
    return features * ~_within(over_bins, bins)[:, :, None] * kept_frames[:, None]


def time_warp(features: Tensor, lengths: Tensor, centres: Tensor, shifts: Tensor) -> Tensor:
    """Move a frame of each utterance; stretch what lies on one side of it, squeeze the other.

    Args:
        features: (batch, bins, frames).
        lengths: (batch,) int64 valid frames.
        centres: (batch,) int64, the frames to move.
        shifts: (batch,) int64 frames, to the right where positive; must leave a centre between the
            ends. 0 changes nothing.

    Returns:
        (batch, bins, frames), of no meaning beyond each end.
    """
    batch, bins, size = features.shape
    time = torch.arange(size, device=features.device)
    last, centre, target = (each[:, None] for each in (lengths - 1, centres, centres + shifts))
    before_it = time * centre / target.clamp(min=1).double()  # where in the input frame `time` comes from
    behind_it = centre + (time - target) * (last - centre) / (last - target).clamp(min=1).double()
    source = torch.where(time <= target, before_it, behind_it).minimum(last)
    left = source.long().minimum(last - 1).clamp(min=0)
    weight = (source - left).float().flatten()[:, None]
    rows = features.transpose(1, 2).reshape(-1, bins)  # frames lie one after the other in memory
    first = size * torch.arange(batch, device=features.device)[:, None]
    start, end = (
        rows.index_select(0, (first + index).flatten()) for index in (left, (left + 1).clamp(max=size - 1))
    )
    return torch.lerp(start, end, weight).view(batch, size, bins).transpose(1, 2)


def _span(size: int, longest: int, random: np.random.Generator) -> tuple[int, int]:
    """A random part of an axis: where it begins and where it has ended."""
    width = int(random.integers(min(longest, size) + 1))
    start = int(random.integers(size - width + 1))
    return start, start + width


def _within(spans: Tensor, positions: Tensor) -> Tensor:
    """Whether a position lies in any of an utterance's spans: (batch, spans, 2) -> (batch, positions)."""
    return ((positions >= spans[..., :1]) & (positions < spans[..., 1:])).any(1)
