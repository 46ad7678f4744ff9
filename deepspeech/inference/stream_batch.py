"""Streams of the same model that advance together: their chunks run as one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from torch import Tensor, cat

from deepspeech.decoding.decoder import Partial
from deepspeech.inference.stream import PIECE, Stream, StreamState

BATCH_AXIS = {"held": 0, "sums": 0, "conv": 0, "rnns": 1, "lookahead": 0}  # of each part of a state


def advance(streams: Sequence[Stream], chunks: Sequence[np.ndarray]) -> list[Partial]:
    """The second half of `Stream.feed` for several streams, each once.

    Those whose chunks and states have the same shapes run as one batch.

    Args:
        streams: Of one recogniser.
        chunks: What `Stream.prepare` gave for each, (samples,).

    Returns:
        The text so far of each.
    """
    groups: dict[Any, list[int]] = {}
    for place, (stream, chunk) in enumerate(zip(streams, chunks, strict=True)):
        groups.setdefault((len(chunk), *shapes(stream.state)), []).append(place)
    found: dict[int, Partial] = {}
    for (size, *_), places in groups.items():
        group = [streams[place] for place in places]
        if size > PIECE * group[0].sample_rate:
            found |= {place: streams[place].advance(chunks[place]) for place in places}
            continue
        samples = np.stack([chunks[place] for place in places])
        log_probs, state = group[0].compute(samples, join([stream.state for stream in group]))
        for row, (place, stream) in enumerate(zip(places, group, strict=True)):
            stream.state = part(state, row)
            found[place] = stream.absorb(log_probs[row], chunks[place])
    return [found[place] for place in range(len(streams))]


def shapes(state: StreamState) -> Iterator[tuple[int, ...] | None]:
    """The shapes of all parts of a state; None for what is not there yet."""
    for half in (state.audio, state.network):
        values = [getattr(half, field.name) for field in fields(half)] if half else [None]
        yield from (None if each is None else tuple(each.shape) for each in _tensors(values))


def join(states: Sequence[StreamState]) -> StreamState:
    """One state of a batch from states of the same shapes."""
    if len(states) == 1:
        return states[0]
    return StreamState(*(_map(halves, _cat) for halves in zip(*map(_halves, states), strict=True)))


def part(state: StreamState, row: int) -> StreamState:
    """The state of one stream of a batch."""
    return StreamState(
        *(_map([half], lambda each, axis: each[0].narrow(axis, row, 1)) for half in _halves(state))
    )


def _halves(state: StreamState) -> tuple[Any, Any]:
    return state.audio, state.network


def _cat(tensors: Sequence[Tensor], axis: int) -> Tensor:
    return cat(list(tensors), axis)


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
