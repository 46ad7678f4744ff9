"""The largest batch: the search finds the boundary, and real trials notice real limits."""

import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.errors import InputError
from deepspeech.model.deepspeech2 import ModelConfig
from deepspeech.tools.find_batch import Setting, Trials, find_batch, largest
from deepspeech.training.config import TrainingConfig
from tests.conftest import load_script

GIB = 2**30


@given(boundary=st.integers(0, 3000), most=st.integers(1, 2000))
def test_the_search_finds_the_boundary_in_few_trials(boundary, most):
    asked = []

    def fits(number):
        asked.append(number)
        return number <= boundary

    found = largest(fits, most)
    assert found <= min(boundary, most)
    assert min(boundary, most) - found <= found // 30
    assert max(asked) <= most
    assert len(asked) == len(set(asked)) <= 18


def setting(labels, gib, waveforms=True) -> Setting:
    """Half a second an utterance; the process itself takes 0.75 GiB."""
    model = ModelConfig(hidden_size=8, hidden_layers=1, labels=labels.characters)
    training = TrainingConfig(precision="fp32")
    return Setting(model, training, "cpu", waveforms, 0.5, 3, int(gib * GIB))


@pytest.mark.slow
def test_memory_that_runs_out_is_noticed_and_trials_go_on(labels):
    with Trials(setting(labels, 1.1, waveforms=False)) as trials:
        assert [trials.fits(number) for number in (2, 20000, 3)] == [True, False, True]


@pytest.mark.slow
def test_a_real_limit_bounds_the_batch(labels):
    assert 0 < find_batch(setting(labels, 1.0), most=20000) < 2000


@pytest.mark.slow
def test_a_limit_below_the_network_itself_is_told(labels):
    with pytest.raises(InputError, match=r"^--find-batch: not even one utterance of 0\.5 s fits"):
        find_batch(setting(labels, 0.1), most=4)


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


def test_a_limit_without_a_search_is_a_mistake(corpus, tmp_path):
    with pytest.raises(InputError, match=r"--memory-limit 2\.0: has no effect without --find-batch"):
        load_script("train.py").main([*corpus.flags(), "--memory-limit", "2"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory_of_a_gpu_runs_out_too(labels):
    with Trials(replace(setting(labels, 2), device="cuda")) as trials:
        assert [trials.fits(number) for number in (2, 50000, 3)] == [True, False, True]
