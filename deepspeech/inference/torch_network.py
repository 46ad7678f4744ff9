"""A network that torch runs, with its features."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepspeech.audio.features import Spectrogram, SpectrogramState
from deepspeech.data.batch import padded_samples
from deepspeech.device import autocast
from deepspeech.model.deepspeech2 import DeepSpeech, State

BATCH_AXIS = {"held": 0, "sums": 0, "conv": 0, "rnns": 1, "lookahead": 0}  # of each part of a state


@dataclass(frozen=True)
class StreamState:
    """What features and network carry from chunk to chunk; None at the start."""

    audio: SpectrogramState | None = None
    network: State | None = None


class TorchNetwork:
    """Waveforms to log-probabilities.

    Args:
        model: Put into eval mode.
        dtype: Format of autocast; float32 for none.
    """

    def __init__(self, model: DeepSpeech, dtype: torch.dtype = torch.float32) -> None:
        self.model, self.dtype = model.eval(), dtype
        self.device = next(model.parameters()).device
        self.spectrogram = Spectrogram(model.config.features).to(self.device)

    @torch.inference_mode()
    def log_probs(self, waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """See `Recognizer.log_probs`."""
        with autocast(self.device, self.dtype):
            log_probs, lengths = self.model(*self.features(waveforms))
        return log_probs, lengths

    def features(self, waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """The network's input for waveforms (samples,): (batch, bins, frames), and (batch,) frame counts."""
        lengths = torch.tensor([len(waveform) for waveform in waveforms])  # on the host, see `Batch.to`
        rows = torch.zeros(len(waveforms), padded_samples(int(lengths.max())))
        for row, waveform in zip(rows, waveforms, strict=True):
            row[: len(waveform)] = torch.from_numpy(waveform)
        features, frames = self.spectrogram(rows.to(self.device), lengths)
        return features, frames

    def start(self) -> StreamState:
        """The state at the start of an utterance."""
        return StreamState()

    @torch.inference_mode()
    def advance(
        self, samples: np.ndarray, state: StreamState, final: bool = False
    ) -> tuple[np.ndarray, StreamState]:
        """The next output for one stream, or for several in a batch.

        Args:
            samples: (batch, samples) float32.
            state: After the samples before.
            final: Whether the utterances end with these.

        Returns:
            Log-probabilities (batch, frames, labels), perhaps of no frames, and the new state.
        """
        waveforms = torch.from_numpy(np.ascontiguousarray(samples)).to(self.device)
        features, lengths, audio = self.spectrogram.forward_chunk(waveforms, None, state.audio, final)
        if not (features.shape[2] or final):
            nothing = np.zeros((len(samples), 0, len(self.model.labels)), np.float32)
            return nothing, StreamState(audio, state.network)
        with autocast(self.device, self.dtype):
            output, _, network = self.model.forward_chunk(features, lengths, state.network, final)
        return output.cpu().numpy(), StreamState(audio, network)

    def shapes(self, state: StreamState) -> Hashable:
        """The shapes of all parts of a state; None for what is not there yet."""
        halves = state.audio, state.network
        values = [getattr(half, field.name) for half in halves if half for field in fields(half)]
        return tuple(None if each is None else tuple(each.shape) for each in _tensors(values))

    def join(self, states: Sequence[StreamState]) -> StreamState:
        """One state of a batch from states of the same shapes."""
        if len(states) == 1:
            return states[0]
        halves = zip(*((each.audio, each.network) for each in states), strict=True)
        return StreamState(*(_map(half, torch.cat) for half in halves))

    def part(self, state: StreamState, row: int) -> StreamState:
        """The state of one stream of a batch."""
        halves = state.audio, state.network
        return StreamState(
            *(_map([half], lambda each, axis: each[0].narrow(axis, row, 1)) for half in halves)
        )


def _map(halves: Sequence[Any], combine: Any) -> Any:
    """Halves of states, all alike, combined part by part."""
    if halves[0] is None:
        return None
    names = [field.name for field in fields(halves[0])]
    parts = {
        name: _each([getattr(half, name) for half in halves], BATCH_AXIS[name], combine) for name in names
    }
    return type(halves[0])(**parts)


def _each(values: Sequence[Any], axis: int, combine: Any) -> Any:
    if values[0] is None:
        return None
    if isinstance(values[0], tuple):
        return tuple(_each(each, axis, combine) for each in zip(*values, strict=True))
    return combine(values, axis)


def _tensors(values: Sequence[Any]) -> Iterator[Tensor | None]:
    for value in values:
        if isinstance(value, tuple):
            yield from _tensors(value)
        else:
            yield value
