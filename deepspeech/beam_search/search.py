"""CTC prefix beam search, compiled: log-probabilities -> the best texts, summed over all their paths.

The method is that of Hannun et al., 2014 (https://arxiv.org/abs/1408.2873). Three ideas make it
fast and change nothing: prefixes that stay as they are score first, and the least of them bounds what
survives; the labels of a frame are sorted once, so a prefix stops growing at the first that cannot reach
the bound; candidates beyond three beams are cut to one, which raises the bound.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepspeech.beam_search.compiled import compiled, compiled_part
from deepspeech.beam_search.prefix_tree import (
    CHARACTERS,
    NEVER,
    NOWHERE,
    WORDS,
    Ints,
    Reals,
    Rules,
    Tree,
    character_gain,
    child_of,
    next_in_lexicon,
    release,
)

NEGLIGIBLE = 40.0  # a log-probability so much lower does not change a sum of two
ROOM = 3  # beams of candidates before they are cut


class Beam(NamedTuple):
    """Prefixes with the log-probability of their paths so far."""

    size: Ints  # (1,)
    node: Ints  # (width,)
    total: Reals  # (width,) of all paths
    blank: Reals  # (width,) of those that end with a blank
    label: Reals  # (width,) of those that end with the label of the node


class Work(NamedTuple):
    """Arrays of a frame."""

    score: Reals  # (ROOM * width,) of candidates for the beam
    item: Ints  # (ROOM * width,) slot * (labels + 1), plus label + 1 if the prefix grows by one
    staying: Reals  # (3, width) total, blank, label of prefixes that stay as they are
    merged: Ints  # (width, labels) the last frame in which the child by a label was in the beam
    node: Ints  # (width,) the beam before
    total: Reals
    blank: Reals


def new_beam(width: int, root: int) -> Beam:
    """A beam of so many prefixes at most, with the empty text in it."""
    beam = Beam(np.ones(1, np.int64), np.zeros(width, np.int64), *np.zeros((3, width)))
    beam.node[0], beam.label[0] = root, NEVER
    return beam


@compiled_part
def log_add(first: float, second: float) -> float:
    """log(exp(first) + exp(second))."""
    high, low = max(first, second), min(first, second)
    return high + math.log1p(math.exp(low - high)) if low > high - NEGLIGIBLE else high


@compiled_part
def sort(scores: Reals, items: Ints, size: int) -> None:
    """Sort the highest score first, equal ones by their items (Shell's method, with Ciura's gaps)."""
    for gap in (701, 301, 132, 57, 23, 10, 4, 1):
        for place in range(gap, size):
            score, item, to = scores[place], items[place], place - gap
            while to >= 0 and (scores[to] < score or (scores[to] == score and items[to] > item)):
                scores[to + gap], items[to + gap] = scores[to], items[to]
                to -= gap
            scores[to + gap], items[to + gap] = score, item


@compiled
def keep_labels(frame: Reals, blank: int, top_n: int, top_prob: float, kept: Ints) -> int:
    """Rule out the improbable labels of a frame, but never the blank.

    Args:
        frame: (labels,) log-probabilities; -inf is written for what is ruled out.
        blank: Index of the blank.
        top_n: At most so many stay.
        top_prob: The most probable labels stay, until they sum up to this; 1 for all.
        kept: (labels,) takes the others that stay, the most probable first.

    Returns:
        The number of those.
    """
    size = len(frame)
    ranked, order = frame.copy(), np.arange(size)
    sort(ranked, order, size)
    count, mass = 0, 0.0
    for rank in range(size):
        label = order[rank]
        out = rank >= top_n or (top_prob < 1 and mass >= top_prob)
        if top_prob < 1:
            mass += math.exp(frame[label])
        if label != blank and out:
            frame[label] = NEVER
        elif label != blank and frame[label] > NEVER:
            kept[count] = label
            count += 1
    return count


@compiled
def advance(rules: Rules, tree: Tree, beam: Beam, frames: NDArray[np.float32]) -> int:
    """Search through frames (frames, labels), as long as the tree has room.

    Returns:
        How many frames it went through.
    """
    width, labels = len(beam.node), frames.shape[1]
    work = Work(
        np.empty(ROOM * width),
        np.empty(ROOM * width, np.int64),
        np.empty((3, width)),
        np.full((width, labels), -1),
        np.empty(width, np.int64),
        np.empty(width),
        np.empty(width),
    )
    frame, kept = np.empty(labels), np.empty(labels, np.int64)
    for index in range(len(frames)):
        if tree.left[0] < width:
            return index
        for label in range(labels):
            frame[label] = frames[index, label]
        count = keep_labels(frame, rules.blank, rules.top_n, rules.top_prob, kept)
        size = stay(rules, tree, beam, frame, index, work)
        size = extend(rules, tree, beam, frame, kept[:count], index, work, size)
        if size:  # else no text is possible with this frame, so it is left out
            replace(rules, tree, beam, frame, work, size)
    return len(frames)


@compiled_part
def stay(rules: Rules, tree: Tree, beam: Beam, frame: Reals, now: int, work: Work) -> int:
    """Collect the prefixes that stay as they are, also by paths on which their parents grow into them.

    Returns:
        The number of candidates.
    """
    parents, slots, labels, bonus = tree.parent, tree.slot, tree.label, tree.bonus
    nodes, totals, blanks, ends = beam.node, beam.total, beam.blank, beam.label
    staying, merged = work.staying, work.merged
    size = 0
    for slot in range(beam.size[0]):
        index = nodes[slot]
        last, parent = labels[index], parents[index]
        blank = totals[slot] + frame[rules.blank]
        label = frame[last] + (totals[slot] if rules.tidy and last == rules.space else ends[slot])
        if parent >= 0 and slots[parent] >= 0:
            origin = slots[parent]
            grown = blanks[origin] if labels[parent] == last else totals[origin]
            label = log_add(label, grown + frame[last])
            merged[origin, last] = now
        total = log_add(blank, label)
        staying[0, slot], staying[1, slot], staying[2, slot] = total, blank, label
        if total > NEVER:
            work.score[size], work.item[size] = total + bonus[index], slot * (len(frame) + 1)
            size += 1
    return size


@compiled_part
def extend(
    rules: Rules, tree: Tree, beam: Beam, frame: Reals, kept: Ints, now: int, work: Work, size: int
) -> int:
    """Collect prefixes grown by one of the labels that are kept, the most probable first.

    Returns:
        The number of candidates.
    """
    nodes, totals, blanks, labels, bonus = beam.node, beam.total, beam.blank, tree.label, tree.bonus
    ceilings, finish, lexicon, hot = tree.ceiling, tree.finish, tree.lexicon, tree.hot
    child, letter, ahead, lent = rules.child, rules.letter, rules.ahead, tree.ahead
    tidy, space, hot_gain = rules.tidy, rules.space, rules.hot_gain
    scores, items, merged = work.score, work.item, work.merged
    width, bound = len(nodes), NEVER
    if size == width:
        bound = scores[0]
        for place in range(size):
            bound = min(bound, scores[place])
    for slot in range(beam.size[0]):
        index = nodes[slot]
        last, here, ceiling = labels[index], lexicon[index], ceilings[index]
        for rank in range(len(kept)):
            label = kept[rank]
            if totals[slot] + bonus[index] + frame[label] + ceiling <= bound:
                break  # less probable ones cannot reach the bound either
            if merged[slot, label] == now or (tidy and label == space and label == last):
                continue
            path = frame[label] + (blanks[slot] if label == last else totals[slot])
            score = path + bonus[index] + hot_gain[hot[index], label]
            if rules.unit == WORDS and label == space:
                score += finish[index]
            elif rules.unit == WORDS:
                after = next_in_lexicon(child, letter, rules.outside, here, label)
                score += ahead[after] - lent[index] if after >= 0 else NEVER
            elif rules.unit == CHARACTERS:
                score += character_gain(rules, tree, index, label)
            if score > bound:
                scores[size], items[size] = score, slot * (len(frame) + 1) + label + 1
                size += 1
                if size == len(scores):
                    sort(scores, items, size)
                    size, bound = width, scores[width - 1]
    return size


@compiled_part
def replace(rules: Rules, tree: Tree, beam: Beam, frame: Reals, work: Work, size: int) -> None:
    """Make the best candidates the beam."""
    sort(work.score, work.item, size)
    items, staying, size = work.item, work.staying, min(size, len(beam.node))
    count, before, total, blank = beam.size[0], work.node, work.total, work.blank
    for slot in range(count):
        before[slot], total[slot], blank[slot] = beam.node[slot], beam.total[slot], beam.blank[slot]
        tree.slot[before[slot]] = NOWHERE
    for slot in range(size):
        origin, label = items[slot] // (len(frame) + 1), items[slot] % (len(frame) + 1) - 1
        index = before[origin]
        if label < 0:
            beam.total[slot], beam.blank[slot] = staying[0, origin], staying[1, origin]
            beam.label[slot] = staying[2, origin]
        else:
            path = frame[label] + (blank[origin] if label == tree.label[index] else total[origin])
            beam.total[slot], beam.blank[slot], beam.label[slot] = path, NEVER, path
            index = child_of(rules, tree, index, label)
        beam.node[slot] = index
        tree.slot[index] = slot
    beam.size[0] = size
    for slot in range(count):
        release(tree, before[slot])


@compiled
def keep_one(tree: Tree, beam: Beam, kept: int) -> None:
    """Drop all prefixes but that in one slot."""
    before = beam.node[: beam.size[0]].copy()
    beam.size[0], beam.node[0], beam.total[0] = 1, beam.node[kept], beam.total[kept]
    beam.blank[0], beam.label[0] = beam.blank[kept], beam.label[kept]
    for index in before:
        tree.slot[index] = 0 if index == beam.node[0] else NOWHERE
    for index in before:
        release(tree, index)
