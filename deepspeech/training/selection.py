"""Which model of a run is kept as the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from deepspeech import log
from deepspeech.evaluation.evaluate import Evaluation
from deepspeech.training.history import EpochRow

CHANCE = 1.64  # standard deviations: a worse model comes out so much worse by chance once in twenty times


@dataclass
class Selection:
    """Keeps the latest model that is not worse than the one of the lowest WER by more than chance.

    On a small validation set one word decides between epochs of the same quality, most often for an early
    one that has seen less. So models are compared by a paired test over the utterances: the difference of
    their errors, against its standard deviation if each utterance's difference were as likely of either sign.
    Word errors are compared, and character errors; the latter alone where references have no spaces.
    """

    epoch: int = 0  # of the kept model, from 1; 0 for none
    wer: float = math.inf  # of the kept model
    cer: float = math.inf
    lowest: tuple[float, float] = (math.inf, math.inf)  # WER and CER of the model to compare with
    errors: list[list[int]] = field(default_factory=list)  # its word and its character errors by utterance

    def __post_init__(self) -> None:
        """Check the values, which may come from a damaged file."""
        wer, cer = self.lowest
        numbers = self.epoch, self.wer, self.cer, wer, cer, *chain(*self.errors)
        if not all(isinstance(each, int | float) for each in numbers):
            raise TypeError("the state of the best model has non-numeric values")

    def choose(self, evaluation: Evaluation, epoch: int, noise: bool) -> str:
        """Judge the model of an epoch.

        Args:
            evaluation: Of the validation set.
            epoch: From 1.
            noise: Whether later models within chance replace earlier ones.

        Returns:
            Why the model is kept as the best so far; empty if it is not.
        """
        results = evaluation.results
        rates = evaluation.words.rate, evaluation.characters.rate
        if math.isnan(rates[0]):
            return ""
        errors = [[each.words.edits for each in results], [each.characters.edits for each in results]]
        if not any(" " in each.reference for each in results):
            rates, errors = rates[::-1], errors[1:]
        reason = ""
        if rates < tuple(self.lowest):
            reason, self.lowest, self.errors = "best so far", rates, errors
        elif noise and all(map(_within_chance, errors, self.errors)) and self.errors:
            reason = "kept as the best: no worse than the lowest WER by more than chance"
        if reason:
            self.epoch, self.wer, self.cer = epoch, evaluation.words.rate, evaluation.characters.rate
        return reason


def stalled(history: Sequence[EpochRow], patience: int) -> bool:
    """Whether the validation loss has not fallen for as many epochs; never for a patience of 0."""
    losses = [row.val_loss for row in history]
    if not 0 < patience < len(losses) or min(losses[-patience:]) < min(losses[:-patience]):
        return False
    log.info(f"the validation loss has not fallen for {patience} epochs: training ends")
    return True


def _within_chance(errors: list[int], lowest: list[int]) -> bool:
    """Whether errors by utterance exceed others by no more than chance; False where they cannot be paired."""
    differences = [new - old for new, old in zip(errors, lowest, strict=False)]
    spread = math.sqrt(sum(each * each for each in differences))
    return len(errors) == len(lowest) and sum(differences) <= CHANCE * spread
