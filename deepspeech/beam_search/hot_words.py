"""Words and phrases that a user expects to hear."""

from __future__ import annotations

import math

import numpy as np

from deepspeech.errors import InputError
from deepspeech.labels import Labels, UnknownCharacters

State = tuple[str, ...]  # what was written so far of phrases that may be under way


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
        self.words = {word for phrase in self.boosts for word in phrase.split()}
        self._credits: dict[str, float] = {"": 0.0}
        for phrase, boost in self.boosts.items():
            for length in range(1, len(phrase) + 1):
                credit = max(boost, 0) * length / len(phrase)
                part = phrase[:length]
                self._credits[part] = max(credit, self._credits.get(part, 0.0))

        self._gains: dict[State, np.ndarray] = {}

    start: State = ("",)

    def step(self, state: State, character: str) -> State:
        """The state after one more character."""
        after = tuple(part + character for part in state if part + character in self._credits)
        return (*after, "") if character == " " else after

    def gains(self, state: State) -> np.ndarray:
        """What each label (labels,) adds to the score when it comes next."""
        if state not in self._gains:
            gains = np.array([self._credit(self.step(state, label)) for label in self.labels])
            gains -= self._credit(state)
            if " " in self.labels:
                gains[self.labels.index(" ")] += sum(self.boosts.get(part, 0.0) for part in state)
            self._gains[state] = gains
        return self._gains[state]

    def score(self, text: str) -> float:
        """The boosts of a whole text."""
        words = text.split()
        total = 0.0
        for phrase, boost in self.boosts.items():
            parts = phrase.split()
            total += boost * sum(
                words[place : place + len(parts)] == parts for place in range(len(words) - len(parts) + 1)
            )
        return total

    def _credit(self, state: State) -> float:
        return max((self._credits[part] for part in state), default=0.0)
