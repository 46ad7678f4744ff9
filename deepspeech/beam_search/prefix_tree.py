"""Prefixes as nodes of a tree, and what language model, lexicon and hot words add to each.

The text of a prefix is the path from the root to its node. A node is freed as soon as no prefix in the
beam needs it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepspeech.beam_search.compiled import compiled, compiled_part
from deepspeech.beam_search.kenlm_format import STATE, Tables, initial_state, score

Ints = NDArray[np.int64]
Reals = NDArray[np.float64]

LN10 = math.log(10)  # n-gram models count in powers of ten, we in natural logarithms
NEVER = -math.inf  # as a log-probability
NO_LM, WORDS, CHARACTERS = range(3)  # units of a language model
NOT_A_WORD, UNKNOWN = -1, 0  # in place of a word's index
NOWHERE, FREED = -1, -2  # slots of a node outside the beam, and of one that is not in use
SPARE_STATES = 2  # rows of `Tree.state` that scoring may write to


class Rules(NamedTuple):
    """All that is the same for every utterance.

    The lexicon is a trie in breadth-first order; the children of a node lie side by side. In an open
    vocabulary the last node is that of words outside: every letter leads from it to itself. Hot words
    are a finite automaton over labels.
    """

    blank: int
    space: int  # or -1
    tidy: bool  # no space at the ends or after a space
    unit: int
    alpha: float
    beta: float
    unknown: float  # log-probability of an unknown word
    top_n: int
    top_prob: float
    tables: Tables
    tokens: NDArray[np.uint32]  # of a character model: (labels,) their indices
    child: Ints  # (nodes + 1,) first child of each node of the lexicon
    letter: Ints  # (nodes,) label that leads to it
    word: Ints  # (nodes,) index of the complete word, UNKNOWN or NOT_A_WORD
    ahead: Reals  # (nodes,) bonus of the best word that can be reached, whatever comes before it
    longer: Reals  # (nodes,) the same of the best word that is longer, -inf without one
    outside: int  # node of unknown words, or -1
    hot_next: Ints  # (states, labels) next state of the hot words
    hot_gain: Reals  # (states, labels) what the label adds
    hot_most: Reals  # (states,) the largest gain
    hot_final: Reals  # (states,) what the end of the text adds


class Tree(NamedTuple):
    """The prefixes in the beam and what they grew from: a column for each field of a node."""

    parent: Ints  # -1 at the root
    child: Ints  # the latest, or -1
    sibling: Ints  # the child of the same parent before this one, or -1
    slot: Ints  # in the beam, or NOWHERE
    label: Ints
    lexicon: Ints  # node of the lexicon: which part of a word
    hot: Ints  # state of the hot words
    bonus: Reals  # language model with look-ahead, words and hot words, weighted
    lm: Reals  # log-probability by the language model of complete tokens
    ahead: Reals  # the part of the bonus that is lent to the word under way
    finish: Reals  # what completing it adds to the bonus, -inf without one
    ceiling: Reals  # the most that a next label adds to the bonus
    free: Ints  # stack of unused nodes
    left: Ints  # (1,) its height
    state: NDArray[np.uint32]  # (capacity + SPARE_STATES, STATE) of the language model


def new_tree(capacity: int, old: Tree | None = None) -> Tree:
    """A tree without nodes, or one with the nodes of a smaller one."""
    state = np.zeros((capacity + SPARE_STATES, STATE), np.uint32)
    unused = np.arange(capacity)[::-1].copy()
    ints, reals = np.zeros((7, capacity), np.int64), np.zeros((5, capacity))
    tree = Tree._make([*ints, *reals, unused, np.array([capacity]), state])
    if old:
        size, left = len(old.free), int(old.left[0])
        for column, before in zip(tree[:12], old[:12], strict=True):
            column[:size] = before
        tree.state[:size] = old.state[:size]
        tree.free[capacity - size :][:left] = old.free[:left]
        tree.left[0] -= size - left
    return tree


def path(tree: Tree, index: int) -> list[int]:
    """The nodes from below the root to a node."""
    nodes = []
    while (parent := int(tree.parent[index])) >= 0:
        nodes.append(index)
        index = parent
    return nodes[::-1]


@compiled
def plant(rules: Rules, tree: Tree) -> int:
    """Create the root of a tree, the empty text."""
    root = take_node(tree)
    tree.parent[root] = tree.child[root] = tree.sibling[root] = -1
    tree.slot[root] = 0
    # As if a space had been written before, so that none is written at the start
    tree.label[root] = rules.space if rules.tidy and rules.space >= 0 else rules.blank
    if rules.unit != NO_LM:
        initial_state(rules.tables, tree.state[root])
    look_ahead(rules, tree, root)
    return root


@compiled_part
def take_node(tree: Tree) -> int:
    """An unused node."""
    tree.left[0] -= 1
    return int(tree.free[tree.left[0]])


@compiled_part
def next_in_lexicon(child: Ints, letter: Ints, outside: int, node: int, label: int) -> int:
    """The node of the lexicon after one more letter, or -1; the arguments are fields of `Rules`."""
    for after in range(child[node], child[node + 1]):
        if letter[after] == label:
            return after
    return outside


@compiled_part
def word_score(rules: Rules, tree: Tree, index: int, state: NDArray[np.uint32]) -> float:
    """Log-probability of the word at the end of a prefix; `state` takes the state after it."""
    word = max(rules.word[tree.lexicon[index]], UNKNOWN)
    value = LN10 * score(rules.tables, tree.state[index], np.uint32(word), state)
    return rules.unknown if word == UNKNOWN else value


@compiled_part
def character_gain(rules: Rules, tree: Tree, index: int, label: int) -> float:
    """What a label adds to the bonus of a prefix by a character model."""
    scratch, last = tree.state[len(tree.slot)], tree.label[index]
    value = rules.alpha * LN10 * score(rules.tables, tree.state[index], rules.tokens[label], scratch)
    ends_word = label == rules.space and last != rules.space and last != rules.blank
    return value + rules.beta if ends_word else value


@compiled_part
def look_ahead(rules: Rules, tree: Tree, index: int) -> None:
    """Complete a new node: the bonus lent to the word under way, and what limits its growth."""
    ceiling, here = 0.0, tree.lexicon[index]
    if rules.unit == WORDS:
        ahead, tree.finish[index] = rules.ahead[here], NEVER
        if rules.word[here] != NOT_A_WORD:
            word = word_score(rules, tree, index, tree.state[len(tree.slot)])
            bonus = rules.alpha * word + rules.beta
            ahead = max(bonus, rules.longer[here])
            tree.finish[index] = bonus - ahead
        tree.bonus[index] += ahead - rules.ahead[here]
        tree.ahead[index] = ahead
        ceiling = max(rules.longer[here] - ahead, tree.finish[index])
    elif rules.unit == CHARACTERS:
        ceiling = max(rules.beta, 0.0) if rules.alpha >= 0 else math.inf
    tree.ceiling[index] = ceiling + rules.hot_most[tree.hot[index]]


@compiled_part
def child_of(rules: Rules, tree: Tree, parent: int, label: int) -> int:
    """The prefix that is one label longer."""
    index = int(tree.child[parent])
    while index >= 0 and tree.label[index] != label:
        index = tree.sibling[index]
    if index >= 0:
        return index
    index = take_node(tree)
    tree.parent[index], tree.label[index], tree.slot[index] = parent, label, NOWHERE
    tree.child[index], tree.sibling[index], tree.child[parent] = -1, tree.child[parent], index
    hot = tree.hot[parent]
    tree.hot[index], gain = rules.hot_next[hot, label], rules.hot_gain[hot, label]
    lm, after = tree.lm[parent], 0
    if rules.unit == CHARACTERS:
        gain += character_gain(rules, tree, parent, label)
        lm += LN10 * score(rules.tables, tree.state[parent], rules.tokens[label], tree.state[index])
    elif rules.unit == WORDS and label == rules.space:
        gain += tree.finish[parent]
        lm += word_score(rules, tree, parent, tree.state[index])
    elif rules.unit == WORDS:
        after = next_in_lexicon(rules.child, rules.letter, rules.outside, tree.lexicon[parent], label)
        gain += rules.ahead[after] - tree.ahead[parent]
        for column in range(STATE):
            tree.state[index, column] = tree.state[parent, column]
    tree.bonus[index], tree.lm[index], tree.lexicon[index] = tree.bonus[parent] + gain, lm, after
    look_ahead(rules, tree, index)
    return index


@compiled_part
def release(tree: Tree, index: int) -> None:
    """Free a node, and those that led to it alone, unless a prefix in the beam needs them."""
    while index >= 0 and tree.slot[index] == NOWHERE and tree.child[index] < 0:
        parent = tree.parent[index]
        if parent >= 0 and tree.child[parent] == index:
            tree.child[parent] = tree.sibling[index]
        elif parent >= 0:
            other = tree.child[parent]
            while tree.sibling[other] != index:
                other = tree.sibling[other]
            tree.sibling[other] = tree.sibling[index]
        tree.slot[index], tree.free[tree.left[0]] = FREED, index
        tree.left[0] += 1
        index = parent


def make_root(tree: Tree, index: int) -> None:
    """Forget how the text up to a node that all prefixes share came about."""
    before = tree.parent[index]
    tree.parent[index] = tree.sibling[index] = -1
    while before >= 0:
        tree.slot[before], tree.free[tree.left[0]] = FREED, before
        tree.left[0] += 1
        before = tree.parent[before]


@compiled
def most_frames(parents: Ints, labels: Ints, nodes: Ints) -> int:
    """The frames that CTC needs at least for the longest of the paths from the root to nodes.

    Args:
        parents: Of all nodes of the tree.
        labels: Of all nodes of the tree.
        nodes: Where the paths end.
    """
    most = 0
    for node in nodes:
        count = 0
        while parents[node] >= 0:
            above = parents[node]
            count += 2 if parents[above] >= 0 and labels[above] == labels[node] else 1
            node = above
        most = max(most, count)
    return most
