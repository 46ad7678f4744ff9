"""Connectionist temporal classification (Graves et al., 2006)."""

from __future__ import annotations

import torch
from torch import Tensor

from deepspeech.decoding.alignment import minimum_frames


def ctc_losses(
    log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, blank: int
) -> Tensor:
    """Negative log-likelihood of every target, (batch,) float32; 0 where the frames are `too_short`.

    On a GPU torch copies the lengths there at every call, and the host waits for the forward pass.
    No other place in a training step makes the host wait.

    Args:
        log_probs: (batch, frames, labels) float32.
        lengths: (batch,) int64 valid frames, on the CPU.
        targets: (sum of target_lengths,) int64 label indices, concatenated.
        target_lengths: (batch,) int64, on the CPU.
        blank: Index of the blank label.
    """
    return torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1),
        targets.to(log_probs.device, non_blocking=True),
        lengths,
        target_lengths,
        blank=blank,
        reduction="none",
        zero_infinity=True,
    )


def uniform_losses(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Negative log-likelihood of every target, its labels spread evenly over the frames, (batch,) float32.

    Cross-entropy frame by frame, without blanks: a flat start, from which CTC finds the alignments without
    first writing blanks only for epochs. 0 for an empty target. Arguments are those of `ctc_losses`.
    """
    if not len(targets):
        return 0 * log_probs.sum((1, 2))
    frames = torch.arange(log_probs.shape[1])
    starts = (target_lengths.cumsum(0) - target_lengths)[:, None]
    place = starts + frames * target_lengths[:, None] // lengths.clamp(min=1)[:, None]
    valid = (frames < lengths[:, None]) & (target_lengths[:, None] > 0)
    labels = targets.to(log_probs.device)[(place * valid).to(log_probs.device)]
    chosen = log_probs.gather(2, labels[:, :, None])[:, :, 0]
    return -(chosen * valid.to(log_probs.device)).sum(1)


def too_short(lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Which utterances have fewer frames than their target needs: (batch,) bool. See `ctc_losses`."""
    return lengths < minimum_frames(targets, target_lengths)
