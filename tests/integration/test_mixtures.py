"""--train-manifest a.csv:2 b.csv:0.5: mixtures train as their definition says, and resume bit for bit."""

from __future__ import annotations

import pytest
import torch

from deepspeech.checkpoint.format import load_model
from tests.conftest import checkpoints, load_script, write_rows

FLAGS = (
    "--hidden-size 8 --hidden-layers 1 --no-cuda --precision fp32 --num-workers 0 --batch-size 4 "
    "--speed-volume-perturb --spec-augment --epochs 2"
)


@pytest.fixture
def train(tmp_path, corpus):
    """Train on manifests; returns the weights of the last epoch."""

    def run(name, *manifests, more=""):
        files = ["--val-manifest", corpus.val, "--save-folder", tmp_path / name]
        files += ["--train-manifest", *manifests]
        assert not load_script("train.py").main([*map(str, files), *FLAGS.split(), *more.split()])
        return load_model(tmp_path / name / "deepspeech_last.pth").state_dict()

    return run


def equal(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def rows_of(corpus, count):
    """The first rows of the training data, with absolute paths."""
    lines = corpus.train.read_text().split()[:count]
    return [tuple(str(corpus.folder / cell) for cell in line.split(",")) for line in lines]


def test_a_weight_of_two_equals_manifests_given_twice(tmp_path, corpus, train):
    rows = rows_of(corpus, 6)
    whole = write_rows(tmp_path / "whole.csv", rows)
    first, second = write_rows(tmp_path / "1.csv", rows[:4]), write_rows(tmp_path / "2.csv", rows[4:])
    assert equal(train("a", f"{whole}:2"), train("b", first, second, f"{first}:1", second))


def test_a_mixture_resumes_within_an_epoch_bit_for_bit(tmp_path, corpus, train):
    rows = rows_of(corpus, 12)
    first, second = write_rows(tmp_path / "1.csv", rows[:7]), write_rows(tmp_path / "2.csv", rows[7:])
    mixture = f"{first}:1.5", f"{second}:0.5"  # 7 + 4 and 2 of 5 utterances: 4 batches
    whole = train("a", *mixture, more="--checkpoint --checkpoint-per-iteration 1")
    saved = next(path for path in checkpoints(tmp_path / "a") if "epoch_2_iter_2" in path.name)
    assert equal(whole, train("b", *mixture, more=f"--continue-from {saved}"))
    other = train("c", f"{first}:1.5", f"{second}:0.8", more=f"--continue-from {saved}")
    assert not equal(whole, other)
