"""Features on the device: the same as from worker processes, and the same training."""

import warnings
from pathlib import Path

import pytest
import torch

from deepspeech.audio.augment import Augmentation, AugmentConfig
from deepspeech.checkpoint.format import load_checkpoint
from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.loader import AudioDataLoader
from deepspeech.data.sampler import BucketingSampler
from deepspeech.training.config import TrainingConfig
from deepspeech.training.train_step import TrainStep
from tests.conftest import TinyCorpus, load_script, tiny_model

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
EVERYTHING = {"speed_volume_perturb": True, "telephone_prob": 0.5, "spec_augment": "LD"}


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
def test_both_ways_give_the_same_batches(corpus, labels, options, epoch):
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
def test_training_ends_with_the_same_weights(corpus, tmp_path, augmentation):
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
def test_the_host_waits_for_nothing_but_ctc(corpus, labels):
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
