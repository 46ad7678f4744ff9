"""The state of a training run: progress, pending losses, and what a checkpoint stores."""

from __future__ import annotations

import math

import pytest
import torch

from deepspeech.checkpoint.format import load_checkpoint, save_checkpoint
from deepspeech.data.corpus import load_corpus
from deepspeech.errors import InputError
from deepspeech.training.history import EpochRow
from deepspeech.training.selection import Selection
from deepspeech.training.state import PendingLosses, Progress, ResumeState

ROW = EpochRow(1, 52.5, 48.25, 0.875, 0.5, 3e-4, 61.0, 1830.0, 0.02, 0, 0, 0)


@pytest.fixture
def losses(corpus, labels) -> PendingLosses:
    return PendingLosses(load_corpus(str(corpus.train), labels), max_bad_steps=2)


def add(losses: PendingLosses, finite: bool, *batches: float) -> None:
    for index, loss in enumerate(batches):
        losses.add_batch(torch.tensor(loss), 2, [2 * index, 2 * index + 1])
    losses.add_step(torch.tensor(finite))


def test_flushed_losses_are_added_to_the_progress(losses):
    progress = Progress(loss=1.0, utterances=1)
    add(losses, True, 10.0, 20.0)
    add(losses, False, 5.0, math.nan)
    losses.add_batch(torch.tensor(7.0), 2, [0, 1])  # its step is still to come
    losses.flush(progress)
    losses.flush(progress)
    assert (progress.loss, progress.utterances, progress.skipped_steps) == (36.0, 7, 1)
    losses.add_step(torch.tensor(True))
    losses.flush(progress)
    assert (progress.loss, progress.utterances, progress.skipped_steps) == (43.0, 9, 1)


def test_divergence_names_the_files_whose_loss_is_not_finite(losses):
    progress = Progress()
    for finite in (False, True, False):
        add(losses, finite, 1.0)
        losses.flush(progress)
    add(losses, False, 1.0, math.inf)
    with pytest.raises(InputError, match="in 2 steps in a row") as caught:
        losses.flush(progress)
    message = str(caught.value)
    assert all(losses.corpus[index].audio_path in message for index in (2, 3))
    assert not any(losses.corpus[index].audio_path in message for index in (0, 1))


def test_the_resume_state_survives_a_checkpoint(tmp_path, model):
    state = ResumeState(
        Progress(epoch=2, batch=5, loss=1.5, named=[3]),
        Selection(2, 0.25, 0.2, (0.25, 0.2), [[1, 0], [2, 3]]),
        optimizer={"state": {0: {"momentum_buffer": [1.0]}}},
        plan=[1, 2, 0.5],
        history=[ROW],
        new_layers=["fc.0.module.1"],
        run="a",
    )
    save_checkpoint(tmp_path / "m.pth", model, state.to_dict())
    loaded = ResumeState.of(load_checkpoint(tmp_path / "m.pth"))
    assert loaded.to_dict() == state.to_dict()
    assert loaded.history == [ROW]
    assert loaded.source == str(tmp_path / "m.pth")
    save_checkpoint(tmp_path / "m.pth", model)
    assert ResumeState.of(load_checkpoint(tmp_path / "m.pth")) is None
