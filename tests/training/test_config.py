"""Options: defaults, checks, conversion to plain data and back."""

from dataclasses import replace

import pytest

from deepspeech.audio.augment import AugmentConfig
from deepspeech.audio.config import FeatureConfig
from deepspeech.data.loader import DataConfig
from deepspeech.errors import InputError
from deepspeech.model.config import ModelConfig
from deepspeech.tools.preset import PresetConfig
from deepspeech.training.config import TrainingConfig
from deepspeech.training.history import EpochRow


def test_defaults_are_those_of_the_paper_and_of_deepspeech_pytorch():
    model, training = ModelConfig(), TrainingConfig()
    assert (model.hidden_size, model.hidden_layers, model.rnn_type) == (1024, 5, "lstm")
    assert (model.bidirectional, model.lookahead_context) == (True, 20)
    assert (training.learning_rate, training.momentum, training.max_norm) == (3e-4, 0.9, 400)
    assert (training.epochs, training.seed, training.learning_anneal) == (70, 123456, 1.1)


@pytest.mark.parametrize(("minutes", "epochs"), [(0, 70), (1, 5), (0.001, 1), (1000, 70)])
def test_as_many_epochs_as_fit_into_the_minutes(minutes, epochs):
    config = TrainingConfig(minutes=minutes)
    assert config.fitted([]) == config
    row = EpochRow(1, 1.0, 1.0, 0.5, 0.5, 1e-3, 10.0, 60.0, 0.0, 0, 0, 0)
    once = config.fitted([row])
    assert once.epochs == epochs
    assert once.fitted([row, replace(row, epoch=2, seconds=99.0)]) == once, "by the first epoch only"


@pytest.mark.parametrize(
    ("rate", "bins", "window", "stride"),
    [(16000, 161, 320, 160), (8000, 81, 160, 80), (22050, 221, 441, 220)],
)
def test_samples_and_bins_follow_from_rate(rate, bins, window, stride):
    config = FeatureConfig(sample_rate=rate)
    assert (config.bins, config.window_samples, config.stride_samples) == (bins, window, stride)


@pytest.mark.parametrize(
    ("group", "options", "words"),
    [
        (DataConfig, {"batch_size": 0}, "--batch-size 0: must be positive"),
        (DataConfig, {"batch_size": -3}, "--batch-size -3: must be positive"),
        (DataConfig, {"unknown_characters": "ignore"}, "must be one of error, drop"),
        (TrainingConfig, {"learning_rate": 0.0}, "--lr 0.0: must be positive"),
        (TrainingConfig, {"learning_rate": float("nan")}, "--lr nan: must be positive"),
        (TrainingConfig, {"learning_rate": float("inf")}, "--lr inf: must be positive"),
        (TrainingConfig, {"momentum": 1.0}, "--momentum 1.0: must be at least 0 and below 1"),
        (TrainingConfig, {"betas": (0.9, 1.5)}, "--betas (0.9, 1.5): must be at least 0 and below 1"),
        (TrainingConfig, {"epochs": 0}, "--epochs 0"),
        (TrainingConfig, {"seed": 2**64}, "--seed"),
        (TrainingConfig, {"precision": "int8"}, "must be one of auto, fp32, bf16, fp16"),
        (ModelConfig, {"rnn_type": "transformer"}, "must be one of lstm, gru, rnn"),
        (ModelConfig, {"hidden_layers": 0}, "--hidden-layers 0"),
        (ModelConfig, {"hidden_size": "wide"}, "--hidden-size wide"),
        (FeatureConfig, {"window": "kaiser"}, "must be one of hamming"),
        (FeatureConfig, {"window_stride": 1e-6}, "shorter than a sample at 16000 Hz"),
        (FeatureConfig, {"sample_rate": 10}, "shorter than a sample at 10 Hz"),
    ],
)
def test_wrong_values_are_named_with_their_flag(group, options, words):
    with pytest.raises(InputError) as caught:
        group(**options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_plain_data_and_back():
    config = ModelConfig(hidden_size=7, labels=("_", "A"), features=FeatureConfig(sample_rate=8000))
    assert ModelConfig.from_dict(config.to_dict()) == config


def test_unknown_names_in_plain_data_are_refused():
    with pytest.raises(TypeError, match="depth"):
        FeatureConfig.from_dict({"depth": 3})


def test_without_flags_training_is_that_of_deepspeech_pytorch():
    """What the toolkit adds is off, or changes nothing of the weights, unless a flag asks for it."""
    training, model, features, augment = TrainingConfig(), ModelConfig(), FeatureConfig(), AugmentConfig()
    assert (training.flat_start, training.plain_epochs, training.minutes, training.patience) == (0, 0, 0, 0)
    assert (training.schedule, training.warmup_epochs, training.weight_decay) == ("anneal", 0, 1e-5)
    assert (training.adam, training.grad_accumulation) == (False, 1)
    assert (model.dropout, features.scale, features.normalize) == (0, "linear", "utterance")
    assert not any((augment.speed_perturb, augment.speed_volume_perturb, augment.spec_augment))
    assert PresetConfig().preset is None
