"""Batches from worker processes, with features computed there or on the device."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from deepspeech.audio.augment import Augmentation, AugmentConfig
from deepspeech.audio.config import FeatureConfig
from deepspeech.checkpoint.format import load_checkpoint
from deepspeech.data.batch import collate_waveforms
from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.loader import AudioDataLoader, DeviceFeatures, ahead
from deepspeech.data.sampler import BucketingSampler
from deepspeech.errors import InputError
from deepspeech.training.config import TrainingConfig
from deepspeech.training.train_step import TrainStep
from tests.conftest import TinyCorpus, load_script, tiny_model, write_rows

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
EVERYTHING = {"speed_volume_perturb": True, "telephone_prob": 0.5, "spec_augment": "LD"}


def dataset_of(manifest, labels):
    return SpectrogramDataset(load_corpus(manifest, labels), labels)


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
def test_damaged_audio_raises_or_is_left_out(own_corpus, labels, workers):
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


@pytest.mark.parametrize("on_device", [True, False])
def test_a_batch_may_be_empty(own_corpus, labels, on_device):
    dataset = dataset_of(own_corpus.train, labels)
    (own_corpus.folder / "train_0.wav").unlink()
    sampler = BucketingSampler([1, 2, 3, 4], 1, False)
    (batch, *_) = AudioDataLoader(dataset, sampler, skip_faulty=True, features_on_device=on_device)
    assert len(batch) == len(batch.features) == len(batch.lengths) == 0
    assert len(batch.faults) == 1
    assert batch.to(torch.device("cpu")).features.numel() == 0


def test_an_empty_batch_of_waveforms_has_features_on_the_device():
    """Where the host hands batches over to a GPU's stream, features of the host would be an error."""
    features = DeviceFeatures(FeatureConfig()).to("meta")
    batch = features(collate_waveforms([], stride=160))
    assert (batch.features.device.type, len(batch), batch.lengths.device.type) == ("meta", 0, "cpu")


class PretendedStream:
    """Stands for a CUDA stream, which a machine without a GPU cannot make."""

    made = 0

    def __init__(self, device):
        PretendedStream.made += 1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def record_event(self):
        return self

    def wait_event(self, event):
        assert isinstance(event, PretendedStream)


def test_all_epochs_prepare_their_batches_on_one_stream(monkeypatch):
    """Memory that a stream has freed is lost to all others."""
    device = torch.device("cuda", 99)
    current, used = PretendedStream(device), []
    monkeypatch.setattr(PretendedStream, "made", 0)
    monkeypatch.setattr(torch.cuda, "Stream", PretendedStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)

    def prepare(number):
        return SimpleNamespace(number=number, features=SimpleNamespace(record_stream=used.append))

    for _ in range(3):
        served = [batch.number for batch in ahead(range(4), prepare, device)]
        assert served == [0, 1, 2, 3]
    assert PretendedStream.made == 1
    assert used == [current] * 12


def batches(corpus: TinyCorpus, labels, on_device, options=None, epoch=1, batch_size=5, device="cpu"):
    """All batches of an epoch, as training reads them."""
    loaded = load_corpus(corpus.train, labels)
    augment = Augmentation(AugmentConfig(**options), 16000, seed=7) if options is not None else None
    dataset = SpectrogramDataset(loaded, labels, augment=augment)
    sampler = BucketingSampler(loaded.durations, batch_size, seed=3)
    sampler.set_epoch(epoch)
    return list(AudioDataLoader(dataset, sampler, device=device, features_on_device=on_device))


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("options", [None, {}, EVERYTHING], ids=["plain", "nothing drawn", "everything"])
def test_workers_and_device_compute_the_same_batches(corpus, labels, options, epoch):
    ours, expected = (batches(corpus, labels, on_device, options, epoch) for on_device in (True, False))
    assert [len(batch) for batch in ours] == [5, 5, 2]
    for one, other in zip(ours, expected, strict=True):
        assert one.indices == other.indices
        for name in ("lengths", "targets", "target_lengths"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert one.duration == other.duration
        torch.testing.assert_close(one.features, other.features, atol=1e-4, rtol=1e-4)


def test_spec_augment_masks_the_same_places_and_they_change_with_the_epoch(corpus, labels):
    one, same, other = (
        torch.cat([each.features.flatten() for each in batches(corpus, labels, way, EVERYTHING, epoch)]) == 0
        for way, epoch in ((True, 0), (False, 0), (True, 3))
    )
    assert torch.equal(one, same)
    assert one.shape != other.shape or not torch.equal(one, other)


def train(corpus, folder, *flags):
    arguments = [*corpus.flags(), "--save-folder", folder, "--hidden-size", 12, "--hidden-layers", 2]
    arguments += ["--epochs", 2, "--batch-size", 4, "--num-workers", 0, "--precision", "fp32", *flags]
    assert load_script("train.py").main([*map(str, arguments)]) == 0
    return load_checkpoint(folder / "deepspeech_final.pth").state_dict


@pytest.mark.parametrize("augmentation", [[], ["--spec-augment", "SM", "--speed-volume-perturb"]])
def test_features_of_workers_and_device_train_the_same_weights(corpus, tmp_path, augmentation):
    flags = ["--lr", "1e-4", *augmentation]
    ours = train(corpus, tmp_path / "device", "--features-on-device", *flags)
    expected = train(corpus, tmp_path / "host", "--no-features-on-device", *flags)
    for name, weights in expected.items():
        torch.testing.assert_close(
            ours[name], weights, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_unreadable_utterances_are_left_out_of_their_batch(own_corpus, labels):
    loaded = load_corpus(own_corpus.train, labels)
    (own_corpus.folder / "train_1.flac").write_bytes(b"")
    (own_corpus.folder / "train_0.wav").write_bytes(b"")
    dataset, sampler = SpectrogramDataset(loaded, labels), BucketingSampler(loaded.durations, 2)
    loader = AudioDataLoader(dataset, sampler, skip_faulty=True, features_on_device=True)
    found = list(loader)
    assert sum(len(batch) for batch in found) == 2
    assert sum(len(batch.faults) for batch in found) == 2
    for batch in found:
        assert batch.features.shape[0] == len(batch)


@needs_cuda
@pytest.mark.parametrize("on_device", [True, False])
def test_a_gpu_gets_the_same_batches_in_the_same_order(corpus, labels, on_device):
    expected = batches(corpus, labels, on_device, EVERYTHING)
    for one, other in zip(
        batches(corpus, labels, on_device, EVERYTHING, device="cuda"), expected, strict=True
    ):
        assert one.features.is_cuda
        assert one.indices == other.indices
        assert torch.equal(one.lengths, other.lengths)
        torch.testing.assert_close(one.features.cpu(), other.features, atol=1e-3, rtol=1e-3)


@needs_cuda
def test_the_host_waits_only_for_ctc(corpus, labels):
    step = TrainStep(tiny_model(labels).train().cuda(), TrainingConfig(precision="bf16"))
    ready = batches(corpus, labels, True, EVERYTHING, device="cuda")
    step.backward(ready[0], len(ready[0]))
    step.update(1e-3)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for batch in ready:
                step.backward(batch, len(batch))
                step.update(1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [each for each in caught if "synchronizing" in str(each.message)]
    places = {(Path(each.filename).name, each.lineno) for each in waits}
    assert len(places) <= 2, places  # torch's ctc_loss, and the backward pass where it copies lengths again
