"""Checkpoints of an earlier version load, compute the same and resume; see `make_files.py`."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from deepspeech import load_model
from deepspeech.checkpoint.format import load_checkpoint
from tests.checkpoint.make_files import COMMON, KINDS, LAST
from tests.conftest import TinyCorpus, load_script

FILES = Path(__file__).parent / "files"
BIASES = {"conv.seq_module.0.bias", "conv.seq_module.3.bias"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def checkpoint(kind: str, tmp_path: Path) -> Path:
    path = tmp_path / f"{kind}.pth"
    path.write_bytes(gzip.decompress((FILES / f"{kind}.pth.gz").read_bytes()))
    return path


def test_log_probabilities_are_the_same(kind, checkpoint):
    with np.load(FILES / f"{kind}.npz") as there, torch.inference_mode():
        features, lengths = torch.from_numpy(there["features"]), torch.from_numpy(there["lengths"])
        log_probs, frames = load_model(checkpoint)(features, lengths)
        assert frames.tolist() == there["frames"].tolist()
        assert np.abs(log_probs.numpy() - there["log_probs"]).max() < 1e-5


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_weights(kind, checkpoint, corpus: TinyCorpus, tmp_path):
    flags = [*corpus.flags(), *COMMON, *KINDS[kind].training.split(), "--epochs", "3"]
    flags += ["--continue-from", str(checkpoint), "--save-folder", str(tmp_path / "models")]
    assert load_script("train.py").main(flags) == 0
    weights = load_checkpoint(tmp_path / "models" / LAST).state_dict
    with np.load(FILES / f"{kind}.npz") as there:
        assert weights.keys() == {name[len("final/") :] for name in there if name.startswith("final/")}
        for name, tensor in weights.items():
            # Batch norm cancels the biases before it: their gradient is rounding error, scaled up by Adam.
            cancelled = name in BIASES or name.endswith("running_mean")
            tolerance = {"rtol": 1e-4, "atol": 1e-2 if cancelled else 1e-5}
            assert np.allclose(tensor.numpy(), there[f"final/{name}"], **tolerance), name
