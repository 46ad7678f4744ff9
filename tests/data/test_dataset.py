"""Batches: every utterance once an epoch, again from any position, little padding."""

import math
from itertools import chain

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.audio.features import Spectrogram
from deepspeech.audio.loading import load_audio
from deepspeech.data.batch import collate
from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.loader import AudioDataLoader
from deepspeech.data.sampler import LIKE_LENGTH, BucketingSampler
from deepspeech.errors import InputError
from tests.conftest import write_rows

DURATIONS = st.lists(st.floats(0.1, 20), min_size=1, max_size=60)
SIZES = st.integers(1, 9)


def epoch(sampler, number, start=0):
    sampler.set_epoch(number, start)
    return list(sampler)


@given(DURATIONS, SIZES, st.booleans(), st.booleans(), st.integers(0, 3))
def test_every_utterance_once_an_epoch(durations, size, shuffle, sorta_grad, number):
    sampler = BucketingSampler(durations, size, shuffle, sorta_grad)
    batches = epoch(sampler, number)
    assert sorted(chain(*batches)) == list(range(len(durations)))
    assert len(batches) == len(sampler)
    assert sorted(map(len, batches))[1:] == [size] * (len(batches) - 1)


@given(DURATIONS, SIZES, st.integers(0, 3), st.data())
def test_any_position_is_found_again(durations, size, number, data):
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


def test_epochs_differ_and_are_made_again_from_seed_and_number():
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


def test_shuffling_changes_which_utterances_go_together():
    sampler = BucketingSampler(many(), 8)
    first, second = ({frozenset(batch) for batch in epoch(sampler, number)} for number in (1, 2))
    assert len(first & second) < len(first) / 10


def test_shuffling_moves_batches():
    durations = many()
    means = [durations[batch].mean() for batch in epoch(BucketingSampler(durations, 8), 1)]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.5


def test_only_like_lengths_go_together():
    durations = np.random.default_rng(0).uniform(1, 10, 5000)
    for batch in epoch(BucketingSampler(durations, 8), 1):
        assert durations[batch].min() > (1 - 3 * LIKE_LENGTH) * durations[batch].max()


def test_padding_is_a_small_share():
    durations = many(count=2000)
    padded = sum(durations[batch].max() * len(batch) for batch in epoch(BucketingSampler(durations, 16), 1))
    assert durations.sum() / padded > 0.94


def dataset_of(manifest, labels):
    return SpectrogramDataset(load_corpus(manifest, labels), labels)


def test_a_sample_is_features_and_target(corpus, labels):
    dataset = dataset_of(corpus.train, labels)
    assert len(dataset) == 12
    for index, utterance in enumerate(dataset.corpus):
        sample = dataset[index]
        waveform = torch.from_numpy(load_audio(utterance.audio_path, 16000))
        assert torch.equal(sample.features, Spectrogram()(waveform[None])[0][0])
        assert sample.target.tolist() == dataset.corpus.targets[index].tolist()
        assert sample.duration == len(waveform) / 16000
        assert dataset.reference(index) == labels.decode(sample.target.tolist())


def test_a_batch_holds_its_samples_padded_with_zeros(corpus, labels):
    samples = [dataset_of(corpus.train, labels)[index] for index in (3, 0, 5)]
    batch = collate(samples)
    assert batch.indices == [3, 0, 5]
    assert batch.lengths.tolist() == [sample.features.shape[1] for sample in samples]
    longest = math.ceil(batch.lengths.max() / 16) * 16
    assert batch.features.shape == (3, 161, longest)
    for row, sample, length in zip(batch.features, samples, batch.lengths.tolist(), strict=True):
        assert torch.equal(row[:, :length], sample.features)
        assert not row[:, length:].any()
    targets = batch.targets.split(batch.target_lengths.tolist())
    assert all(torch.equal(a, b.target) for a, b in zip(targets, samples, strict=True))
    assert batch.duration == pytest.approx(sum(sample.duration for sample in samples))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_serves_an_epoch_from_any_position(corpus, labels, workers):
    dataset = dataset_of(corpus.train, labels)
    sampler = BucketingSampler(dataset.corpus.durations, 5)
    loader = AudioDataLoader(dataset, sampler, workers)
    sampler.set_epoch(1)
    whole = list(loader)
    assert [batch.indices for batch in whole] == list(sampler)
    sampler.set_epoch(1, 1)
    rest = list(loader)
    assert len(rest) == 2
    for one, other in zip(whole[1:], rest, strict=True):
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.targets, other.targets)


@pytest.mark.parametrize("workers", [0, 1])
def test_audio_found_damaged_while_reading(own_corpus, labels, workers):
    """The manifest gives durations, so nothing looked into the files before."""
    names = ["train_0.wav", "train_1.flac", "train_2.wav", "train_3.flac"]
    write_rows(own_corpus.train, [(name, f"{name.split('.')[0]}.txt", 1 + i) for i, name in enumerate(names)])
    dataset = dataset_of(own_corpus.train, labels)
    (own_corpus.folder / "train_1.flac").write_bytes(b"")
    sampler = BucketingSampler(dataset.corpus.durations, 3, shuffle=False)
    with pytest.raises(InputError, match=r"train\.csv:2: .*train_1\.flac: empty audio file"):
        list(AudioDataLoader(dataset, sampler, workers))
    batches = list(AudioDataLoader(dataset, sampler, workers, skip_faulty=True))
    assert [batch.indices for batch in batches] == [[0, 2], [3]]
    assert [len(batch.faults) for batch in batches] == [1, 0]


def test_a_batch_may_have_nothing_left(own_corpus, labels):
    dataset = dataset_of(own_corpus.train, labels)
    (own_corpus.folder / "train_0.wav").unlink()
    (batch, *_) = AudioDataLoader(dataset, BucketingSampler([1, 2, 3, 4], 1, False), skip_faulty=True)
    assert len(batch) == 0
    assert len(batch.faults) == 1
    assert batch.to(torch.device("cpu")).features.numel() == 0


def test_one_sample_of_audio_is_an_utterance(tmp_path, labels):
    soundfile.write(tmp_path / "a.wav", [0.5], 48000)
    (tmp_path / "a.txt").write_text("A")
    sample = dataset_of(write_rows(tmp_path / "m.csv", [("a.wav", "a.txt")]), labels)[0]
    assert sample.features.shape == (161, 1)
    assert torch.isfinite(sample.features).all()
