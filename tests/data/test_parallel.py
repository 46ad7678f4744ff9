"""Rows checked in threads, faults as values."""

from __future__ import annotations

import pickle

import pytest

from deepspeech.data.parallel import ValueOrFault, map_checked, report_faults
from deepspeech.errors import InputError


def reciprocal(row: int) -> float:
    if row == 0:
        raise InputError("no reciprocal of 0")
    return 1 / row


def test_a_fault_is_a_value_also_in_another_process():
    function = pickle.loads(pickle.dumps(ValueOrFault(reciprocal)))
    assert function(4) == function[4] == 0.25
    fault = pickle.loads(pickle.dumps(function[0]))
    assert isinstance(fault, InputError)
    assert str(fault) == "no reciprocal of 0"


def test_other_errors_are_raised():
    with pytest.raises(TypeError):
        ValueOrFault(reciprocal)("four")


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_results_and_faults_keep_their_order(count):
    results, faults = map_checked(reciprocal, [row % 10 for row in range(count)], "Dividing")
    assert results == [1 / (row % 10) for row in range(count) if row % 10]
    assert faults == ["no reciprocal of 0"] * -(-count // 10)


def test_skipped_faults_are_one_message(capsys):
    report_faults("m.csv", ["m.csv:1: bad", "m.csv:2: worse"], skip=True)
    assert capsys.readouterr().err == "m.csv: 2 faulty rows are left out, the first is m.csv:1: bad\n"
