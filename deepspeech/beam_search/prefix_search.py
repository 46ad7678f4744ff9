"""CTC prefix beam search for what the engine cannot do: open vocabularies and hot words.

The method is that of Hannun et al., 2014 (https://arxiv.org/abs/1408.2873), over the whole
beam at a time with numpy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from deepspeech.beam_search.config import DecoderConfig
from deepspeech.beam_search.hot_words import HotWords
from deepspeech.beam_search.hot_words import State as HotState
from deepspeech.beam_search.language_model import SPACE, LanguageModel
from deepspeech.beam_search.stream import NONE
from deepspeech.labels import Labels

LETTER_GAINS_KEPT = 50_000  # 12 MB of them


@dataclass(slots=True, weakref_slot=True, eq=False)
class Prefix:
    """The begin of a text: a node in a tree, which lives as long as a prefix in the beam needs it."""

    parent: Prefix | None
    label: int
    bonus: float  # what language model and hot words gave so far, weighted
    word: str  # the part of a word at its end
    lm_state: Any  # of the words before that
    hot_state: HotState
    gains: np.ndarray  # (labels,) what each next label adds to the bonus
    children: WeakValueDictionary[int, Prefix] = field(default_factory=WeakValueDictionary)
    position: int = -1  # in the beam

    @property
    def nodes(self) -> list[Prefix]:
        """The nodes from behind the root to this one, each of a label."""
        nodes, node = [], self
        while node.parent:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    @property
    def ids(self) -> list[int]:
        """The labels of the text."""
        return [node.label for node in self.nodes]


@dataclass
class Beam:
    """Prefixes and the log-probabilities of their paths so far."""

    prefixes: list[Prefix]
    blank: np.ndarray  # (beam,) of paths that end with a blank
    label: np.ndarray  # (beam,) of paths that end with the prefix's last label

    def best(self) -> Prefix:
        """The most probable prefix."""
        bonus = [prefix.bonus for prefix in self.prefixes]
        return self.prefixes[int(np.argmax(np.logaddexp(self.blank, self.label) + bonus))]

    def only(self, prefix: Prefix) -> Beam:
        """A beam of this prefix alone."""
        place = [self.prefixes.index(prefix)]
        return Beam([prefix], self.blank[place], self.label[place])


class PrefixSearch:
    """The best texts where words may come that the language model does not know.

    Spaces are tidied: at the ends and after another space they are not written. `PrefixStream` runs
    the search over an utterance.

    Args:
        labels: What the network writes.
        config: Beam width and weights.
        language_model: Of words or characters, or None.
        hot_words: Boosts, or None. Their words may come in a closed vocabulary, too.
    """

    def __init__(
        self,
        labels: Labels,
        config: DecoderConfig,
        language_model: LanguageModel | None = None,
        hot_words: HotWords | None = None,
    ) -> None:
        self.labels, self.config = labels, config
        self.language_model, self.hot_words = language_model, hot_words
        self.space = labels.index(" ") if " " in labels else -1
        spellings = language_model.spellings.values() if language_model else ()
        self.vocabulary = set(map(labels.decode, spellings)) | (hot_words.words if hot_words else set())
        self.outlook = self._outlooks() if language_model else {}
        self._known_letter_gains: dict[str, np.ndarray] = {}

    def _outlooks(self) -> dict[str, float]:
        """The log-probability of the best word that begins with a part of one, for every part.

        Lent to a word under way, so that it competes with words that have paid already.
        """
        outlook: dict[str, float] = {}
        start, least = self.language_model.start(), self.config.lm_unknown if self.config.lm_open else NONE
        for word in self.vocabulary:
            score = max(self._word_score(start, word)[1], least)
            for length in range(1, len(word) + 1):
                outlook[word[:length]] = max(score, outlook.get(word[:length], NONE))
        return outlook | {"": 0.0}

    def start(self) -> Beam:
        """The beam before the first frame: the empty text."""
        return Beam([self._root()], np.zeros(1), np.full(1, NONE))

    def _root(self) -> Prefix:
        lm_state = self.language_model.start() if self.language_model else None
        # As if a space had been written before, so that none is written at the begin
        label = self.space if self.space >= 0 else self.labels.blank
        gains = self._gains("", lm_state, HotWords.start)
        return Prefix(None, label, 0.0, "", lm_state, HotWords.start, gains)

    def step(self, beam: Beam, frame: np.ndarray) -> Beam:
        """One frame (labels,): every prefix stays as it is or grows by a label."""
        prefixes, blank = beam.prefixes, self.labels.blank
        for position, prefix in enumerate(prefixes):
            prefix.position = position
        labels = np.flatnonzero(frame > NONE)
        labels = labels[labels != blank]
        columns = np.full(len(frame), -1)
        columns[labels] = np.arange(len(labels))

        last = np.array([prefix.label for prefix in prefixes])
        parents = np.array([prefix.parent.position if prefix.parent else -1 for prefix in prefixes])
        total = np.logaddexp(beam.blank, beam.label)
        after_space = last == self.space
        stay_blank = total + frame[blank]
        stay_label = np.where(after_space, total, beam.label) + frame[last]
        grown = total[:, None] + frame[labels]  # (beam, labels)
        rows = np.flatnonzero(columns[last] >= 0)
        grown[rows, columns[last[rows]]] = np.where(
            after_space[rows], NONE, beam.blank[rows] + frame[last[rows]]
        )
        rows = rows[parents[rows] >= 0]  # prefixes that their parents, in the beam too, grow into
        cells = parents[rows], columns[last[rows]]
        stay_label[rows] = np.logaddexp(stay_label[rows], grown[cells])
        grown[cells] = NONE

        bonus = np.array([prefix.bonus for prefix in prefixes])
        gains = np.stack([prefix.gains for prefix in prefixes])[:, labels]
        stay_scores = np.logaddexp(stay_blank, stay_label) + bonus
        scores = np.concatenate([stay_scores, (grown + gains + bonus[:, None]).ravel()])
        if len(scores) > self.config.beam_width:
            best = np.argpartition(-scores, self.config.beam_width - 1)[: self.config.beam_width]
        else:
            best = np.arange(len(scores))
        best = best[scores[best] > NONE]
        stay, grow = best[best < len(prefixes)], best[best >= len(prefixes)] - len(prefixes)
        new = [
            self._child(prefixes[index // len(labels)], int(labels[index % len(labels)])) for index in grow
        ]
        for prefix in prefixes:
            prefix.position = -1
        return Beam(
            [*(prefixes[index] for index in stay), *new],
            np.concatenate([stay_blank[stay], np.full(len(grow), NONE)]),
            np.concatenate([stay_label[stay], grown.ravel()[grow]]),
        )

    def _child(self, prefix: Prefix, label: int) -> Prefix:
        if child := prefix.children.get(label):
            return child
        character = self.labels[label]
        word, lm_state, hot_state = prefix.word + character, prefix.lm_state, prefix.hot_state
        if self.language_model and self.language_model.unit == "character":
            lm_state, _ = self.language_model.score(lm_state, label)
        elif self.language_model and label == self.space:
            lm_state, _ = self._word_score(lm_state, prefix.word)
        if self.hot_words:
            hot_state = self.hot_words.step(hot_state, character)
        if label == self.space:
            word = ""
        bonus = prefix.bonus + float(prefix.gains[label])
        gains = self._gains(word, lm_state, hot_state)
        child = Prefix(prefix, label, bonus, word, lm_state, hot_state, gains)
        prefix.children[label] = child
        return child

    def _gains(self, word: str, lm_state: Any, hot_state: HotState) -> np.ndarray:
        """What each next label adds to the bonus of a prefix in this state."""
        gains = np.zeros(len(self.labels))
        if self.language_model and self.language_model.unit == "character":
            gains += self.config.alpha * self._character_scores(lm_state)
            if self.space >= 0:
                gains[self.space] += self.config.beta
        elif self.language_model:
            gains += self._letter_gains(word)
            if word in self.vocabulary:
                score = self._word_score(lm_state, word)[1]
                gains[self.space] = self.config.alpha * (score - self.outlook[word]) + self.config.beta
        if self.hot_words:
            gains += self.hot_words.gains(hot_state)
        return gains

    def _letter_gains(self, word: str) -> np.ndarray:
        """What the vocabulary says of each label after the begin of a word, unless that is a word."""
        if word not in self._known_letter_gains:
            gains = np.zeros(len(self.labels))
            if word in self.outlook:  # else it has left the vocabulary before, and paid
                after = [self.outlook.get(word + label, self.config.lm_unknown) for label in self.labels]
                gains = self.config.alpha * (np.array(after) - self.outlook[word])
                if not self.config.lm_open:
                    gains[[word + label not in self.outlook for label in self.labels]] = NONE
            gains[self.space] += self.config.beta
            if len(self._known_letter_gains) >= LETTER_GAINS_KEPT:
                self._known_letter_gains.clear()
            self._known_letter_gains[word] = gains
        return self._known_letter_gains[word]

    def _word_score(self, state: Any, word: str) -> tuple[Any, float]:
        model = self.language_model
        if word in model.ids:
            return model.score(state, model.ids[word])
        state, _ = model.score(state, model.unknown)
        return state, self.config.lm_unknown

    def _character_scores(self, state: Any) -> np.ndarray:
        model = self.language_model
        return np.array([model.score(state, index)[1] for index in range(len(self.labels))])

    def score(self, text: str, log_prob: float) -> tuple[float, float]:
        """The score of a whole text, and its log-probability by the language model."""
        lm_score = self._lm_score(text)
        score = log_prob + (self.hot_words.score(text) if self.hot_words else 0)
        if self.language_model:
            score += self.config.alpha * lm_score + self.config.beta * len(text.split())
        return score, lm_score

    def is_cut(self, text: str) -> bool:
        """Whether a text ends within a word of a closed vocabulary: only where nothing else is left."""
        model = self.language_model
        if not text or not model or model.unit != "word" or self.config.lm_open:
            return False
        return text.split()[-1] not in self.vocabulary

    def _lm_score(self, text: str) -> float:
        model = self.language_model
        if not model:
            return 0.0
        state, total = model.start(), 0.0
        if model.unit == "character":
            for character in text:
                state, score = model.score(state, model.ids[SPACE if character == " " else character])
                total += score
        else:
            for word in text.split():
                state, score = self._word_score(state, word)
                total += score
        return total + model.finish(state)
