"""Greedy decoding against a plain loop over frames."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.labels import Labels

ALPHABETS = [["_", "A", "B", " "], ["A", "B", "_", " "], ["A", " ", "B", "_"]]
FRAMES = st.lists(st.integers(0, 3), max_size=15)


def plain(labels, ids):
    """Text and offsets, frame by frame."""
    text, offsets, previous = "", [], None
    for frame, index in enumerate(ids):
        if index != previous and labels[index] != "_":
            text += labels[index]
            offsets.append(frame)
        previous = index
    return text, offsets


def log_probs_of(paths, seed=0):
    """Log-probabilities whose best labels are the paths, with noise beyond each end."""
    torch.manual_seed(seed)
    scores = torch.rand(len(paths), max(map(len, paths)) + 1, 4)
    for row, path in zip(scores, paths, strict=True):
        row[torch.arange(len(path)), path] += 1
    return scores.log_softmax(-1)


@pytest.mark.parametrize("alphabet", ALPHABETS)
@given(paths=st.lists(FRAMES, min_size=1, max_size=4))
def test_equal_to_a_plain_loop(alphabet, paths):
    labels, log_probs = Labels(alphabet), log_probs_of(paths)
    found = GreedyDecoder(labels).decode(log_probs, torch.tensor([len(path) for path in paths]))
    for (hypothesis,), path, row in zip(found, paths, log_probs, strict=True):
        assert (hypothesis.text, hypothesis.offsets) == plain(labels, path)
        expected = sum(row[frame, index].item() for frame, index in enumerate(path))
        assert hypothesis.score == pytest.approx(expected, abs=1e-4)


def test_a_blank_separates_equal_letters():
    labels = Labels(ALPHABETS[0])
    (both,), (one,) = GreedyDecoder(labels).decode(
        log_probs_of([[1, 1, 0, 1, 2], [1, 1, 1, 1, 2]]), torch.tensor([5, 5])
    )
    assert (both.text, both.offsets) == ("AAB", [0, 3, 4])
    assert (one.text, one.offsets) == ("AB", [0, 4])


def test_no_frames_are_no_text():
    (hypothesis,) = GreedyDecoder(Labels(ALPHABETS[0])).decode(torch.zeros(1, 3, 4), torch.tensor([0]))[0]
    assert (hypothesis.text, hypothesis.offsets, hypothesis.score) == ("", [], 0.0)
