"""The length formula, against torch itself; an axis in chunks, against the whole axis."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import conv1d, pad

from deepspeech.audio.sliding import Window

WINDOWS = st.builds(Window, st.integers(1, 12), st.integers(1, 14), st.integers(0, 6), st.integers(0, 6))


def convolve(window, units):
    """(batch, 1, units) -> (batch, 1, windows), without padding."""
    weights = torch.arange(1.0, window.size + 1).reshape(1, 1, -1)
    return conv1d(units, weights, stride=window.stride)


@given(WINDOWS, st.integers(1, 60))
def test_the_count_equals_a_convolution_output(window, length):
    padded = pad(torch.zeros(1, 1, length), (window.before, window.after))
    expected = convolve(window, padded).shape[-1] if padded.shape[-1] >= window.size else 0
    assert window.count(length) == expected


@given(WINDOWS, st.lists(st.integers(0, 10**9), min_size=1))
def test_counts_of_tensors_equal_those_of_numbers(window, lengths):
    counts = window.count(torch.tensor(lengths))
    assert counts.dtype == torch.int64
    assert counts.tolist() == [window.count(length) for length in lengths]


@given(WINDOWS, st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_chunks_equal_the_whole_axis(window, sizes):
    torch.manual_seed(0)
    axis, held, outputs = torch.rand(2, 1, sum(sizes)), None, []
    for index, chunk in enumerate(axis.split(sizes, dim=-1)):
        final = index == len(sizes) - 1
        count = window.count(sizes[index], None if held is None else held.shape[-1], final)
        output, held = window.slide(lambda units: convolve(window, units), chunk, held, final)
        assert output.shape[-1] == count
        assert final or held.shape[-1] < max(window.size, window.stride) + window.before
        outputs.append(output)
    whole, _ = window.slide(lambda units: convolve(window, units), axis)
    assert whole.shape[-1] == window.count(sum(sizes))
    assert torch.allclose(torch.cat(outputs, -1), whole)


def test_an_output_of_which_nothing_is_cut_is_no_view():
    """A view keeps in-place layers after it from working in place, and its gradient is a copy."""
    window, axis = Window(5, 2, 2, 2), torch.rand(2, 1, 9)
    outputs, held = window.slide(lambda units: convolve(window, units), axis)
    assert not outputs._is_view()
    first, held = window.slide(lambda units: convolve(window, units), axis, final=False)
    rest, _ = window.slide(lambda units: convolve(window, units), axis, held)
    assert not first._is_view()
    assert not rest._is_view()


def test_padding_keeps_the_memory_format():
    images = torch.rand(2, 8, 5, 9).to(memory_format=torch.channels_last)
    seen = []
    Window(3, 1, 1, 1).slide(lambda units: seen.append(units) or units[..., 2:], images)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
