"""SpecAugment: warping of features in time, masking of frequency bands and of spans of time.

Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition" (2019). Two
differences: time is warped by piecewise linear interpolation instead of a thin-plate spline, which is the
same map along the warped line and a hundred times as fast; and the features have linear bins, not mel bins,
so that masks of the paper's sizes cover a smaller share of them.

Random numbers are drawn separately from their application: worker processes draw them, and the device that
computes the features warps and masks a whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Policy:
    """The parameters of the paper's table 1.

    Those of `adaptive` suit short utterances: many time masks, each a small share of the utterance (Park et
    al., "SpecAugment on Large Scale Datasets", 2020), and frequency masks for mel features.
    """

    time_warp: int  # W: a frame moves by less than this many frames
    frequency_mask: int  # F: maximum bins of a mask
    frequency_masks: int  # their number
    time_mask: int  # T: maximum frames of a mask
    time_share: float  # p: ... and maximum share of the utterance
    time_masks: int  # their number


POLICIES = {
    "original": Policy(40, 27, 1, 70, 1.0, 1),  # of deepspeech.pytorch
    "LB": Policy(80, 27, 1, 100, 1.0, 1),
    "LD": Policy(80, 27, 2, 100, 1.0, 2),
    "SM": Policy(40, 15, 2, 70, 0.2, 2),
    "SS": Policy(40, 27, 2, 70, 0.2, 2),
    "adaptive": Policy(0, 15, 2, 70, 0.04, 10),
}


def spec_augment(features: Tensor, policy: Policy, random: np.random.Generator) -> Tensor:
    """Warp and mask one utterance.

    Args:
        features: (bins, frames), normalised, so that masks of zeros are masks of the mean.
        policy: Sizes and numbers of the masks.
        random: Chooses the frames and bins.

    Returns:
        A new tensor (bins, frames).
    """
    bins, frames = features.shape
    drawn = draw_warp_and_masks(policy, bins, frames, random)
    return warp_and_mask(features[None], torch.tensor([frames]), drawn[None], policy)[0]


def draw_warp_and_masks(policy: Policy, bins: int, frames: int, random: np.random.Generator) -> Tensor:
    """Draw the random numbers of an utterance of `frames` frames, for `warp_and_mask`.

    Returns:
        int64 (2 + 2 * masks,): the frame to move and by how many frames (0, 0 for no warp), then start and
        end bin of each frequency mask, then start and end frame of each time mask; ends are exclusive.
    """
    reach, warp = policy.time_warp, (0, 0)
    if 0 < 2 * reach < frames:  # otherwise no frame is `reach` away from both ends
        warp = int(random.integers(reach, frames - reach)), int(random.integers(1 - reach, reach))
    longest = min(policy.time_mask, int(policy.time_share * frames))
    spans = [_span(bins, policy.frequency_mask, random) for _ in range(policy.frequency_masks)]
    spans += [_span(frames, longest, random) for _ in range(policy.time_masks)]
    return torch.tensor([warp, *spans], dtype=torch.int64).flatten()


def warp_and_mask(features: Tensor, lengths: Tensor, drawn: Tensor, policy: Policy) -> Tensor:
    """Warp and mask a batch, without waiting for its device.

    Args:
        features: (batch, bins, frames), normalised, zero beyond each utterance's end.
        lengths: (batch,) int64 valid frames.
        drawn: (batch, numbers) int64, from `draw_warp_and_masks` for each utterance.
        policy: The policy that the numbers were drawn for.

    Returns:
        A new tensor (batch, bins, frames), zero beyond each utterance's end.
    """
    spans, masks = drawn.reshape(len(drawn), -1, 2), 1 + policy.frequency_masks
    warp, bin_masks, frame_masks = spans[:, 0], spans[:, 1:masks], spans[:, masks:]
    if policy.time_warp:
        features = time_warp(features, lengths, *warp.unbind(1))
    bins, frames = (torch.arange(size, device=features.device) for size in features.shape[1:])
    kept_frames = ~_within(frame_masks, frames) & (frames < lengths[:, None])
    return features * ~_within(bin_masks, bins)[:, :, None] * kept_frames[:, None]


def time_warp(features: Tensor, lengths: Tensor, centres: Tensor, shifts: Tensor) -> Tensor:
    """Move a frame of each utterance, stretching the frames on one side of it and squeezing the others.

    Args:
        features: (batch, bins, frames).
        lengths: (batch,) int64 valid frames.
        centres: (batch,) int64, the frames to move.
        shifts: (batch,) int64 frames, to the right where positive; a moved centre must lie between the ends.
            0 changes nothing.

    Returns:
        (batch, bins, frames), undefined beyond each utterance's end.
    """
    batch, bins, size = features.shape
    time = torch.arange(size, device=features.device)
    last, centre, target = (each[:, None] for each in (lengths - 1, centres, centres + shifts))
    left_part = time * centre / target.clamp(min=1).double()  # position of frame `time` in the input
    right_part = centre + (time - target) * (last - centre) / (last - target).clamp(min=1).double()
    source = torch.where(time <= target, left_part, right_part).minimum(last)
    left = source.long().minimum(last - 1).clamp(min=0)
    weight = (source - left).float().flatten()[:, None]
    rows = features.transpose(1, 2).reshape(-1, bins)  # each frame contiguous in memory
    first = size * torch.arange(batch, device=features.device)[:, None]
    start, end = (
        rows.index_select(0, (first + index).flatten()) for index in (left, (left + 1).clamp(max=size - 1))
    )
    return torch.lerp(start, end, weight).view(batch, size, bins).transpose(1, 2)


def _span(size: int, longest: int, random: np.random.Generator) -> tuple[int, int]:
    """Start and end of a random part of an axis."""
    width = int(random.integers(min(longest, size) + 1))
    start = int(random.integers(size - width + 1))
    return start, start + width


def _within(spans: Tensor, positions: Tensor) -> Tensor:
    """Whether positions lie in any of an utterance's spans: (batch, spans, 2) -> (batch, positions)."""
    return ((positions >= spans[..., :1]) & (positions < spans[..., 1:])).any(1)
