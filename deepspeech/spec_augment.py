"""SpecAugment: features that are warped in time, with bands of frequencies and spans of time masked.

Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech
Recognition" (2019). Two differences: time is warped by piecewise linear interpolation
instead of a thin-plate spline, which is the same map along the line that is warped and
costs a hundredth of the time; and the features have linear bins, not mel bins, so that the
same numbers mask a smaller share of them.
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
    reach = policy.time_warp
    if 0 < 2 * reach < frames:  # else no frame is `reach` away from both ends
        centre = int(random.integers(reach, frames - reach))
        features = time_warp(features, centre, int(random.integers(1 - reach, reach)))
    else:
        features = features.clone()
    for _ in range(policy.frequency_masks):
        features[_span(bins, policy.frequency_mask, random)] = 0
    for _ in range(policy.time_masks):
        longest = min(policy.time_mask, int(policy.time_share * frames))
        features[:, _span(frames, longest, random)] = 0
    return features


def time_warp(features: Tensor, centre: int, shift: int) -> Tensor:
    """Move frame `centre` by `shift` frames; stretch what lies on one side of it, squeeze the other.

    Args:
        features: (bins, frames).
        centre: A frame, neither the first nor the last.
        shift: Frames, to the right where positive; must leave `centre` between the ends.
    """
    last = features.shape[1] - 1
    source = np.interp(np.arange(last + 1), [0, centre + shift, last], [0, centre, last])
    before = np.minimum(source.astype(np.int64), last - 1)
    weight = torch.from_numpy((source - before).astype(np.float32))[:, None]
    rows, index = features.T, torch.from_numpy(before)  # frames lie one after the other in memory
    return torch.lerp(rows.index_select(0, index), rows.index_select(0, index + 1), weight).T


def _span(size: int, longest: int, random: np.random.Generator) -> slice:
    """A random part of an axis."""
    width = int(random.integers(min(longest, size) + 1))
    start = int(random.integers(size - width + 1))
    return slice(start, start + width)
