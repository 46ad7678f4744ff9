"""The length formula, against torch itself."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.windowing import Window

WINDOWS = st.builds(Window, st.integers(1, 12), st.integers(1, 4), st.integers(0, 6))


@given(WINDOWS, st.integers(1, 60))
def test_count_is_that_of_a_convolution(window, length):
    padded = length + 2 * window.padding
    expected = 0
    if padded >= window.size:
        convolved = torch.nn.functional.conv1d(
            torch.zeros(1, 1, length), torch.zeros(1, 1, window.size), None, window.stride, window.padding
        )
        expected = convolved.shape[-1]
    assert window.count(length) == expected


@given(WINDOWS, st.lists(st.integers(0, 10**9), min_size=1))
def test_tensors_and_numbers_count_alike(window, lengths):
    counts = window.count(torch.tensor(lengths))
    assert counts.dtype == torch.int64
    assert counts.tolist() == [window.count(length) for length in lengths]
