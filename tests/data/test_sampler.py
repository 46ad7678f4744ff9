"""Batches of an epoch: every utterance once, reproducible from any position, with little padding."""

from __future__ import annotations

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.data.sampler import LIKE_LENGTH, BucketingSampler

DURATIONS = st.lists(st.floats(0.1, 20), min_size=1, max_size=60)
SIZES = st.integers(1, 9)


def epoch(sampler, number, start=0):
    sampler.set_epoch(number, start)
    return list(sampler)


@given(DURATIONS, SIZES, st.booleans(), st.booleans(), st.integers(0, 3))
def test_every_utterance_once_per_epoch(durations, size, shuffle, sorta_grad, number):
    sampler = BucketingSampler(durations, size, shuffle, sorta_grad)
    batches = epoch(sampler, number)
    assert sorted(chain(*batches)) == list(range(len(durations)))
    assert len(batches) == len(sampler)
    assert sorted(map(len, batches))[1:] == [size] * (len(batches) - 1)


@given(DURATIONS, SIZES, st.integers(0, 3), st.data())
def test_an_epoch_can_start_at_any_batch(durations, size, number, data):
    sampler = BucketingSampler(durations, size, seed=5)
    start = data.draw(st.integers(0, len(sampler)))
    again = BucketingSampler(durations, size, seed=5)
    assert epoch(again, number, start) == epoch(sampler, number)[start:]


@given(DURATIONS, SIZES, st.integers(1, 5), st.integers(0, 2))
def test_processes_share_an_epoch(durations, size, replicas, number):
    ranks = [
        epoch(BucketingSampler(durations, size, num_replicas=replicas, rank=rank), number)
        for rank in range(replicas)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    for together in zip(*ranks, strict=True):
        sizes = [len(batch) for batch in together]
        assert max(sizes) - min(sizes) <= 1
    assert sorted(chain(*chain(*ranks))) == list(range(len(durations)))
    alone = BucketingSampler(durations, size * replicas)
    for whole, *parts in zip(epoch(alone, number), *ranks, strict=True):
        assert sorted(whole) == sorted(chain(*parts))
    assert alone.plan() == BucketingSampler(durations, size, num_replicas=replicas).plan()


def many(seed=0, count=400):
    return np.random.default_rng(seed).gamma(4, 1.0, count) + 0.3


def test_epochs_differ_and_are_reproducible_from_seed_and_number():
    first, second = BucketingSampler(many(), 8, seed=1), BucketingSampler(many(), 8, seed=1)
    assert epoch(first, 1) == epoch(second, 1)
    assert epoch(first, 1) != epoch(first, 2)
    assert epoch(first, 1) != epoch(BucketingSampler(many(), 8, seed=2), 1)


def test_the_first_epoch_goes_from_short_to_long():
    durations = many()
    order = [*chain(*epoch(BucketingSampler(durations, 8), 0))]
    assert (np.diff(durations[order]) >= 0).all()


def test_the_first_epoch_can_be_shuffled_too():
    batches = epoch(BucketingSampler(many(), 8, sorta_grad=False), 0)
    assert batches != epoch(BucketingSampler(many(), 8), 0)


def test_without_shuffling_every_epoch_goes_from_short_to_long():
    sampler = BucketingSampler(many(), 8, shuffle=False)
    assert epoch(sampler, 0) == epoch(sampler, 3)


def test_shuffling_changes_which_utterances_form_a_batch():
    sampler = BucketingSampler(many(), 8)
    first, second = ({frozenset(batch) for batch in epoch(sampler, number)} for number in (1, 2))
    assert len(first & second) < len(first) / 10


def test_shuffling_moves_batches():
    durations = many()
    means = [durations[batch].mean() for batch in epoch(BucketingSampler(durations, 8), 1)]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.5


def test_only_similar_lengths_form_a_batch():
    durations = np.random.default_rng(0).uniform(1, 10, 5000)
    for batch in epoch(BucketingSampler(durations, 8), 1):
        assert durations[batch].min() > (1 - 3 * LIKE_LENGTH) * durations[batch].max()


def test_little_padding():
    durations = many(count=2000)
    padded = sum(durations[batch].max() * len(batch) for batch in epoch(BucketingSampler(durations, 16), 1))
    assert durations.sum() / padded > 0.94


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
def test_an_epoch_of_bounded_batches_can_start_at_any_batch(durations, seconds, share):
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


def test_the_plan_distinguishes_seconds_and_sizes():
    plans = [sampler_of([1.0, 2.0], seconds).plan() for seconds in (None, 5.0, 6.0)]
    assert plans[0] != plans[1] != plans[2]
    assert plans[1] == sampler_of([1.0, 2.0], 5.0).plan()


PARTS = st.lists(st.tuples(st.integers(1, 20), st.floats(0.01, 5)), min_size=1, max_size=4)


@given(PARTS, SIZES, st.booleans(), st.integers(0, 3))
def test_parts_are_taken_as_often_as_their_weights_say(parts, size, shuffle, number):
    total = sum(count for count, _ in parts)
    sampler = BucketingSampler(many(count=total), size, shuffle, parts=parts)
    indices = list(chain(*epoch(sampler, number)))
    assert len(set(indices)) == len(indices)  # every copy has its own index
    taken, first = np.bincount(np.array(indices) % total, minlength=total), 0
    for count, weight in parts:
        times = taken[first : first + count]
        assert set(times) <= {int(weight), int(weight) + 1}
        assert times.sum() == max(int(weight) * count + round(weight % 1 * count), 1)
        first += count


def test_the_share_of_a_part_differs_from_epoch_to_epoch_and_is_reproducible():
    sampler = BucketingSampler(many(), 7, parts=[(400, 0.25)], seed=3)
    epochs = [set(chain(*epoch(sampler, number))) for number in range(3)]
    assert len(set(map(frozenset, epochs))) == 3
    again = BucketingSampler(many(), 7, parts=[(400, 0.25)], seed=3)
    assert epoch(again, 2, 5) == epoch(sampler, 2)[5:]
    assert set(chain(*epoch(again, 1))) == epochs[1]


def test_whole_weights_equal_repeated_rows():
    durations = many(count=50)
    mixed = BucketingSampler(durations, 7, parts=[(50, 3.0)])
    repeated = BucketingSampler(np.tile(durations, 3), 7)
    assert [epoch(mixed, number) for number in range(3)] == [epoch(repeated, number) for number in range(3)]


def test_other_weights_are_another_plan():
    plans = [BucketingSampler(many(count=9), 3, parts=parts).plan() for parts in ((), [(9, 2.0)], [(9, 3.0)])]
    assert plans[0] == BucketingSampler(many(count=9), 3).plan()
    assert len(plans[0]) == 7  # as older checkpoints have it
    assert plans[0] != plans[1] != plans[2]


@given(PARTS, SIZES, st.integers(2, 4), st.integers(0, 2))
def test_processes_share_the_parts_of_an_epoch(parts, size, replicas, number):
    durations = many(count=sum(count for count, _ in parts))
    alone = BucketingSampler(durations, size * replicas, parts=parts)
    ranks = [
        epoch(BucketingSampler(durations, size, num_replicas=replicas, rank=rank, parts=parts), number)
        for rank in range(replicas)
    ]
    for whole, *shares in zip(epoch(alone, number), *ranks, strict=True):
        assert sorted(whole) == sorted(chain(*shares))
