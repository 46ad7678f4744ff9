"""Words and phrases that a user expects."""

from __future__ import annotations

import math

import numpy as np

from deepspeech.beam_search.prefix_tree import Ints, Reals
from deepspeech.errors import InputError
from deepspeech.labels import Labels, UnknownCharacters

State = tuple[str, ...]  # what is complete of phrases under way


class HotWords:
    """Boosts for words and phrases, each for every place where it stands as whole words.

    While a text is written, a phrase under way lends a part of its boost, so that it is not
    dropped from the beam before it is complete; what stays incomplete gives it back.

    Args:
        text: "word:boost,phrase of words:boost"; boosts are natural logarithms.
        labels: What the network writes.

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
            if not phrase.strip() or not math.isfinite(boost):
                raise InputError(f"--hot-words {entry.strip()!r}: write WORD:BOOST, as 'LATTE:5'")
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
