"""Word and character error rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import Levenshtein


@dataclass(frozen=True)
class ErrorCounts:
    """Edits that turn references into hypotheses. Corpora add up counts, never rates."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    length: int = 0  # units (words or characters) of the references

    @property
    def edits(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Edits per reference unit; NaN without reference units, for then there is no rate."""
        return self.edits / self.length if self.length else math.nan

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.length + other.length,
        )

    def __str__(self) -> str:
        rate = f"{100 * self.rate:.2f} %" if self.length else "no rate without references"
        return (
            f"{rate} ({self.substitutions} substitutions, {self.deletions} deletions, "
            f"{self.insertions} insertions of {self.length})"
        )


def word_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Compare word by word."""
    return _errors(reference.split(), hypothesis.split())


def char_errors(reference: str, hypothesis: str, spaces: bool = False) -> ErrorCounts:
    """Compare character by character, without spaces (as deepspeech.pytorch does) or with them."""
    if not spaces:
        reference, hypothesis = reference.replace(" ", ""), hypothesis.replace(" ", "")
    return _errors(reference, hypothesis)


def _errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    kinds = [edit[0] for edit in Levenshtein.editops(reference, hypothesis)]
    substitutions, deletions = kinds.count("replace"), kinds.count("delete")
    return ErrorCounts(substitutions, deletions, len(kinds) - substitutions - deletions, len(reference))
