"""Log-probabilities -> text: what every decoder offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Array: TypeAlias = "Tensor | np.ndarray"  # what networks compute: tensors in torch, arrays in onnxruntime


def as_numpy(values: Array) -> np.ndarray:
    """Values on the host; bfloat16, which numpy lacks, as float32."""
    if isinstance(values, np.ndarray):
        return values
    values = values.detach().cpu()
    array: np.ndarray = (values.float() if values.is_floating_point() else values).numpy()
    return array


@dataclass(frozen=True)
class Hypothesis:
    """A possible transcript of an utterance."""

    text: str
    offsets: list[int]  # output frame at which each character of the text starts
    score: float  # what the decoder ranks by; greedy: log-probability of the path
    acoustic_score: float = 0.0  # log-probability by the network
    lm_score: float = 0.0  # log-probability by the language model, before its weight


@dataclass(frozen=True)
class Partial:
    """The text of a stream so far."""

    committed: str  # final
    tentative: str  # what follows it, and may still change

    @property
    def text(self) -> str:
        return self.committed + self.tentative


class DecoderStream(Protocol):
    """Decodes one utterance as it comes, to the text that its `Decoder` gives for the whole."""

    def feed(self, log_probs: np.ndarray) -> Partial:
        """Take the next (frames, labels) float32; there may be no frames."""

    def finish(self) -> list[Hypothesis]:
        """End the utterance. Returns hypotheses, best first; nothing can be fed afterwards."""


class Decoder(Protocol):
    """Turns the output of a network into text."""

    def decode(self, log_probs: Array, lengths: Array) -> list[list[Hypothesis]]:
        """Hypotheses of every utterance, best first.

        Args:
            log_probs: (batch, frames, labels).
            lengths: (batch,) int64 valid frames.
        """


@runtime_checkable
class StreamingDecoder(Decoder, Protocol):
    """A decoder that can also decode an utterance while it comes."""

    def stream(self) -> DecoderStream:
        """Start an utterance."""
