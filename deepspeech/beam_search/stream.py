"""Beam search that continues as log-probabilities arrive, in memory that does not grow.

Every second the part of the text that all hypotheses share is committed: it can no longer change, so the
search forgets how it came about. Commitments are at fixed frames, whatever the chunks, and offline
decoding is one chunk: both give the same results.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepspeech.beam_search.compiled import compiled, compiled_part
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.beam_search.kenlm_format import score
from deepspeech.beam_search.ngram import NGramModel
from deepspeech.beam_search.prefix_tree import (
    LN10,
    NEVER,
    NO_LM,
    NOT_A_WORD,
    WORDS,
    Ints,
    Reals,
    Rules,
    Tree,
    make_root,
    most_frames,
    new_tree,
    path,
    plant,
    word_score,
)
from deepspeech.beam_search.search import Beam, advance, keep_one, log_add, new_beam
from deepspeech.decoding.decoder import Hypothesis, Partial
from deepspeech.errors import InputError
from deepspeech.labels import Labels

COMMIT = 50  # output frames between two commitments, a second; doubled while nothing can be committed
HORIZON = 1500  # frames, 30 seconds: if the hypotheses differ for longer, the best one is committed
HELD_BACK = COMMIT // 2  # frames in which labels may still move
IMPOSSIBLE = -1e6  # log-probability of a label in a frame that the search left out, for alignment
BEAMS = 8  # of nodes for which a tree has room at first


class BeamStream:
    """The beam search of one utterance.

    Args:
        labels: The network's labels.
        config: Beam width and number of hypotheses.
        rules: Language model, hot words and weights.
        model: The language model, if any, whose file must stay as it is.
    """

    def __init__(
        self, labels: Labels, config: DecoderConfig, rules: Rules, model: NGramModel | None = None
    ) -> None:
        self.labels, self.rules, self.top_paths = labels, rules, config.top_paths
        self.model = model
        self.space = rules.space if rules.tidy else -1
        self.tree = new_tree(BEAMS * config.beam_width)
        self.beam = new_beam(config.beam_width, plant(rules, self.tree))
        self.frames = 0  # so far
        self.start = 0  # frame of the first of `recent`
        self.recent = np.zeros((0, len(labels)), np.float32)  # log-probabilities after the commitment
        self.anchor: list[int] = []  # the committed label, if any, that starts at `start`
        self.wait = self.due = COMMIT  # frames to the next commitment, and when it is
        self.text = ""  # committed; a space at its end is not shown yet
        self.offsets: list[int] = []  # frame at which each character of it starts

    def feed(self, log_probs: np.ndarray) -> Partial:
        """See `DecoderStream.feed`."""
        self.advance(log_probs)
        return self.partial()

    def advance(self, log_probs: np.ndarray) -> None:
        """Search through the next frames without reporting the text so far.

        Raises:
            InputError: The log-probabilities have NaN, or the language model's file has shrunk.
        """
        if self.model:
            self.model.check()
        log_probs = np.ascontiguousarray(log_probs, dtype=np.float32)
        if np.isnan(log_probs).any():
            raise InputError("beam search: the network's log-probabilities have NaN; train it again")
        while len(log_probs):
            chunk = log_probs[: self.due - self.frames]
            self.recent = np.concatenate([self.recent, chunk])
            self._search(chunk)
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
            keep_one(self.tree, self.beam, self.best())
        nodes = self.beam.node[: self.beam.size[0]]
        best = path(self.tree, int(nodes[self.best()]))
        count = shared(self.tree.parent, nodes, np.array(best, np.int64)) if best else 0
        ids = self.tree.label[best].tolist()
        offsets = self.align(ids)[:count] if count else []
        if not forced:
            count = int(np.searchsorted(offsets, self.frames - HELD_BACK, "right"))
            count = min(count, self._leaving_room(nodes, ids[:count], offsets[:count]))
            count -= count > 0 and ids[count - 1] == self.space  # the text may end before it
        if count:
            make_root(self.tree, best[count - 1])
            self.text += self.labels.decode(ids[:count])
            self.offsets += offsets[:count]
        if count or forced:
            self.anchor = [] if forced else [ids[count - 1]]
            start = self.frames if forced else offsets[count - 1]
            self.recent = self.recent[start - self.start :].copy()
            self.start = start

    def _leaving_room(self, nodes: Ints, ids: Sequence[int], offsets: Sequence[int]) -> int:
        """How many labels can be committed so that the rest of every hypothesis fits in the frames left.

        The most probable alignment of the best may place them later than an alternative can.
        """
        most = most_frames(self.tree.parent, self.tree.label, nodes)
        spent = np.arange(1, len(ids) + 1) + np.cumsum(np.diff(ids, prepend=-1) == 0)
        return int(np.sum(np.array(offsets, np.int64) + 1 + most - spent <= self.frames))

    def partial(self) -> Partial:
        """The text so far."""
        text = self.text + self.labels.decode(self.ids(self.best()))
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

    def best(self) -> int:
        """The slot of the most probable prefix."""
        size = self.beam.size[0]
        return int(np.argmax(self.beam.total[:size] + self.tree.bonus[self.beam.node[:size]]))

    def ids(self, slot: int) -> list[int]:
        """The labels of a prefix after the committed text."""
        return [int(self.tree.label[node]) for node in path(self.tree, int(self.beam.node[slot]))]

    def align(self, ids: Sequence[int]) -> list[int]:
        """The frames at which labels after the committed text start."""
        labels = np.array([*self.anchor, *ids], np.int64)
        offsets = self.start + align(self.recent, labels, self.rules.blank, self.space)
        return [int(offset) for offset in offsets[len(self.anchor) :]]


@compiled
def whole_texts(rules: Rules, tree: Tree, beam: Beam) -> Reals:
    """The scores of the prefixes as whole texts.

    A tidy text has no space at its end, so such a prefix gives its paths to the one without it.

    Returns:
        (4, beam) float64: score, -inf for prefixes that are given away; log-probability by the network;
        log-probability by the language model; 1 for a text that ends within a word of a closed
        vocabulary.
    """
    result = np.full((4, beam.size[0]), NEVER)
    for slot in range(beam.size[0]):
        index, home = beam.node[slot], slot
        parent = tree.parent[index]
        if rules.tidy and tree.label[index] == rules.space and parent >= 0:
            index = parent
            home = tree.slot[parent] if tree.slot[parent] >= 0 else slot
        result[1, home] = log_add(result[1, home], beam.total[slot])
        if home == slot:
            result[0, slot], result[2, slot], result[3, slot] = end(rules, tree, index)
    for slot in range(beam.size[0]):
        result[0, slot] += result[1, slot]
    return result


@compiled_part
def end(rules: Rules, tree: Tree, index: int) -> tuple[float, float, bool]:
    """What a prefix has beyond its log-probability when the text ends there.

    Returns:
        Weighted bonus; log-probability by the language model; whether a word is cut off.
    """
    bonus, lm, is_cut = tree.bonus[index] + rules.hot_final[tree.hot[index]], tree.lm[index], False
    if rules.unit == NO_LM:
        return bonus, lm, is_cut
    word, state = 0.0, tree.state[index]
    scratch, after = tree.state[len(tree.slot)], tree.state[len(tree.slot) + 1]
    if tree.label[index] != rules.space and tree.label[index] != rules.blank:  # in a word
        bonus += rules.beta
        if rules.unit == WORDS:
            is_cut = rules.word[tree.lexicon[index]] == NOT_A_WORD
            word = word_score(rules, tree, index, scratch)
            state = scratch
            bonus -= tree.ahead[index]
    word += LN10 * score(rules.tables, state, np.uint32(rules.tables.sentence_end), after)
    return bonus + rules.alpha * word, lm + word, is_cut


@compiled
def align(frames: NDArray[np.float32], ids: Ints, blank: int, space: int) -> Ints:
    """The frame at which each label starts, on the most probable path (Viterbi).

    Args:
        frames: (frames, labels) log-probabilities.
        ids: (labels of the text,).
        blank: Index of the blank.
        space: Label that may also stand for a blank at the ends and after itself, or -1.
    """
    count, size = len(frames), 2 * len(ids) + 1  # a blank, a label, a blank, ...
    labels, others, skip = np.full(size, blank), np.full(size, blank), np.full(size, NEVER)
    for place in range(len(ids)):
        state = 2 * place + 1
        labels[state] = others[state] = ids[place]
        if place == 0 or ids[place] != ids[place - 1]:
            skip[state] = 0.0
        if ids[place] == space:
            others[state + 1] = space
    if space >= 0:
        others[0] = others[size - 1] = space
    moves = np.zeros((count, size), np.int8)
    scores, before = np.full(size + 2, NEVER), np.full(size + 2, NEVER)  # two that are never reached first
    scores[1] = 0.0
    for frame in range(count):
        scores, before = before, scores
        for state in range(size):
            best, step, jump = before[state + 2], before[state + 1], before[state] + skip[state]
            moves[frame, state] = 2 if jump > max(best, step) else step > best
            emission = max(frames[frame, labels[state]], frames[frame, others[state]])
            scores[state + 2] = max(best, step, jump) + max(emission, IMPOSSIBLE)
        scores[1] = NEVER
    state = size - 1 if scores[size + 1] >= scores[size] else size - 2
    offsets = np.zeros(len(ids), np.int64)
    for frame in range(count - 1, -1, -1):
        if state % 2:
            offsets[state // 2] = frame
        state -= moves[frame, state]
    return offsets


@compiled
def shared(parents: Ints, nodes: Ints, path: Ints) -> int:
    """How many nodes from the root on paths have in common.

    Args:
        parents: Of all nodes of the tree.
        nodes: Where the paths end.
        path: One of them.
    """
    visits, count = np.zeros(len(parents), np.int64), 0
    for node in nodes:
        while parents[node] >= 0:
            visits[node] += 1
            node = parents[node]
    while count < len(path) and visits[path[count]] == len(nodes):
        count += 1
    return count
