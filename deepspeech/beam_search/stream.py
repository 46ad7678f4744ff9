"""Beam search that goes on as log-probabilities come, in memory that does not grow.

Every second the part of the text that all hypotheses share is committed: it can never change any
more, so the search forgets how it came about. That happens at fixed frames, whatever the chunks,
and offline decoding is one chunk: both give the same texts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from deepspeech.beam_search.config import DecoderConfig
from deepspeech.decoding.decoder import Hypothesis, Partial
from deepspeech.labels import Labels

NONE = float("-inf")
COMMIT = 50  # output frames between two commitments, a second; twice as many after each in vain
HORIZON = 1500  # frames, 30 seconds: if the hypotheses differ for longer, the best one is committed


class BeamStream(ABC):
    """The beam search of one utterance.

    Args:
        labels: What the network writes.
        config: Beam width and weights.
        tidy: Whether spaces at the ends and behind another space are left out of texts.
    """

    def __init__(self, labels: Labels, config: DecoderConfig, tidy: bool) -> None:
        self.labels, self.config, self.tidy = labels, config, tidy
        self.space = labels.index(" ") if tidy and " " in labels else -1
        self.frames = 0  # heard so far
        self.begin = 0  # where the frames begin that the search remembers
        self.wait = self.due = COMMIT  # frames to the next commitment, and when it is
        self.text = ""  # committed; a space at its end is not shown yet
        self.offsets: list[int] = []  # frame at which each character of it begins
        self.last = self.space  # label at its end

    def feed(self, log_probs: np.ndarray) -> Partial:
        """See `DecoderStream.feed`."""
        self.advance(log_probs)
        return self.partial()

    def advance(self, log_probs: np.ndarray) -> None:
        """Go on without telling the text so far."""
        cut = self.config.cutoff_prob, self.config.cutoff_top_n
        log_probs = cut_off(log_probs, self.labels.blank, *cut)
        while len(log_probs):
            room = self.due - self.frames
            self.search(log_probs[:room])
            self.frames += len(log_probs[:room])
            log_probs = log_probs[room:]
            if self.frames == self.due:
                begin = self.begin
                self.commit(forced=self.frames - begin >= HORIZON)
                self.wait = COMMIT if self.begin > begin else 2 * self.wait
                last = max(self.begin + HORIZON, self.frames + COMMIT)
                self.due = min(self.frames + self.wait, last)

    def partial(self) -> Partial:
        """The text so far."""
        ids = self.best()
        text = self.text + self.labels.decode(ids[index] for index in self.written(ids))
        if not self.tidy:
            return Partial(self.text, text[len(self.text) :])
        committed = self.text.removesuffix(" ")
        return Partial(committed, text.removesuffix(" ")[len(committed) :])

    def finish(self) -> list[Hypothesis]:
        """See `DecoderStream.finish`."""
        if not self.frames:
            return [Hypothesis("", [], 0.0)]
        return self.hypotheses()[: self.config.top_paths]

    @abstractmethod
    def search(self, log_probs: np.ndarray) -> None:
        """Advance the beam over some frames (frames, labels); -inf rules a label out."""

    @abstractmethod
    def hypotheses(self) -> list[Hypothesis]:
        """End the search: what is left in the beam, best first."""

    @abstractmethod
    def best(self) -> Sequence[int]:
        """The labels behind the committed text in the best hypothesis at the moment."""

    @abstractmethod
    def commit(self, forced: bool) -> None:
        """Commit what all hypotheses share; if `forced`, what the best one has."""

    def written(self, ids: Sequence[int]) -> list[int]:
        """Which of some labels behind the committed text are written."""
        before = [self.last, *ids]
        return [index for index, label in enumerate(ids) if not before[index] == label == self.space]

    def append(self, ids: Sequence[int], offsets: Sequence[int]) -> None:
        """Add labels to the committed text, with the frames at which they begin."""
        written = self.written(ids)
        self.text += self.labels.decode(ids[index] for index in written)
        self.offsets += [int(offsets[index]) for index in written]
        self.last = ids[-1] if len(ids) else self.last

    def whole(self, ids: Sequence[int], offsets: Sequence[int]) -> tuple[str, list[int]]:
        """The committed text and its offsets with some last labels behind."""
        written = self.written(ids)
        text = self.text + self.labels.decode(ids[index] for index in written)
        text = text.removesuffix(" ") if self.tidy else text
        return text, [*self.offsets, *(int(offsets[index]) for index in written)][: len(text)]


def cut_off(log_probs: np.ndarray, blank: int, probability: float, count: int) -> np.ndarray:
    """Rule out the improbable labels of every frame; the blank always stays.

    Args:
        log_probs: (frames, labels).
        blank: Index of the blank.
        probability: The most probable labels stay, until they sum up to this; 1 for all.
        count: At most so many stay.

    Returns:
        (frames, labels) with -inf for what is ruled out.
    """
    if probability >= 1 and count >= log_probs.shape[1]:
        return log_probs
    order = np.argsort(-log_probs, axis=1, kind="stable")
    ranked = np.exp(np.take_along_axis(log_probs, order, axis=1).astype(np.float64))
    out = np.arange(log_probs.shape[1]) >= count
    if probability < 1:
        out = out | (ranked.cumsum(axis=1) - ranked >= probability)
    mask = np.zeros(log_probs.shape, dtype=bool)
    np.put_along_axis(mask, order, np.broadcast_to(out, order.shape), axis=1)
    mask[:, blank] = False
    return np.where(mask, NONE, log_probs)
