"""Error counts agree with jiwer."""

import math

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.evaluation.metrics import ErrorCounts, char_errors, word_errors

SENTENCES = st.lists(st.sampled_from(["ONE", "TWO", "TOO", "O", "N"]), max_size=7).map(" ".join)
REFERENCES = SENTENCES.filter(bool)


@given(REFERENCES, SENTENCES)
def test_word_errors_agree_with_jiwer(reference, hypothesis):
    ours, theirs = word_errors(reference, hypothesis), jiwer.process_words(reference, hypothesis)
    assert ours.rate == pytest.approx(theirs.wer)
    assert ours.edits == theirs.substitutions + theirs.deletions + theirs.insertions
    assert ours.length == len(reference.split())
    assert ours.insertions - ours.deletions == len(hypothesis.split()) - len(reference.split())


@given(REFERENCES, SENTENCES)
def test_character_errors_with_spaces_agree_with_jiwer(reference, hypothesis):
    assert char_errors(reference, hypothesis, spaces=True).rate == pytest.approx(
        jiwer.cer(reference, hypothesis)
    )


@given(REFERENCES, SENTENCES)
def test_character_errors_without_spaces_are_those_of_joined_words(reference, hypothesis):
    joined = reference.replace(" ", ""), hypothesis.replace(" ", "")
    assert char_errors(reference, hypothesis).rate == pytest.approx(jiwer.cer(*joined))


@given(st.lists(st.tuples(REFERENCES, SENTENCES), min_size=1, max_size=5))
def test_counts_of_a_corpus_are_sums(pairs):
    total = sum((word_errors(*pair) for pair in pairs), ErrorCounts())
    assert total.rate == pytest.approx(jiwer.wer(*map(list, zip(*pairs, strict=True))))


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts"),
    [
        ("A B C", "A B C", (0, 0, 0)),
        ("A B C", "A X C", (1, 0, 0)),
        ("A B C", "A C", (0, 1, 0)),
        ("A B C", "A B B C", (0, 0, 1)),
        ("A B C", "", (0, 3, 0)),
        ("", "A B", (0, 0, 2)),
        ("", "", (0, 0, 0)),
    ],
)
def test_kinds_of_errors(reference, hypothesis, counts):
    errors = word_errors(reference, hypothesis)
    assert (errors.substitutions, errors.deletions, errors.insertions) == counts


def test_empty_references_do_not_divide_by_zero():
    assert math.isnan(word_errors("", "").rate)
    assert math.isnan(char_errors("", "A B").rate)
    assert str(word_errors("", "A B")).startswith("no rate without references (")
    assert (word_errors("", "A") + word_errors("B C", "B C")).rate == 0.5


def test_counts_are_shown_with_rate_and_kinds():
    shown = str(ErrorCounts(1, 2, 3, 60))
    assert shown == "10.00 % (1 substitutions, 2 deletions, 3 insertions of 60)"
