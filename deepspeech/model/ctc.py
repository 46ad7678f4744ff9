"""Connectionist temporal classification (Graves et al., 2006)."""

from __future__ import annotations

import torch
from torch import Tensor

from deepspeech.data.batch import Batch


def ctc_losses(log_probs: Tensor, lengths: Tensor, batch: Batch, blank: int) -> Tensor:
    """Negative log-likelihood of every target, (batch,) float32; 0 where `too_short` says so.

    For a GPU torch copies the lengths there at every call, and the host waits until that is done,
    after the forward pass. It is the only place in a training step where the host waits.

    Args:
        log_probs: (batch, frames, labels) float32.
        lengths: (batch,) int64 valid frames, on the CPU.
        batch: The targets.
        blank: Index of the blank label.
    """
    return torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1),
        batch.targets.to(log_probs.device, non_blocking=True),
        lengths,
        batch.target_lengths,
        blank=blank,
        reduction="none",
        zero_infinity=True,
    )


def too_short(lengths: Tensor, batch: Batch) -> list[int]:
    """Dataset indices of the utterances whose transcript cannot fit their frames.

    A target needs a frame for every character and one more between two equal ones.

    Args:
        lengths: (batch,) int64 frames of the network's output.
        batch: Targets, on the CPU.
    """
    found = []
    targets = batch.targets.split(batch.target_lengths.tolist())
    for index, frames, target in zip(batch.indices, lengths.tolist(), targets, strict=True):
        if frames < len(target) + int((target[1:] == target[:-1]).sum()):
            found.append(index)
    return found
