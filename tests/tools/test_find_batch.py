"""The largest batch: extrapolation finds the boundary, and real steps respect real limits."""

import math
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.errors import InputError
from deepspeech.model.config import ModelConfig
from deepspeech.tools.find_batch import Trial, extrapolate, find_batch
from deepspeech.training.config import TrainingConfig
from tests.conftest import load_script

MIB = 2**20


@given(
    boundary=st.integers(0, 3000), most=st.integers(1, 2000), slope=st.integers(1, 9), noise=st.integers(0, 3)
)
def test_extrapolation_finds_the_boundary_and_never_exceeds_the_limit(boundary, most, slope, noise):
    limit, asked = 100_000, []

    def peak(number):
        asked.append(number)
        return limit + 10 * slope * (number - boundary) - noise * (number % 2)

    found = extrapolate(peak, limit, most)
    assert found == pytest.approx(min(boundary, most), abs=1 + found / 20)
    assert all(number <= max(boundary, 2) for number in asked)
    assert max(asked) <= most
    assert len(asked) == len(set(asked)) <= 18


def test_a_step_that_fails_ends_the_search():
    assert extrapolate(lambda number: math.inf if number > 20 else number, 1000, 2000) == 16
    assert extrapolate(lambda number: math.inf, 1000, 2000) == 0


def trial(labels, device="cpu", waveforms=True) -> Trial:
    """Half a second an utterance."""
    model = ModelConfig(hidden_size=8, hidden_layers=1, labels=labels.characters)
    return Trial(model, TrainingConfig(precision="fp32"), torch.device(device), 0.5, 3, waveforms)


def search(labels, waveforms):
    """A limit, the batch that is found for it, and the memory that its step takes."""
    steps = trial(labels, waveforms=waveforms)
    limit = steps.peak(1) + 250 * MIB
    found = find_batch(steps, most=20000, limit=limit)
    return limit, found, steps.peak(found)


@pytest.mark.slow
@pytest.mark.parametrize("waveforms", [True, False])
def test_the_batch_that_is_found_takes_the_memory_that_is_allowed(labels, waveforms):
    # In a process of its own, as train.py is: here, blocks that other tests freed may count or not
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        limit, found, peak = process.submit(search, labels, waveforms).result()
    assert 4 < found < 1000
    assert peak == pytest.approx(limit, abs=80 * MIB)


@pytest.mark.slow
def test_a_limit_below_the_network_itself_is_reported(labels):
    with pytest.raises(InputError, match=r"^--find-batch: not even one utterance of 0\.5 s fits"):
        find_batch(trial(labels), most=4, limit=100 * MIB)


@pytest.mark.slow
def test_train_py_prints_the_flag(corpus, tmp_path, capsys):
    flags = f"--find-batch --hidden-size 8 --hidden-layers 1 --save-folder {tmp_path}".split()
    assert load_script("train.py").main([*corpus.flags(), *flags]) == 0
    found = re.search(
        r"^12 of the longest utterances \((.+) s\) fit .*, all there are: pass --batch-seconds (.+)$",
        capsys.readouterr().out,
        re.MULTILINE,
    )
    seconds, flag = map(float, found.groups())
    assert flag == pytest.approx(12 * seconds, abs=0.1)
    assert not list(tmp_path.glob("*.pth"))


def test_a_limit_without_a_search_is_refused(corpus, tmp_path):
    with pytest.raises(InputError, match=r"--memory-limit 2\.0: has no effect without --find-batch"):
        load_script("train.py").main([*corpus.flags(), "--memory-limit", "2"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_batch_for_a_gpu_takes_the_memory_that_is_allowed(labels):
    steps = trial(labels, "cuda")
    found = find_batch(steps, 50000, 2048 * MIB)
    assert 3 < found < 50000
    assert steps.peak(found) == pytest.approx(2048 * MIB, rel=0.1)
