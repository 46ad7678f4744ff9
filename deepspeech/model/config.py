"""Options of the network, and its timing, which follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from deepspeech.audio.config import FeatureConfig
from deepspeech.audio.sliding import Window
from deepspeech.errors import InputError
from deepspeech.options import FRACTION, POSITIVE, Options, one_of, option

CONV_TIME = Window(11, 2, 5, 5), Window(11, 1, 5, 5)  # what the convolutions see over time


@dataclass(frozen=True)
class ModelConfig(Options):
    """Model"""

    hidden_size: int = option(1024, "units per recurrent layer and direction", POSITIVE)
    hidden_layers: int = option(5, "number of recurrent layers", POSITIVE)
    rnn_type: str = option("lstm", "recurrent cell", one_of("lstm", "gru", "rnn"))
    bidirectional: bool = option(True, "process utterances in both directions")
    dropout: float = option(0.0, "share of the outputs of recurrent layers set to zero in training", FRACTION)
    lookahead_context: int = option(
        20, "frames that the lookahead convolution sees, the current one included", POSITIVE
    )
    labels: tuple[str, ...] = ()
    features: FeatureConfig = FeatureConfig()

    @property
    def streams(self) -> bool:
        """Whether the model can stream."""
        return not self.bidirectional and self.features.normalize == "running"

    def require_streaming(self) -> None:
        """Check that the model can stream.

        Raises:
            InputError: It cannot; the message says why, and what to train.
        """
        reasons = ["processes utterances in both directions"] if self.bidirectional else []
        if self.features.normalize != "running":
            reasons.append("normalises by the statistics of whole utterances")
        if reasons:
            raise InputError(
                f"the model cannot stream: it {' and '.join(reasons)}; "
                "train one with --no-bidirectional --normalize running"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        features = FeatureConfig.from_dict(values["features"])
        return super().from_dict({**values, "labels": tuple(values["labels"]), "features": features})

    @property
    def frame_seconds(self) -> float:
        """Seconds from one output frame to the next."""
        return self.features.window_stride * math.prod(window.stride for window in CONV_TIME)

    @property
    def latency(self) -> float:
        """Seconds from a sound to the earliest moment at which a streaming model can write it.

        An output frame waits for the last sample that it sees, through the inputs that the
        lookahead, both convolutions and the STFT see ahead.
        """
        ahead = self.lookahead_context - 1  # inputs of a layer that an output frame sees ahead
        for window in reversed([self.features.frames, *CONV_TIME]):
            ahead = ahead * window.stride + window.size - 1 - window.before
        return (ahead + 1) / self.features.sample_rate


class Configured:
    """A network by whatever runtime, and the timing that follows from its configuration."""

    config: ModelConfig

    @property
    def frame_seconds(self) -> float:
        """See `ModelConfig.frame_seconds`."""
        return self.config.frame_seconds

    @property
    def latency(self) -> float:
        """See `ModelConfig.latency`."""
        return self.config.latency
