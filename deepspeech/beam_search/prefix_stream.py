"""CTC prefix search over one utterance as it comes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from deepspeech.beam_search.prefix_search import PrefixSearch
from deepspeech.beam_search.stream import COMMIT, NONE, BeamStream
from deepspeech.decoding.decoder import Hypothesis

HELD_BACK = COMMIT // 2  # frames


class PrefixStream(BeamStream):
    """One utterance in a prefix search.

    Args:
        prefix_search: Vocabulary, language model, hot words.
    """

    def __init__(self, prefix_search: PrefixSearch) -> None:
        super().__init__(prefix_search.labels, prefix_search.config, tidy=True)
        self.prefix_search = prefix_search
        self.beam = prefix_search.start()
        self.heard = np.zeros((0, len(self.labels)))  # log-probabilities of the frames since `begin`
        self.anchor: list[int] = []  # the committed label, if any, that begins with these

    def search(self, log_probs: np.ndarray) -> None:
        """See `BeamStream.search`."""
        log_probs = log_probs.astype(np.float64)
        for frame in log_probs:
            self.beam = self.prefix_search.step(self.beam, frame)
        self.heard = np.concatenate([self.heard, log_probs])

    def best(self) -> Sequence[int]:
        """See `BeamStream.best`."""
        return self.beam.best().ids

    def commit(self, forced: bool) -> None:
        """See `BeamStream.commit`. The last prefix that is committed becomes the root of the tree.

        Labels are held back for half a second, because those behind them may still move them.
        """
        best = self.beam.best()
        if forced:
            self.beam = self.beam.only(best)
        paths = [prefix.nodes for prefix in self.beam.prefixes]
        shared = [nodes[0] for nodes in zip(*paths, strict=False) if len(set(map(id, nodes))) == 1]
        offsets = self.align(best.ids)[: len(shared)] if shared else []
        latest = self.frames if forced else self.frames - HELD_BACK
        settled = [node for node, offset in zip(shared, offsets, strict=True) if offset <= latest]
        if settled:
            self.append([node.label for node in settled], offsets)
            settled[-1].parent = None
        if settled or forced:
            self.anchor = [] if forced else [self.last]
            begin = self.frames if forced else offsets[len(settled) - 1]
            self.heard = self.heard[begin - self.begin :].copy()
            self.begin = begin

    def hypotheses(self) -> list[Hypothesis]:
        """See `BeamStream.hypotheses`.

        Whole texts are scored afresh: prefixes lend hot words' credit and lack the last word.
        """
        acoustic: dict[str, float] = defaultdict(lambda: NONE)
        for prefix, *paths in zip(self.beam.prefixes, self.beam.blank, self.beam.label, strict=True):
            text = (self.text + self.labels.decode(prefix.ids)).rstrip(" ")
            acoustic[text] = float(np.logaddexp(acoustic[text], np.logaddexp(*paths)))
        scored = []
        for text, log_prob in acoustic.items():
            score, lm_score = self.prefix_search.score(text, log_prob)
            scored.append((self.prefix_search.is_cut(text), -score, text, log_prob, lm_score))
        return [
            Hypothesis(text, self._offsets(text), -score, log_prob, lm_score)
            for _, score, text, log_prob, lm_score in sorted(scored)[: self.config.top_paths]
        ]

    def _offsets(self, text: str) -> list[int]:
        tail = [self.labels.index(character) for character in text[len(self.text) :]]
        return [*self.offsets, *self.align(tail)][: len(text)]

    def align(self, ids: Sequence[int]) -> list[int]:
        """The frames at which labels behind the committed text begin."""
        offsets = align(self.heard, [*self.anchor, *ids], self.labels.blank)
        return [self.begin + offset for offset in offsets[len(self.anchor) :]]


def align(log_probs: np.ndarray, ids: list[int], blank: int) -> list[int]:
    """The frame at which each label begins, on the most probable path (Viterbi).

    Args:
        log_probs: (frames, labels).
        ids: Labels of the text.
        blank: Index of the blank.
    """
    if not ids:
        return []
    states = np.full(2 * len(ids) + 1, blank)
    states[1::2] = ids
    skips = np.zeros(len(states), dtype=bool)  # from one label to the next without a blank
    skips[3::2] = states[3::2] != states[1:-2:2]
    scores = np.full(len(states), NONE)
    scores[:2] = log_probs[0, states[:2]]
    moves = np.zeros((len(log_probs), len(states)), dtype=np.int8)
    choices = np.full((3, len(states)), NONE)
    for frame, emissions in enumerate(log_probs[1:], 1):
        choices[0], choices[1, 1:] = scores, scores[:-1]
        choices[2, 2:] = np.where(skips[2:], scores[:-2], NONE)
        moves[frame] = choices.argmax(axis=0)
        scores = choices.max(axis=0) + emissions[states]
    state = len(states) - 1 - int(scores[-2] > scores[-1])
    offsets = [0] * len(ids)
    for frame in range(len(log_probs) - 1, -1, -1):
        if state % 2:
            offsets[state // 2] = frame
        state -= int(moves[frame, state])
    return offsets
