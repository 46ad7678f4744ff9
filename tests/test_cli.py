"""Option dataclasses as command-line flags."""

import importlib
import math
import os
import pkgutil
import shlex
import subprocess
import sys
import typing
from dataclasses import fields

import pytest

import deepspeech
from deepspeech import cli
from deepspeech.audio.config import FeatureConfig
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.commands.verify import VerifyConfig
from deepspeech.data.loader import DataConfig
from deepspeech.errors import InputError
from deepspeech.inference.factory import InferenceConfig
from deepspeech.model.config import ModelConfig
from deepspeech.options import Options
from deepspeech.training.config import TrainingConfig as Training
from deepspeech.transcription.recordings import RecordingsConfig

TRAINING_FLAGS = shlex.split("""
    --train-manifest --val-manifest --sample-rate --batch-size --num-workers --labels-path --window-size
    --window-stride --window --hidden-size --hidden-layers --rnn-type --epochs --no-cuda --lr
    --learning-rate --wd --weight-decay --momentum --adam --eps --betas --max-norm --learning-anneal
    --checkpoint --checkpoint-per-iteration --save-n-recent-models --tensorboard --log-dir --log-params
    --id --save-folder --best-val-model-name --continue-from --finetune --load-auto-checkpoint
    --no-bidirectional --seed --no-sorta-grad --unknown-characters --skip-faulty --precision
    --grad-accumulation
""")
ALL = (DataConfig, FeatureConfig, ModelConfig, Training)


def test_help_names_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.parse(["--help"], "Trains.", *ALL)
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert not [
        flag for flag in TRAINING_FLAGS if f"{flag} " not in shown.replace(",", " ").replace("\n", " ")
    ]
    assert "(default: 0.0003)" in shown
    assert "(default: 0.9 0.999)" in shown


def test_without_flags_the_defaults_stand():
    arguments = cli.parse([], "", *ALL)
    assert arguments.values == {}
    assert [arguments.make(group) for group in ALL] == [group() for group in ALL]


def test_flags_become_fields():
    arguments = cli.parse(
        shlex.split(
            "--lr 1e-3 --wd 0 --betas .8 .99 --adam --no-bidirectional --no-sorta-grad --no-cuda --id x"
        ),
        "",
        *ALL,
    )
    training = arguments.make(Training)
    assert (training.learning_rate, training.weight_decay, training.betas) == (1e-3, 0, (0.8, 0.99))
    assert (training.adam, training.cuda, training.id) == (True, False, "x")
    assert not arguments.make(ModelConfig).bidirectional
    assert not arguments.make(DataConfig).sorta_grad


@pytest.mark.parametrize(
    "argv",
    [["--batch-size", "many"], ["--no-such-flag"], ["--betas", "0.9"], ["--lr"], ["stray"]],
)
def test_a_command_line_that_cannot_be_parsed_is_one_line(argv):
    with pytest.raises(InputError) as caught:
        cli.parse(argv, "", *ALL)
    assert argv[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_values_are_found_when_the_group_is_made():
    with pytest.raises(InputError, match="--batch-size -2: must be positive"):
        cli.parse(["--batch-size", "-2"], "", *ALL).make(DataConfig)


def test_positional_arguments_may_stand_between_flags():
    arguments = cli.parse(["a.wav", "--cuda", "b.wav"], "", InferenceConfig, RecordingsConfig)
    assert arguments.make(InferenceConfig).cuda
    assert arguments.make(RecordingsConfig).files == ("a.wav", "b.wav")
    assert cli.parse([], "", RecordingsConfig).make(RecordingsConfig).files == ()
    with pytest.raises(InputError, match="required: FILE"):
        cli.parse([], "", VerifyConfig)


@pytest.mark.parametrize(
    ("result", "status"), [(None, 0), (0, 0), (143, 143), (InputError("x: y"), 2), (KeyboardInterrupt(), 130)]
)
def test_exit_status(result, status, capsys):
    def main():
        if isinstance(result, BaseException):
            raise result
        return result

    with pytest.raises(SystemExit) as caught:
        cli.run(main)
    assert caught.value.code == status
    assert ("error: x: y\n" in capsys.readouterr().err) == (status == 2)


def test_flags_can_be_read_from_a_file(tmp_path):
    flags = tmp_path / "flags.txt"
    flags.write_text('--adam  # not SGD\n--id "two words" --lr 1e-3\n\n# nothing here\n--no-bidirectional\n')
    arguments = cli.parse([f"@{flags}", "--lr", "2e-3"], "", *ALL)
    training = arguments.make(Training)
    assert (training.adam, training.id, training.learning_rate) == (True, "two words", 2e-3)
    assert not arguments.make(ModelConfig).bidirectional
    with pytest.raises(InputError, match="gone: cannot read flags from this file: No such file"):
        cli.parse([f"@{tmp_path}/gone"], "", *ALL)


@pytest.mark.parametrize("content", [b"--id 'no end", b"--id \xff\xfe\x00", b"@flags.txt"])
def test_a_file_of_flags_that_cannot_be_parsed_is_one_line(tmp_path, monkeypatch, content):
    (tmp_path / "flags.txt").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        cli.parse(["@flags.txt"], "", *ALL)
    assert "@flags.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_help_shows_choices_negations_and_examples(capsys):
    with pytest.raises(SystemExit):
        cli.parse(["--help"], "Trains.", *ALL, examples="  train.py --adam")
    shown = " ".join(capsys.readouterr().out.split())
    assert "--rnn-type {lstm,gru,rnn}" in shown
    assert "--bidirectional, --no-bidirectional process utterances in both directions" in shown
    assert "examples: train.py --adam @FILE stands" in shown


def option_groups(group=Options):
    for each in group.__subclasses__():
        yield each
        yield from option_groups(each)


def test_every_number_has_a_range():
    """Numbers that are not finite are outside of it, with whatever unit the option has."""
    for module in pkgutil.walk_packages(deepspeech.__path__, "deepspeech."):
        if not module.name.endswith(("__main__", "deepspeech.tune_lm")):
            importlib.import_module(module.name)
    groups = [group for group in option_groups() if group.__module__.startswith("deepspeech.")]
    assert len(groups) > 15
    for group in groups:
        kinds = typing.get_type_hints(group)
        for entry in fields(group):
            if {int, float} & {kinds[entry.name], *typing.get_args(kinds[entry.name])}:
                check = entry.metadata["check"]
                assert check, f"{group.__name__}.{entry.name}"
                assert check.choices or not any(map(check.holds, (math.inf, -math.inf, math.nan)))


@pytest.mark.parametrize("number", ["-1e-3", "-1E2", "-.5", "-0.5", "-5"])
def test_negative_numbers_are_no_flags(number):
    found = cli.parse(["--beta", number], "", DecoderConfig).make(DecoderConfig)
    assert found.beta == float(number)


@pytest.mark.parametrize("flag", ["--alpha", "--beta", "--lm-unknown"])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e308"])
def test_weights_are_finite(flag, number):
    with pytest.raises(InputError, match=f"^{flag} .*: must be from -1000 to 1000$"):
        cli.parse([flag, number], "", DecoderConfig).make(DecoderConfig)


@pytest.mark.parametrize(
    ("own", "expected"),
    [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ({"GOMP_SPINCOUNT": "5"}, "None")],
)
def test_waiting_threads_leave_the_processor_unless_told_otherwise(own, expected):
    names = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
    environment = {name: value for name, value in os.environ.items() if name not in names}
    code = "import os, sys, deepspeech.cli; print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment | own, capture_output=True, text=True)
    assert done.stdout.split() == [expected, "False"]
