"""From the prefixes in the beam to whole texts: their scores, what they share, where their labels start."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepspeech.beam_search.compiled import compiled, compiled_part
from deepspeech.beam_search.ngram import score
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
    word_score,
)
from deepspeech.beam_search.search import Beam, log_add


@compiled
def whole_texts(rules: Rules, tree: Tree, beam: Beam) -> Reals:
    """The scores of the prefixes as whole texts.

    A space at the end does not count where texts are tidy, so its prefix gives its paths to the one
    without it.

    Returns:
        (4, beam) float64: score, -inf for prefixes that are given away; log-probability by the network;
        log-probability by the language model; 1 for a text that ends within a word of a closed
        vocabulary.
    """
    result = np.full((4, beam.size[0]), NEVER)
    for slot in range(beam.size[0]):
        index, home = beam.node[slot], slot
        parent = tree.parent[index]
        if rules.tidy and tree.label[index] == rules.space and parent >= 0 and tree.slot[parent] >= 0:
            home = tree.slot[parent]
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
    word, state, here = 0.0, tree.state[index], tree.lexicon[index]
    scratch, after = tree.state[len(tree.slot)], tree.state[len(tree.slot) + 1]
    if tree.label[index] != rules.space and tree.label[index] != rules.blank:  # in a word
        bonus += rules.beta
        if rules.unit == WORDS:
            is_cut = rules.word[here] == NOT_A_WORD
            word = word_score(rules, tree, index, scratch)
            state = scratch
            bonus -= rules.ahead[here]
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
            scores[state + 2] = max(best, step, jump) + emission
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
