"""Log-probabilities -> text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor


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


@runtime_checkable
class StreamingDecoder(Decoder, Protocol):
    """A decoder that can also decode an utterance while it comes."""

    def stream(self) -> DecoderStream:
        """Start to decode an utterance."""
