"""Log-probabilities -> text."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from deepspeech.config import DecoderConfig
from deepspeech.errors import InputError
from deepspeech.labels import Labels
from deepspeech.options import flag_names


@dataclass(frozen=True)
class Hypothesis:
    """What a decoder read."""

    text: str
    offsets: list[int]  # output frame at which each character of the text begins
    score: float  # what the decoder ranked by; greedy: log-probability of the path
    acoustic_score: float = 0.0  # log-probability by the network
    lm_score: float = 0.0  # log-probability by the language model, before its weight


class Decoder(Protocol):
    """Turns the output of a network into text."""

    def decode(self, log_probs: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """Hypotheses of every utterance, best first.

        Args:
            log_probs: (batch, frames, labels).
            lengths: (batch,) int64 valid frames.
        """


def make_decoder(config: DecoderConfig, labels: Labels) -> Decoder:
    """The decoder that was asked for.

    Raises:
        InputError: The flags contradict each other, or beam search cannot be set up.
    """
    if config.decoder == "beam":
        from deepspeech.beam import BeamCTCDecoder  # which builds on this module

        return BeamCTCDecoder(labels, config)
    for entry in fields(config):
        if (value := getattr(config, entry.name)) != entry.default:
            flag = flag_names(entry)[0] + ("" if value is True else f" {value}")
            raise InputError(f"{flag}: greedy decoding has no use for it; pass --decoder beam")
    return GreedyDecoder(labels)


def description(decoder: Decoder) -> dict[str, dict[str, Any]]:
    """What deepspeech.pytorch's transcripts say of the decoder and its language model."""
    config = getattr(decoder, "config", DecoderConfig())
    lm = config.lm_path is not None
    weights = {"alpha": config.alpha if lm else None, "beta": config.beta if lm else None}
    return {
        "language_model": {"name": os.path.basename(config.lm_path) if lm else None},
        "decoder": {"lm": lm, **weights, "type": config.decoder},
    }


class GreedyDecoder:
    """The most probable label of every frame, repeats merged, blanks left out.

    Args:
        labels: What the network writes.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels

    def decode(self, log_probs: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """One hypothesis for every utterance; see `Decoder.decode`."""
        best, ids = log_probs.max(dim=2)  # (batch, frames)
        valid = torch.arange(ids.shape[1], device=ids.device) < lengths.to(ids.device)[:, None]
        scores = torch.where(valid, best, 0).sum(dim=1)
        begins = valid & (ids != self.labels.blank)
        begins[:, 1:] &= ids[:, 1:] != ids[:, :-1]
        ids = torch.where(begins, ids, -1).cpu().numpy()  # the one transfer of a batch
        return [[self._hypothesis(row, score)] for row, score in zip(ids, scores.tolist(), strict=True)]

    def _hypothesis(self, ids: np.ndarray, score: float) -> Hypothesis:
        offsets = np.flatnonzero(ids >= 0)
        return Hypothesis(self.labels.decode(ids[offsets].tolist()), offsets.tolist(), score, score)
