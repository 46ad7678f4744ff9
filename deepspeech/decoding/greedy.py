"""Greedy decoding, whole and streaming."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deepspeech.decoding.decoder import Hypothesis, Partial
from deepspeech.labels import Labels


class GreedyDecoder:
    """The most probable label of every frame, repeats merged, blanks left out.

    Args:
        labels: The network's labels.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels

    def decode(self, log_probs: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """One hypothesis for every utterance; see `Decoder.decode`."""
        best, ids = log_probs.max(dim=2)  # (batch, frames)
        valid = torch.arange(ids.shape[1], device=ids.device) < lengths.to(ids.device)[:, None]
        scores = torch.where(valid, best, 0).sum(dim=1)
        starts = valid & (ids != self.labels.blank)
        starts[:, 1:] &= ids[:, 1:] != ids[:, :-1]
        rows = torch.where(starts, ids, -1).cpu().numpy()  # the one transfer of a batch
        return [[self._hypothesis(row, score)] for row, score in zip(rows, scores.tolist(), strict=True)]

    def stream(self) -> GreedyStream:
        """Start an utterance."""
        return GreedyStream(self.labels)

    def _hypothesis(self, ids: np.ndarray, score: float) -> Hypothesis:
        offsets = np.flatnonzero(ids >= 0)
        return Hypothesis(self.labels.decode(ids[offsets].tolist()), offsets.tolist(), score, score)


class GreedyStream:
    """Greedy decoding of one utterance as it comes; all text is committed at once.

    Args:
        labels: The network's labels.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.last = labels.blank  # label of the last frame
        self.frames, self.score, self.text = 0, 0.0, ""
        self.offsets: list[int] = []

    def feed(self, log_probs: np.ndarray) -> Partial:
        """See `DecoderStream.feed`."""
        ids = log_probs.argmax(axis=1)
        starts = (ids != self.labels.blank) & (ids != np.append(self.last, ids[:-1]))
        self.text += self.labels.decode(ids[starts].tolist())
        self.offsets += (np.flatnonzero(starts) + self.frames).tolist()
        self.score += float(log_probs.max(axis=1, initial=-np.inf).sum())
        self.frames += len(ids)
        self.last = ids[-1] if len(ids) else self.last
        return Partial(self.text, "")

    def finish(self) -> list[Hypothesis]:
        """See `DecoderStream.finish`."""
        return [Hypothesis(self.text, self.offsets, self.score, self.score)]
