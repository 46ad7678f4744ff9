"""Command lines of deepspeech.pytorch work: its flags, their defaults, and deprecated ones."""

from __future__ import annotations

import pytest

from deepspeech import cli
from deepspeech.audio.config import FeatureConfig
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.commands.deprecated_flags import FLAGS, add_flags
from deepspeech.commands.test import EvaluationConfig
from deepspeech.data.loader import DataConfig
from deepspeech.inference.factory import InferenceConfig
from deepspeech.model.config import ModelConfig
from deepspeech.training.config import TrainingConfig

TRAIN = """
--train-manifest data/train_manifest.csv --val-manifest data/val_manifest.csv --sample-rate 16000
--batch-size 20 --num-workers 4 --labels-path labels.json --window-size .02 --window-stride .01
--window hamming --hidden-size 1024 --hidden-layers 5 --rnn-type lstm --epochs 70 --lr 3e-4
--learning-rate 3e-4 --wd 1e-5 --weight-decay 1e-5 --momentum 0.9 --eps 1e-8 --betas 0.9 0.999
--max-norm 400 --learning-anneal 1.1 --checkpoint-per-iteration 0 --save-n-recent-models 0
--log-dir visualize/deepspeech_final --save-folder models/ --best-val-model-name deepspeech_final.pth
--seed 123456
"""
SWITCHES = """
--no-cuda --adam --checkpoint --tensorboard --log-params --finetune --load-auto-checkpoint
--no-bidirectional --no-sortaGrad
"""
INFERENCE = """
--model-path models/deepspeech_final.pth --decoder greedy --top-paths 1 --beam-width 10 --alpha 0.8
--beta 1 --cutoff-top-n 40 --cutoff-prob 1.0 --lm-workers 1
"""
TEST = "--test-manifest data/test_manifest.csv --batch-size 20 --num-workers 4"


def values(flags, *groups):
    """The option groups of a command line."""
    extend = {"extend": add_flags} if TrainingConfig in groups else {}
    arguments = cli.parse(flags.split(), "test", *groups, **extend)
    return [arguments.make(group) for group in groups]


@pytest.mark.parametrize(
    ("flags", "groups"),
    [
        (TRAIN, (DataConfig, FeatureConfig, ModelConfig, TrainingConfig)),
        (INFERENCE, (InferenceConfig, DecoderConfig)),
        (TEST, (EvaluationConfig,)),
    ],
    ids=["train", "inference", "test"],
)
def test_the_defaults_are_the_originals(flags, groups):
    assert values(flags, *groups) == values("", *groups)


def test_switches_are_off_by_default_and_known():
    groups = (DataConfig, ModelConfig, TrainingConfig)
    for flag in SWITCHES.split():
        common = "--continue-from m.pth"  # which --finetune needs
        assert values(f"{flag} {common}", *groups) != values(common, *groups)


@pytest.mark.parametrize("value", ["", " 0"])
@pytest.mark.parametrize("flag", FLAGS)
def test_a_deprecated_flag_names_its_replacement_and_changes_nothing(flag, value, capsys):
    groups = (DataConfig, FeatureConfig, ModelConfig, TrainingConfig)
    assert values(f"{flag}{value} --epochs 3", *groups) == values("--epochs 3", *groups)
    assert capsys.readouterr().err == f"{flag} has no effect: {FLAGS[flag]}\n"


def test_replacements_exist():
    groups = (DataConfig, FeatureConfig, ModelConfig, TrainingConfig)
    for flag in ("--tensorboard", "--precision bf16", "--no-cuda", "--best-val-model-name a --save-folder b"):
        assert values(flag, *groups) != values("", *groups)
