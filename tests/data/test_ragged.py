"""Rows of numbers and text in arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.data.ragged import RaggedArray, Strings


@given(st.lists(st.text()))
def test_strings_equal_the_list_they_were_made_of(texts):
    strings = Strings(texts)
    assert list(strings) == texts
    assert [strings[-1 - index] for index in range(len(texts))] == texts[::-1]
    with pytest.raises(IndexError):
        strings[len(texts)]


@given(st.lists(st.lists(st.integers(0, 65535))), st.sampled_from([np.uint16, np.uint32]))
def test_ragged_arrays_equal_the_rows_they_were_made_of(rows, kind):
    ragged = RaggedArray((np.array(row, kind) for row in rows), kind)
    assert [row.tolist() for row in ragged] == rows
    assert all(row.dtype == kind for row in ragged)
