"""Greedy decoding."""

from __future__ import annotations

import numpy as np

from deepspeech.decoding.decoder import Array, Hypothesis, Partial
from deepspeech.labels import Labels


class GreedyDecoder:
    """The most probable label of every frame, repeats merged, blanks left out."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels

    def decode(self, log_probs: Array, lengths: Array) -> list[list[Hypothesis]]:
        """One hypothesis for every utterance; see `Decoder.decode`."""
        if isinstance(log_probs, np.ndarray):
            best, ids = log_probs.max(axis=2), log_probs.argmax(axis=2)
        else:  # only these leave a GPU
            best, ids = (each.cpu().numpy() for each in log_probs.detach().max(dim=2))
        result = []
        for row, length in enumerate(lengths.tolist()):
            stream = self.stream()
            stream.extend(ids[row, :length], best[row, :length])
            result.append(stream.finish())
        return result

    def stream(self) -> GreedyStream:
        """Start an utterance."""
        return GreedyStream(self.labels)


class GreedyStream:
    """Greedy decoding of one utterance; all text is committed at once."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.last = labels.blank  # label of the last frame
        self.frames, self.score, self.text = 0, 0.0, ""
        self.offsets: list[int] = []

    def feed(self, log_probs: np.ndarray) -> Partial:
        """See `DecoderStream.feed`."""
        return self.extend(log_probs.argmax(axis=1), log_probs.max(axis=1, initial=-np.inf))

    def extend(self, ids: np.ndarray, log_probs: np.ndarray) -> Partial:
        """`feed` the best label (frames,) of every frame and its log-probability (frames,)."""
        starts = (ids != self.labels.blank) & (ids != np.append(self.last, ids[:-1]))
        self.text += self.labels.decode(ids[starts].tolist())
        self.offsets += (np.flatnonzero(starts) + self.frames).tolist()
        self.score += float(log_probs.sum())
        self.frames += len(ids)
        self.last = ids[-1] if len(ids) else self.last
        return Partial(self.text, "")

    def finish(self) -> list[Hypothesis]:
        """See `DecoderStream.finish`."""
        return [Hypothesis(self.text, self.offsets, self.score, self.score)]
