"""Streams of the same model that advance together: their chunks run as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepspeech.decoding.decoder import Partial
from deepspeech.inference.stream import PIECE, Stream


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
        groups.setdefault((len(chunk), stream.network.shapes(stream.state)), []).append(place)
    found: dict[int, Partial] = {}
    for (size, _), places in groups.items():
        group = [streams[place] for place in places]
        if size > PIECE * group[0].sample_rate:
            found |= {place: streams[place].advance(chunks[place]) for place in places}
            continue
        samples = np.stack([chunks[place] for place in places])
        network = group[0].network
        log_probs, state = network.advance(samples, network.join([stream.state for stream in group]))
        for row, (place, stream) in enumerate(zip(places, group, strict=True)):
            stream.state = network.part(state, row)
            found[place] = stream.absorb(log_probs[row], chunks[place])
    return [found[place] for place in range(len(streams))]
