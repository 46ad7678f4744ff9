"""A training step by itself."""

from __future__ import annotations

import pytest
import torch

from deepspeech.data.batch import Sample, collate
from deepspeech.training.config import TrainingConfig
from deepspeech.training.train_step import TrainStep
from tests.conftest import tiny_model

SAMPLE = Sample(index=0, features=torch.randn(161, 40), target=torch.tensor([1, 2]), duration=0.4)


@pytest.fixture
def step(labels) -> TrainStep:
    return TrainStep(tiny_model(labels).train(), TrainingConfig(precision="fp32"))


def test_a_step_without_gradients_changes_nothing_and_stays_on_the_device(step):
    """As when no utterance of a step can be read. Its result is read together with others of the device."""
    before = [weights.clone() for weights in step.model.parameters()]
    step.device = torch.device("meta")
    finite = step.update(0.1)
    assert finite.device.type == "meta"
    assert all(map(torch.equal, before, step.model.parameters()))


def test_a_step_without_gradients_leaves_the_scale_of_gradients_alone(step):
    """The format of fp16 on a GPU; the scaler counts the steps whose gradients it has looked at."""
    step.scaler = torch.amp.GradScaler("cpu", enabled=True)
    for empty in (False, True, False):
        if not empty:
            step.backward(collate([SAMPLE]), 1)
        assert step.update(1e-3) > 0
    assert step.scaler.state_dict()["_growth_tracker"] == 2


def test_a_flat_start_lowers_the_loss_of_evenly_spread_labels(step):
    losses = []
    for _ in range(20):
        losses.append(float(step.backward(collate([SAMPLE]), 1, flat=True)))
        step.update(1e-2)
    log_probs, lengths = step.model(SAMPLE.features[None], torch.tensor([40]))
    halves = torch.tensor([1] * 10 + [2] * 10)
    assert lengths.tolist() == [20]
    assert losses[-1] < 0.5 * losses[0]
    assert float(torch.nn.functional.nll_loss(log_probs[0], halves, reduction="sum")) < 0.5 * losses[0]
