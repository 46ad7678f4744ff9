"""Training runs that end before their time save their position."""

import os
import signal
import time
from multiprocessing import parent_process

import pytest

from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.errors import InputError
from tests.conftest import checkpoints
from tests.training.test_trainer import assert_equal, make_trainer, resumed, weights_of


def test_a_killed_worker_is_one_line_and_the_run_resumes(corpus, tmp_path, labels, monkeypatch):
    options = {"batch_size": 3, "epochs": 1}
    whole = make_trainer(corpus, tmp_path / "whole", labels, **options)
    whole.fit()
    whole.sampler.set_epoch(0)
    *_, last = whole.sampler
    read = SpectrogramDataset.__getitem__

    def killed(data, index):
        if index in last and parent_process():
            time.sleep(0.5)  # the batches before arrive
            os.kill(os.getpid(), signal.SIGKILL)
        return read(data, index)

    monkeypatch.setattr(SpectrogramDataset, "__getitem__", killed)
    trainer = make_trainer(corpus, tmp_path / "cut", labels, workers=1, **options)
    with pytest.raises(InputError, match="a process that loads data was killed") as caught:
        trainer.fit()
    (path,) = checkpoints(tmp_path / "cut")
    assert path.name == "deepspeech_checkpoint_epoch_1_iter_3.pth"
    assert f"saved {path}; resume with --continue-from {path}" in str(caught.value)
    rest = resumed(path, corpus, tmp_path / "rest", labels, **options)
    rest.fit()
    assert_equal(weights_of(rest), weights_of(whole))


def test_any_other_error_saves_the_position_too(corpus, tmp_path, labels, monkeypatch, capsys):
    trainer = make_trainer(corpus, tmp_path, labels)
    monkeypatch.setattr(trainer, "_validate", lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        trainer.fit()
    (path,) = checkpoints(tmp_path)
    assert path.name == "deepspeech_checkpoint_epoch_1_iter_3.pth"
    assert f"saved {path}; resume with --continue-from {path}" in capsys.readouterr().err


def test_an_unwritable_history_keeps_the_position(corpus, tmp_path, labels):
    (tmp_path / "metrics.csv").mkdir()
    with pytest.raises(InputError, match=r"metrics\.csv: cannot write: .*; saved .*epoch_2_iter_0\.pth"):
        make_trainer(corpus, tmp_path, labels).fit()
