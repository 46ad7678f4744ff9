"""The examples, run as a user runs them or called."""

import re
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from deepspeech import Recognizer
from deepspeech.audio.loading import load_audio
from deepspeech.checkpoint.format import save_checkpoint
from deepspeech.data.batch import collate
from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.training.config import TrainingConfig
from deepspeech.training.train_step import TrainStep
from tests.conftest import ROOT, load_script, run_script, script_environment, tiny_model
from tests.inference.test_stream import streaming_model

ENVIRONMENT = script_environment() | {"PYTHONPATH": str(ROOT)}


def test_features_of_a_file(corpus, tmp_path):
    picture = tmp_path / "features.png"
    done = run_script("examples/features_of_a_file.py", corpus.folder / "val_0.wav", picture, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    frames = len(load_audio(corpus.folder / "val_0.wav", 16000)) // 160 + 1
    assert done.stdout == f"161 bins x {frames} frames: {picture}\n"
    assert np.std(matplotlib.image.imread(picture)) > 0.1


@pytest.mark.parametrize("max_norm", [400, 1])
def test_training_steps_by_hand_are_those_of_the_package(corpus, labels, monkeypatch, max_norm):
    example = load_script("examples/train_step_by_hand.py")
    monkeypatch.setattr(example, "MAX_NORM", max_norm)
    monkeypatch.setattr(example, "LEARNING_RATE", 0.01)
    dataset = SpectrogramDataset(load_corpus(corpus.val, labels), labels)
    waveforms = [load_audio(each.audio_path, 16000) for each in dataset.corpus]
    texts = [dataset.reference(index) for index in range(len(dataset))]
    batch = collate([dataset[index] for index in range(len(dataset))])
    features, _ = dataset.spectrogram(
        pad_sequence([torch.from_numpy(each) for each in waveforms], batch_first=True),
        torch.tensor([len(each) for each in waveforms]),
    )
    torch.testing.assert_close(batch.features[:, :, : features.shape[2]], features)
    # The same padding and rounding in both: next to an end of the clipped ReLU they decide on a gradient
    batch = replace(batch, features=features)
    ours, theirs = (tiny_model(labels).train() for _ in range(2))
    velocity: dict[torch.Tensor, torch.Tensor] = {}
    step = TrainStep(theirs, TrainingConfig(precision="fp32", max_norm=max_norm))
    for _ in range(2):
        loss = example.train_step(ours, velocity, waveforms, texts)
        assert step.backward(batch, len(batch)).item() / len(batch) == pytest.approx(loss, rel=1e-4)
        step.update(example.LEARNING_RATE)
    for (name, weights), others in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(weights, others, rtol=1e-4, atol=1e-5, msg=name)
    start = torch.nn.utils.parameters_to_vector(tiny_model(labels).parameters())
    change = torch.nn.utils.parameters_to_vector(ours.parameters()) - start
    assert change.norm() > 0.02


def test_training_steps_by_hand_run(corpus):
    files = [corpus.folder / "val_0.wav", "ONE", corpus.folder / "val_1.flac", "ONE TWO"]
    done = run_script("examples/train_step_by_hand.py", *files, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    losses = [float(line.partition("loss ")[2]) for line in done.stdout.splitlines()]
    assert len(losses) == 10
    assert losses[-1] < losses[0]


def test_augmentations_are_drawn(corpus, tmp_path):
    files = corpus.folder / "val_2.wav", corpus.folder / "val_0.wav", tmp_path / "augmentations.png"
    load_script("examples/plot_augmentations.py").main(*map(str, files))
    assert matplotlib.image.imread(files[-1]).shape[:2] == (900, 1500)


def test_a_file_is_streamed(corpus, labels, tmp_path):
    model = streaming_model(labels, lookahead_context=3)
    save_checkpoint(tmp_path / "model.pth", model)
    audio = corpus.folder / "val_2.wav"
    done = run_script("examples/stream_file.py", tmp_path / "model.pth", audio, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    *changes, final = done.stdout.splitlines()
    assert len(changes) > 1
    assert all(re.fullmatch(r" *[\d.]+ s  .*\[\]", line) for line in changes)  # greedy commits all text
    assert final == f"final: {Recognizer(model).transcribe(audio).text}"
