"""Which model is kept as the best."""

from __future__ import annotations

import math

import pytest

from deepspeech.evaluation.evaluate import Evaluation, compare
from deepspeech.training.selection import Selection

REFERENCE = "ONE TWO THREE FOUR"


def evaluation(*wrong: int) -> Evaluation:
    """So many wrong words in each utterance; a wrong word has one wrong character."""
    hypotheses = [
        " ".join([f"{word}X" for word in REFERENCE.split()[:n]] + REFERENCE.split()[n:]) for n in wrong
    ]
    return Evaluation([compare(f"{n}.wav", REFERENCE, text) for n, text in enumerate(hypotheses)], 0.0)


def kept(*evaluations: Evaluation, noise: bool = True) -> int:
    selection = Selection()
    for epoch, each in enumerate(evaluations, 1):
        selection.choose(each, epoch, noise)
    return selection.epoch


FEW, ONE_MORE, MANY_MORE = (
    evaluation(1, 0, 0, 1, 0, 0),
    evaluation(1, 1, 0, 1, 0, 0),
    evaluation(2, 1, 1, 2, 1, 1),
)


def test_a_later_model_within_chance_is_kept():
    assert kept(FEW, ONE_MORE) == 2
    assert kept(FEW, ONE_MORE, noise=False) == 1


def test_a_model_that_is_worse_by_more_than_chance_is_not_kept():
    assert kept(FEW, MANY_MORE) == 1


def test_models_are_compared_with_the_lowest_wer_not_with_the_one_kept():
    """So that small steps do not add up."""
    steps = [evaluation(*[1] * n, *[0] * (9 - n)) for n in range(9)]
    assert kept(*steps) == 3  # three utterances with one error more: 3 > 1.64 * sqrt(3)


def test_character_errors_decide_where_all_words_are_wrong():
    bad, better = ([compare("a.wav", REFERENCE, text)] * 9 for text in ("X X X X", "ONEX TWOX THREEX FOURX"))
    assert kept(Evaluation(bad, 0.0), Evaluation(better, 0.0), noise=False) == 2
    assert kept(Evaluation(better, 0.0), Evaluation(bad, 0.0)) == 1


def test_characters_alone_decide_where_labels_have_no_space():
    first, second = (
        [compare("a.wav", "\u4eca\u65e5\u306f", text)] * 9 for text in ("\u4eca", "\u4eca\u65e5")
    )
    selection = Selection()
    assert selection.choose(Evaluation(first, 0.0), 1, noise=True)
    assert selection.choose(Evaluation(second, 0.0), 2, noise=False) == "best so far"
    assert (selection.epoch, selection.wer, selection.cer) == (2, 1.0, pytest.approx(1 / 3))


def test_without_references_no_model_is_the_best():
    selection = Selection()
    assert not selection.choose(Evaluation([], math.nan), 1, noise=True)
    assert selection.choose(FEW, 2, noise=True) == "best so far"


def test_models_cannot_be_paired_when_other_utterances_are_readable():
    assert kept(FEW, evaluation(1, 0, 0, 1, 1)) == 1
    assert kept(FEW, evaluation(0, 0, 0, 0, 0)) == 2
