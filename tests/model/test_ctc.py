"""CTC loss and the frames that it needs, against enumerated paths."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.model.ctc import ctc_losses, too_short, uniform_losses

FRAMES, LABELS = 5, 3


def paths(target, frames):
    """All paths of so many frames that spell the target."""
    for path in itertools.product(range(LABELS), repeat=frames):
        if [label for label, _ in itertools.groupby(path) if label] == target:
            yield path


@given(
    utterances=st.lists(
        st.tuples(st.lists(st.integers(1, LABELS - 1), max_size=4), st.integers(0, FRAMES)), max_size=4
    ),
    seed=st.integers(0, 99),
)
def test_loss_sums_over_all_paths_and_is_zero_without_any(utterances, seed):
    torch.manual_seed(seed)
    log_probs = torch.randn(len(utterances), FRAMES, LABELS).log_softmax(-1)
    lengths = torch.tensor([frames for _, frames in utterances], dtype=torch.int64)
    targets = torch.tensor([label for target, _ in utterances for label in target], dtype=torch.int64)
    target_lengths = torch.tensor([len(target) for target, _ in utterances], dtype=torch.int64)
    possible = [list(paths(target, frames)) for target, frames in utterances]
    assert too_short(lengths, targets, target_lengths).tolist() == [not found for found in possible]
    if utterances:
        expected = [
            -torch.stack([row[range(len(path)), path].sum() for path in found]).logsumexp(0) if found else 0.0
            for row, found in zip(log_probs, possible, strict=True)
        ]
        losses = ctc_losses(log_probs, lengths, targets, target_lengths, blank=0)
        assert losses.tolist() == pytest.approx([float(each) for each in expected], abs=1e-5)


@given(
    utterances=st.lists(
        st.tuples(st.lists(st.integers(1, LABELS - 1), max_size=4), st.integers(0, FRAMES)),
        min_size=1,
        max_size=4,
    ),
)
def test_uniform_loss_is_the_cross_entropy_of_evenly_spread_labels(utterances):
    log_probs = torch.randn(len(utterances), FRAMES, LABELS).log_softmax(-1)
    lengths = torch.tensor([frames for _, frames in utterances], dtype=torch.int64)
    targets = torch.tensor([label for target, _ in utterances for label in target], dtype=torch.int64)
    target_lengths = torch.tensor([len(target) for target, _ in utterances], dtype=torch.int64)
    expected = [
        -sum(
            float(row[frame, target[frame * len(target) // frames]])
            for frame in range(frames if target else 0)
        )
        for row, (target, frames) in zip(log_probs, utterances, strict=True)
    ]
    losses = uniform_losses(log_probs, lengths, targets, target_lengths)
    assert losses.tolist() == pytest.approx(expected, abs=1e-5)
