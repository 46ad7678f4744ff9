"""What beam search favours: language models with the spelling of their tokens, and hot words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from deepspeech import log
from deepspeech.beam_search.compiled import compiled
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.beam_search.kenlm_format import STATE, Tables, score
from deepspeech.beam_search.ngram import NGramModel
from deepspeech.beam_search.prefix_tree import (
    CHARACTERS,
    LN10,
    NO_LM,
    NOT_A_WORD,
    UNKNOWN,
    WORDS,
    Ints,
    Reals,
    Rules,
)
from deepspeech.errors import InputError
from deepspeech.labels import Labels, UnknownCharacters
from deepspeech.options import WEIGHT

SPACE = "|"  # how a character language model writes the space between words
NOTHING = (np.zeros(1, kind) for kind in (np.uint32, np.float32, np.int64, np.uint64))
NO_TABLES = Tables(1, 0, 0, *NOTHING)  # type: ignore[arg-type]  # their types differ
State = tuple[str, ...]  # what is complete of hot phrases under way
UNITS = {"word": WORDS, "character": CHARACTERS}


class LanguageModel:
    """An n-gram model over words or characters, and how its tokens are spelled.

    Args:
        path: ARPA file or KenLM binary.
        labels: The network's labels.
        unit: "word" or "character". The tokens of a character model are single labels, with
            `|` for the space.

    Raises:
        InputError: No such file, not a language model, or one whose words the labels cannot
            spell.
    """

    def __init__(self, path: str | Path, labels: Labels, unit: str = "word") -> None:
        self.unit = unit
        if unit == "word" and " " not in labels:
            raise InputError(
                f"--lm-path {path}: a word language model needs a space in the labels; "
                "pass --lm-unit character with a character model"
            )
        self.model = NGramModel.open(path)
        self.spellings: dict[str, list[int]] = {}
        self.tokens: list[str] = []
        if unit == "word":
            self.spellings = spell(path, self.model.words(), labels)
        else:
            self.tokens = [SPACE if label == " " else label for label in labels]
            _check_characters(path, self.model.words(), self.tokens, labels)
        self.indices = np.array([self.model.index(token) for token in self.tokens or self.spellings])


def spell(path: str | Path, words: Iterable[str], labels: Labels) -> dict[str, list[int]]:
    """Label indices of every word that the labels can write; says how many they cannot.

    Raises:
        InputError: None can be written, or more could in another letter case.
    """
    spellings, strange = {}, []
    for word in words:
        if ids := _encode(labels, word):
            spellings[word] = ids
        else:
            strange.append(word)
    total = len(spellings) + len(strange)
    for case in ("upper", "lower"):
        others = sum(bool(_encode(labels, getattr(word, case)())) for word in strange)
        if others > len(spellings):
            raise InputError(
                f"--lm-path {path}: written in another letter case than the labels: {len(spellings)} of "
                f"{total} words can be spelled, {len(spellings) + others} in {case} case; "
                f"build it from {case}-case text"
            )
    if not spellings:
        raise InputError(
            f"--lm-path {path}: none of its {total} words can be spelled with the labels, "
            f"the first is {strange[0]!r}; take a model of words (or pass --lm-unit character)"
        )
    if strange:
        shown = ", ".join(map(repr, strange[:5]))
        log.warning(f"{path}: {len(strange)} of {total} words cannot be spelled with the labels: {shown}")
    return spellings


def _encode(labels: Labels, word: str) -> list[int]:
    """The labels of a word, none if it cannot be spelled."""
    try:
        ids = labels.encode(word)
    except UnknownCharacters:
        return []
    return ids if " " not in labels or labels.index(" ") not in ids else []


def _check_characters(path: str | Path, found: Sequence[str], tokens: Sequence[str], labels: Labels) -> None:
    known = set(found)
    missing = [token for index, token in enumerate(tokens) if token not in known and index != labels.blank]
    others = [token for token in missing if token.swapcase() in known]
    spelled = len(tokens) - 1 - len(missing)
    if len(others) > spelled or not spelled:
        reason = "written in another letter case than the labels" if others else "not of characters"
        raise InputError(
            f"--lm-path {path}: {reason}: it knows {spelled} of {len(tokens) - 1} labels; build it from text "
            "as the labels write it with deepspeech build-lm --unit character"
        )
    if missing:
        log.warning(f"{path}: does not know the labels {' '.join(missing)}")


class HotWords:
    """Boosts for words and phrases, each for every place where it stands as whole words.

    While a text is written, a phrase under way lends a part of its boost, so that it is not
    dropped from the beam before it is complete; what stays incomplete gives it back.

    Args:
        text: "word:boost,phrase of words:boost"; boosts are natural logarithms.
        labels: The network's labels.

    Raises:
        InputError: The text has another form, or characters that are not in the labels.
    """

    def __init__(self, text: str, labels: Labels) -> None:
        self.labels = labels
        self.boosts: dict[str, float] = {}
        for entry in filter(str.strip, text.split(",")):
            phrase, _, number = entry.rpartition(":")
            try:
                boost = float(number)
            except ValueError:
                boost = math.nan
            if not phrase.strip() or not WEIGHT.holds(boost):
                raise InputError(
                    f"--hot-words {entry.strip()!r}: write WORD:BOOST, as 'LATTE:5'; a boost {WEIGHT.words}"
                )
            try:
                phrase = labels.decode(labels.encode(phrase))
            except UnknownCharacters as error:
                raise InputError(f"--hot-words {error}; write it as the labels do") from None
            self.boosts[phrase] = boost
        if not self.boosts:
            raise InputError(f"--hot-words {text!r}: no word in it; write WORD:BOOST,WORD:BOOST")
        self.words = sorted({word for phrase in self.boosts for word in phrase.split()})
        self._credits: dict[str, float] = {"": 0.0}
        self._next: dict[str, set[str]] = {}  # characters after each part of a phrase
        for phrase, boost in self.boosts.items():
            for length, character in enumerate(phrase, 1):
                credit, part = max(boost, 0) * length / len(phrase), phrase[:length]
                self._credits[part] = max(credit, self._credits.get(part, 0.0))
                self._next.setdefault(phrase[: length - 1], set()).add(character)

    def states(self) -> tuple[Ints, Reals, Reals, Reals]:
        """The automaton that follows all phrases at once (Aho and Corasick's, from word to word).

        Returns:
            The four `hot_` arrays of `Rules`.
        """
        states: list[State] = [("",), ()]  # the start, and outside of all phrases
        numbers = {state: number for number, state in enumerate(states)}
        after, gain, final = [], [], []
        for state in states:  # more come as they are found
            credit, boost = self._credit(state), sum(self.boosts.get(part, 0.0) for part in state)
            following = set().union(*(self._next.get(part, ()) for part in state)) | {" "} & set(self.labels)
            after.append(np.ones(len(self.labels), np.int64))
            gain.append(np.full(len(self.labels), -credit))
            for character in sorted(following):
                label, then = self.labels.index(character), self._step(state, character)
                if then not in numbers:
                    numbers[then] = len(states)
                    states.append(then)
                after[-1][label] = numbers[then]
                gain[-1][label] += self._credit(then) + (boost if character == " " else 0.0)
            final.append(boost - credit)
        return (np.stack(after), np.stack(gain), np.max(gain, axis=1), np.array(final))

    def _step(self, state: State, character: str) -> State:
        parts = tuple(part + character for part in state if part + character in self._credits)
        return (*parts, "") if character == " " else parts

    def _credit(self, state: State) -> float:
        return max((self._credits[part] for part in state), default=0.0)


def make_rules(
    labels: Labels, config: DecoderConfig, language_model: LanguageModel | None, hot_words: HotWords | None
) -> Rules:
    """All settings of the search, for its compiled functions."""
    unit, tables, indices = NO_LM, NO_TABLES, np.zeros(0, np.int64)
    if language_model:
        unit, tables = UNITS[language_model.unit], language_model.model.tables
        indices = language_model.indices
    words, spellings = indices[:0], list(language_model.spellings.values()) if language_model else []
    if unit == WORDS:
        known = set(map(tuple, spellings)) if hot_words else set()
        more = [labels.encode(word) for word in hot_words.words] if hot_words else []
        more = [spelling for spelling in more if tuple(spelling) not in known]
        words, spellings = np.append(indices, [UNKNOWN] * len(more)).astype(np.int64), spellings + more
    none = np.zeros((1, len(labels)))
    hot_words_off = none.astype(np.int64), none, none[0, :1], none[0, :1]
    return Rules(
        labels.blank,
        labels.index(" ") if " " in labels else -1,
        unit == WORDS or hot_words is not None,
        unit,
        float(config.alpha if language_model else 0),
        float(config.beta if language_model else 0),
        float(config.lm_unknown),
        config.cutoff_top_n,
        float(config.cutoff_prob),
        tables,
        indices.astype(np.uint32),
        *build_lexicon(spellings, words, unigrams(tables, words), config),
        *(hot_words.states() if hot_words else hot_words_off),
    )


@compiled
def unigrams(tables: Tables, words: Ints) -> Reals:
    """Log-probabilities (words,) of words whatever comes before."""
    state, after = np.zeros(STATE, np.uint32), np.zeros(STATE, np.uint32)
    result = np.empty(len(words))
    for place in range(len(words)):
        result[place] = LN10 * score(tables, state, np.uint32(words[place]), after)
    return result


def build_lexicon(
    spellings: Sequence[Sequence[int]], words: Ints, scores: Reals, config: DecoderConfig
) -> tuple[Ints, Ints, Ints, Reals, Reals, int]:
    """A trie of words, as the six fields of the lexicon in `Rules`.

    Args:
        spellings: Label indices of each word.
        words: (words,) int64 indices in the model.
        scores: (words,) log-probabilities to look ahead to, by the model.
        config: Its weights, and whether the vocabulary is open.
    """
    scores = config.alpha * np.where(words == UNKNOWN, config.lm_unknown, scores) + config.beta
    unknown = config.alpha * config.lm_unknown + config.beta
    table = np.full((len(spellings), max(map(len, spellings), default=0)), -1, np.int32)
    for row, ids in zip(table, spellings, strict=True):
        row[: len(ids)] = ids
    order = np.lexsort(table.T[::-1]) if len(table) else np.zeros(0, np.int64)
    table, words, scores = table[order], words[order], scores[order]
    lengths = (table >= 0).sum(axis=1)
    # A cell starts a node where its word parts from the one above
    fresh = np.ones(table.shape, dtype=bool)
    fresh[1:] = np.logical_or.accumulate(table[1:] != table[:-1], axis=1)
    fresh &= table >= 0
    nodes = fresh.T.ravel().cumsum().reshape(fresh.T.shape).T  # (words, letters), level by level
    parents = np.concatenate([np.zeros((len(table), 1), np.int64), nodes[:, :-1]], axis=1).T[fresh.T]
    size = 1 + len(parents) + config.lm_open
    outside = size - 1 if config.lm_open else -1

    label = np.full(size, -1)
    label[1 : 1 + len(parents)] = table.T[fresh.T]
    word = np.full(size, UNKNOWN if config.lm_open else NOT_A_WORD)
    word[nodes[np.arange(len(table)), lengths - 1]] = words
    ahead = np.full(size, -np.inf)
    floor = np.maximum(scores, unknown) if config.lm_open else scores
    for letter in range(table.shape[1]):
        inside = table[:, letter] >= 0
        np.maximum.at(ahead, nodes[inside, letter], floor[inside])
    ahead[0], word[0] = 0.0, NOT_A_WORD
    longer = np.full(size, unknown if config.lm_open else -np.inf)
    if config.lm_open:
        ahead[outside] = unknown
    children = np.arange(1, 1 + len(parents))
    np.maximum.at(longer, parents, ahead[children])
    first = np.searchsorted(parents, np.arange(size + 1)) + 1
    return (first, label, word, ahead, longer, outside)
