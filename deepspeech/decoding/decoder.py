"""Log-probabilities -> text."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from deepspeech.beam_search.config import DecoderConfig
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


@dataclass(frozen=True)
class Partial:
    """What a stream has read so far."""

    committed: str  # stays as it is, whatever comes
    tentative: str  # what stands behind it for now

    @property
    def text(self) -> str:
        return self.committed + self.tentative


class DecoderStream(Protocol):
    """Decodes one utterance as it comes, to the same texts as a `Decoder` the whole."""

    def feed(self, log_probs: np.ndarray) -> Partial:
        """Go on with (frames, labels) float32, perhaps no frames."""

    def finish(self) -> list[Hypothesis]:
        """Hypotheses, best first. Nothing can be fed after this."""


class Decoder(Protocol):
    """Turns the output of a network into text."""

    def decode(self, log_probs: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """Hypotheses of every utterance, best first.

        Args:
            log_probs: (batch, frames, labels).
            lengths: (batch,) int64 valid frames.
        """

    def stream(self) -> DecoderStream:
        """Begin to decode an utterance as it comes."""


def make_decoder(config: DecoderConfig, labels: Labels) -> Decoder:
    """The decoder that was asked for.

    Raises:
        InputError: The flags contradict each other, or beam search cannot be set up.
    """
    if config.decoder == "beam":
        from deepspeech.beam_search.beam_decoder import BeamCTCDecoder  # which builds on this module

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

    def stream(self) -> GreedyStream:
        """Begin to decode an utterance as it comes."""
        return GreedyStream(self.labels)

    def _hypothesis(self, ids: np.ndarray, score: float) -> Hypothesis:
        offsets = np.flatnonzero(ids >= 0)
        return Hypothesis(self.labels.decode(ids[offsets].tolist()), offsets.tolist(), score, score)


class GreedyStream:
    """Greedy decoding of one utterance as it comes. All that it writes stays.

    Args:
        labels: What the network writes.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.last = labels.blank  # label of the last frame
        self.frames, self.score, self.text = 0, 0.0, ""
        self.offsets: list[int] = []

    def feed(self, log_probs: np.ndarray) -> Partial:
        """See `DecoderStream.feed`."""
        ids = log_probs.argmax(axis=1)
        begins = (ids != self.labels.blank) & (ids != np.append(self.last, ids[:-1]))
        self.text += self.labels.decode(ids[begins].tolist())
        self.offsets += (np.flatnonzero(begins) + self.frames).tolist()
        self.score += float(log_probs.max(axis=1, initial=-np.inf).sum())
        self.frames += len(ids)
        self.last = ids[-1] if len(ids) else self.last
        return Partial(self.text, "")

    def finish(self) -> list[Hypothesis]:
        """See `DecoderStream.finish`."""
        return [Hypothesis(self.text, self.offsets, self.score, self.score)]
