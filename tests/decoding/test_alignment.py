"""Forced alignment."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.decoding.alignment import ForcedAligner, forced_align
from deepspeech.errors import InputError
from deepspeech.labels import Labels

LABELS = Labels(["_", "A", "B", " "])


PATHS = np.array(list(itertools.product(range(len(LABELS)), repeat=6)))  # (4096, frames)
STARTS = (PATHS != 0) & np.diff(PATHS, axis=1, prepend=0).astype(bool)
SPELLED = [tuple(path[start]) for path, start in zip(PATHS, STARTS, strict=True)]


@given(seed=st.integers(0, 10_000), text=st.sampled_from(["A", "AB", "AA", "A B", "ABB"]))
def test_is_the_best_of_all_paths(seed, text):
    log_probs = torch.randn(6, len(LABELS), generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    targets = LABELS.encode(text)
    scores = log_probs.numpy()[np.arange(6), PATHS].sum(axis=1)
    scores[[spelled != tuple(targets) for spelled in SPELLED]] = -np.inf
    offsets, score = forced_align(log_probs, targets, LABELS.blank)
    assert offsets == np.flatnonzero(STARTS[scores.argmax()]).tolist()
    assert score == pytest.approx(scores.max(), abs=1e-4)


def test_every_utterance_is_aligned_within_its_length():
    torch.manual_seed(0)
    log_probs = torch.randn(2, 9, len(LABELS)).log_softmax(-1)
    aligner = ForcedAligner(LABELS, " A \n B ")
    both = aligner.decode(log_probs, torch.tensor([9, 4]))
    alone = aligner.decode(log_probs[1:, :4], torch.tensor([4]))
    assert both[1] == alone[0]
    assert [found.text for (found,) in both] == ["A B", "A B"]
    assert len(both[0][0].offsets) == 3


def test_the_blank_may_be_any_label():
    labels = Labels(["A", "B", "_"])
    log_probs = torch.tensor([[0.1, 0.1, 0.8], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1]]).log()
    ((found,),) = ForcedAligner(labels, "AB").decode(log_probs[None], torch.tensor([4]))
    assert found.offsets == [1, 3]


@pytest.mark.parametrize(("text", "words"), [("A?B", "'?'"), ("a", "'a'"), (" \n", "empty transcript")])
def test_wrong_transcripts(text, words):
    with pytest.raises(InputError, match=words):
        ForcedAligner(LABELS, text)


def test_too_short_audio():
    """A letter twice needs a blank between."""
    with pytest.raises(InputError, match="needs 3 output frames, the audio has 2"):
        ForcedAligner(LABELS, "AA").decode(torch.zeros(1, 5, 4).log_softmax(-1), torch.tensor([2]))


@pytest.mark.parametrize("failure", ["ImportError", "OSError", "RuntimeError"])
def test_a_torchaudio_that_does_not_fit_is_one_clear_error(failure, tmp_path, monkeypatch):
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text(f"raise {failure}('built for\\nanother torch')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"torchaudio that fits torch.*built for another torch.*pip install"):
        forced_align(torch.zeros(3, 2).log_softmax(-1), [1], 0)
