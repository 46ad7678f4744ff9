"""Batches: samples padded with zeros, to one of few lengths."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.data.batch import WaveformSample, collate, collate_waveforms, padded_length, padded_samples
from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import SpectrogramDataset


def dataset_of(manifest, labels):
    return SpectrogramDataset(load_corpus(manifest, labels), labels)


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


@given(st.integers(0, 10**6))
def test_padded_lengths_are_multiples_of_16(longest):
    assert padded_length(longest) == math.ceil(longest / 16) * 16


@given(st.integers(0, 10**9))
def test_padded_samples_are_at_most_an_eighth_more(longest):
    assert longest <= padded_samples(longest) <= longest * 9 / 8


def test_padded_samples_have_eight_lengths_per_octave():
    assert len({padded_samples(longest) for longest in range(2**16 + 1, 2**17 + 1)}) == 8


def test_waveforms_are_padded_to_few_lengths_of_whole_frames():
    """A GPU plans the transform of every new shape: 120 lengths, within two seconds, need 13 plans."""
    waveforms = [torch.ones(32000 + 267 * index) for index in range(120)]
    shapes = set()
    for index, waveform in enumerate(waveforms):
        target = torch.tensor([1])
        sample = WaveformSample(index=index, waveform=waveform, target=target, duration=1.0)
        batch = collate_waveforms([sample], stride=160)
        assert batch.waveforms.sum() == batch.lengths[0] == len(waveform)
        shapes.add(batch.waveforms.shape[1])
    assert len(shapes) == 13
    assert all(samples % (16 * 160) == 0 for samples in shapes)
