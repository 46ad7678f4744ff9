from __future__ import annotations

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.data.sampler import BucketingSampler

DURATIONS = st.lists(st.floats(0.1, 20), min_size=1, max_size=80)


def sampler_of(durations: list[float], seconds: float, **options: object) -> BucketingSampler:
    return BucketingSampler(durations, 4, seed=1, batch_seconds=seconds, **options)


def cost(batch: list[int], durations: list[float]) -> float:
    return len(batch) * max(durations[index] for index in batch)


@given(durations=DURATIONS, seconds=st.floats(1, 60), epoch=st.integers(0, 3))
def test_batches_stay_within_their_seconds(durations, seconds, epoch):
    sampler = sampler_of(durations, seconds)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(chain(*batches)) == list(range(len(durations)))
    for batch in batches:
        assert len(batch) == 1 or cost(batch, durations) <= seconds


def test_batches_are_filled():
    durations = np.random.default_rng(0).uniform(1, 15, 500)
    for epoch in (0, 1):
        sampler = sampler_of(durations, 100)
        sampler.set_epoch(epoch)
        costs = np.array([cost(batch, durations) for batch in sampler])
        assert np.median(costs) > 85
        assert durations.sum() / costs.sum() > 0.9


@given(durations=DURATIONS, seconds=st.floats(1, 60), replicas=st.integers(1, 4), epoch=st.integers(0, 2))
def test_processes_get_equal_numbers_of_bounded_batches(durations, seconds, replicas, epoch):
    ranks = []
    for rank in range(replicas):
        sampler = sampler_of(durations, seconds, num_replicas=replicas, rank=rank)
        sampler.set_epoch(epoch)
        ranks.append(list(sampler))
    assert len({len(batches) for batches in ranks}) == 1
    for together in zip(*ranks, strict=True):
        sizes = [len(batch) for batch in together]
        assert max(sizes) - min(sizes) <= 1
        for batch in together:
            assert len(batch) <= 1 or cost(batch, durations) <= seconds
    assert sorted(chain(*chain(*ranks))) == list(range(len(durations)))


@given(durations=DURATIONS, seconds=st.floats(1, 60), share=st.floats(0, 1))
def test_an_epoch_goes_on_where_it_stopped(durations, seconds, share):
    sampler = sampler_of(durations, seconds)
    sampler.set_epoch(2)
    whole = list(sampler)
    start = int(share * len(whole))
    again = sampler_of(durations, seconds)
    again.set_epoch(2, start)
    assert list(again) == whole[start:]
    assert len(again) == len(whole)


def test_the_first_epoch_goes_from_short_to_long_and_later_ones_differ():
    durations = list(np.random.default_rng(0).uniform(1, 15, 200))
    sampler = sampler_of(durations, 60)
    first = [*chain(*sampler)]
    assert [durations[index] for index in first] == sorted(durations)
    epochs = []
    for epoch in (1, 2, 1):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert epochs[0] == epochs[2] != epochs[1]


def test_the_plan_tells_seconds_from_sizes():
    plans = [sampler_of([1.0, 2.0], seconds).plan() for seconds in (None, 5.0, 6.0)]
    assert plans[0] != plans[1] != plans[2]
    assert plans[1] == sampler_of([1.0, 2.0], 5.0).plan()
