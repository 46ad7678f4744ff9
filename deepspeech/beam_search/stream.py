"""Beam search that continues as log-probabilities arrive, in memory that does not grow.

Every second the part of the text that all hypotheses share is committed: it can never change any
more, so the search forgets how it came about. That happens at fixed frames, whatever the chunks,
and offline decoding is one chunk: both give the same texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepspeech.beam_search.config import DecoderConfig
from deepspeech.beam_search.prefix_tree import Rules, make_root, new_tree, path, plant
from deepspeech.beam_search.search import advance, keep_best, new_beam
from deepspeech.beam_search.texts import align, shared, whole_texts
from deepspeech.decoding.decoder import Hypothesis, Partial
from deepspeech.errors import InputError
from deepspeech.labels import Labels

COMMIT = 50  # output frames between two commitments, a second; twice as many after each in vain
HORIZON = 1500  # frames, 30 seconds: if the hypotheses differ for longer, the best one is committed
HELD_BACK = COMMIT // 2  # frames in which labels may still move
BEAMS = 8  # of nodes for which a tree has room at first


class BeamStream:
    """The beam search of one utterance.

    Args:
        labels: What the network writes.
        config: Beam width and number of hypotheses.
        rules: Language model, hot words and weights.
    """

    def __init__(self, labels: Labels, config: DecoderConfig, rules: Rules) -> None:
        self.labels, self.rules, self.top_paths = labels, rules, config.top_paths
        self.space = rules.space if rules.tidy else -1
        self.tree = new_tree(BEAMS * config.beam_width)
        self.beam = new_beam(config.beam_width, plant(rules, self.tree))
        self.frames = 0  # so far
        self.start = 0  # the first frame that is remembered
        self.recent = np.zeros((0, len(labels)), np.float32)  # log-probabilities since then
        self.anchor: list[int] = []  # the committed label, if any, that starts with these
        self.wait = self.due = COMMIT  # frames to the next commitment, and when it is
        self.text = ""  # committed; a space at its end is not shown yet
        self.offsets: list[int] = []  # frame at which each character of it starts

    def feed(self, log_probs: np.ndarray) -> Partial:
        """See `DecoderStream.feed`."""
        self.advance(log_probs)
        return self.partial()

    def advance(self, log_probs: np.ndarray) -> None:
        """Search on without reporting the text so far.

        Raises:
            InputError: The log-probabilities have NaN.
        """
        log_probs = np.ascontiguousarray(log_probs, dtype=np.float32)
        if np.isnan(log_probs).any():
            raise InputError("beam search: the network's log-probabilities have NaN; train it again")
        while len(log_probs):
            chunk = log_probs[: self.due - self.frames]
            self._search(chunk)
            self.recent = np.concatenate([self.recent, chunk])
            self.frames += len(chunk)
            log_probs = log_probs[len(chunk) :]
            if self.frames == self.due:
                start = self.start
                self.commit(forced=self.frames - start >= HORIZON)
                self.wait = COMMIT if self.start > start else 2 * self.wait
                last = max(self.start + HORIZON, self.frames + COMMIT)
                self.due = min(self.frames + self.wait, last)

    def _search(self, frames: np.ndarray) -> None:
        done = advance(self.rules, self.tree, self.beam, frames)
        while done < len(frames):
            self.tree = new_tree(2 * len(self.tree.free), self.tree)
            done += advance(self.rules, self.tree, self.beam, frames[done:])

    def commit(self, forced: bool) -> None:
        """Commit what all hypotheses share; if `forced`, what the best one has.

        Labels are held back for half a second, because those after them may still move them.
        """
        if forced:
            keep_best(self.tree, self.beam)
        nodes = self.beam.node[: self.beam.size[0]]
        best = path(self.tree, int(self.beam.node[0]))
        count = shared(self.tree.parent, nodes, np.array(best, np.int64)) if best else 0
        ids = self.tree.label[best].tolist()
        offsets = self.align(ids)[:count] if count else []
        if not forced:
            count = int(np.searchsorted(offsets, self.frames - HELD_BACK, "right"))
        if count:
            make_root(self.tree, best[count - 1])
            self.text += self.labels.decode(ids[:count])
            self.offsets += offsets[:count]
        if count or forced:
            self.anchor = [] if forced else [ids[count - 1]]
            start = self.frames if forced else offsets[count - 1]
            self.recent = self.recent[start - self.start :].copy()
            self.start = start

    def partial(self) -> Partial:
        """The text so far."""
        text = self.text + self.labels.decode(self.ids(0))
        if self.space < 0:
            return Partial(self.text, text[len(self.text) :])
        committed = self.text.removesuffix(" ")
        return Partial(committed, text.removesuffix(" ")[len(committed) :])

    def finish(self) -> list[Hypothesis]:
        """See `DecoderStream.finish`."""
        if not self.frames:
            return [Hypothesis("", [], 0.0)]
        scores, acoustic, lm, is_cut = whole_texts(self.rules, self.tree, self.beam)
        slots = [int(slot) for slot in np.lexsort((-scores, is_cut)) if scores[slot] > -np.inf]
        # Where all end within a word of a closed vocabulary there is nothing better
        slots = [slot for slot in slots if not is_cut[slot]] or slots
        hypotheses = []
        for slot in slots[: self.top_paths]:
            ids = self.ids(slot)
            text, offsets = self.text + self.labels.decode(ids), [*self.offsets, *self.align(ids)]
            text = text.removesuffix(" ") if self.space >= 0 else text
            values = (float(each[slot]) for each in (scores, acoustic, lm))
            hypotheses.append(Hypothesis(text, offsets[: len(text)], *values))
        return hypotheses

    def ids(self, slot: int) -> list[int]:
        """The labels of a prefix after the committed text."""
        return [int(self.tree.label[node]) for node in path(self.tree, int(self.beam.node[slot]))]

    def align(self, ids: Sequence[int]) -> list[int]:
        """The frames at which labels after the committed text start."""
        labels = np.array([*self.anchor, *ids], np.int64)
        offsets = self.start + align(self.recent, labels, self.rules.blank, self.space)
        return [int(offset) for offset in offsets[len(self.anchor) :]]
