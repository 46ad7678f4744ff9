"""Learning rate schedules."""

import pytest

from deepspeech.training.config import TrainingConfig
from deepspeech.training.optimizer import learning_rate


def test_annealing_divides_the_rate_after_every_epoch():
    config = TrainingConfig(learning_rate=1.0, learning_anneal=2.0)
    assert [learning_rate(config, epoch, share) for epoch, share in ((0, 0.1), (0, 1), (1, 0.5), (3, 1))] == [
        1, 1, 0.5, 0.125,
    ]  # fmt: skip


def test_cosine_decays_to_zero():
    config = TrainingConfig(learning_rate=1.0, schedule="cosine", epochs=10)
    rates = [learning_rate(config, epoch, share) for epoch in range(10) for share in (0.5, 1.0)]
    assert rates == sorted(rates, reverse=True)
    assert rates[9] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(0)


@pytest.mark.parametrize("schedule", ["anneal", "cosine"])
def test_warmup_rises_from_zero(schedule):
    config = TrainingConfig(learning_rate=1.0, schedule=schedule, warmup_epochs=1.5, learning_anneal=1.0)
    rates = [learning_rate(config, 0, 0.3), learning_rate(config, 0, 0.9), learning_rate(config, 1, 0.5)]
    assert rates == pytest.approx([0.2, 0.6, 1.0])
