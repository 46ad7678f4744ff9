"""Where training starts: from scratch, from a checkpoint, from deepspeech.pytorch, from other weights."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from deepspeech import load_model
from deepspeech.checkpoint.format import load_checkpoint, save_checkpoint
from deepspeech.commands.export import export_v2
from deepspeech.errors import InputError
from tests.conftest import load_script, tiny_model


@pytest.fixture
def train(corpus, tmp_path):
    """Runs train.py in this process, small and without workers."""
    small = ["--hidden-size", "12", "--hidden-layers", "2", "--rnn-type", "gru"]

    def run(*flags, folder="models", new=False):
        common = [*corpus.flags(), "--num-workers", "0", "--batch-size", "4", "--no-cuda", "--checkpoint"]
        common += ["--save-folder", str(tmp_path / folder), *(small if new else [])]
        assert load_script("train.py").main([*common, *map(str, flags)]) == 0
        return tmp_path / folder

    return run


def weights_after(folder, epoch):
    return load_checkpoint(folder / f"deepspeech_checkpoint_epoch_{epoch}.pth").state_dict


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


def epochs(folder):
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [[], ["--adam"]])
def test_resuming_from_a_2x_file_equals_resuming_from_our_own(tmp_path, train, optimizer, capsys):
    """A run that is exported after one epoch and resumed ends with the same weights."""
    whole = train("--epochs", 2, *optimizer, new=True)
    export_v2(whole / "deepspeech_checkpoint_epoch_1.pth", tmp_path / "v2.pth")
    again = train("--epochs", 2, "--continue-from", tmp_path / "v2.pth", *optimizer, folder="again")
    assert (
        "v2.pth: resuming after epoch 1 of deepspeech.pytorch, with its optimiser state"
        in capsys.readouterr().err
    )
    assert epochs(again) == [2]
    assert same(weights_after(again, 2), weights_after(whole, 2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"optim_dict": {"state": {}, "param_groups": []}},
            "new optimiser: state for 0 of 29 parameters",
        ),
        ({"optim_dict": None}, "new optimiser: state for 0 of 29 parameters"),
        ({"iteration": 3, "epoch": 2}, "deepspeech.pytorch, with its optimiser state"),
    ],
)
def test_an_unusable_optimiser_state_is_reported_and_not_used(tmp_path, train, changes, words, capsys):
    folder = train("--epochs", 1, new=True)
    export_v2(folder / "deepspeech_checkpoint_epoch_1.pth", tmp_path / "v2.pth")
    content = torch.load(tmp_path / "v2.pth", weights_only=True)
    torch.save(content | changes, tmp_path / "v2.pth")
    again = train("--epochs", 2, "--continue-from", tmp_path / "v2.pth", folder="again")
    assert words in capsys.readouterr().err
    assert epochs(again) == [2]


def test_another_optimiser_starts_from_scratch(tmp_path, train, capsys):
    folder = train("--epochs", 1, new=True)
    export_v2(folder / "deepspeech_final.pth", tmp_path / "v2.pth")
    train("--epochs", 2, "--continue-from", tmp_path / "v2.pth", "--adam", folder="again")
    assert (
        "the saved optimiser has momentum_buffer, this one exp_avg, exp_avg_sq, step"
        in capsys.readouterr().err
    )
    with pytest.raises(
        InputError, match=r"does not fit: the saved optimiser has momentum_buffer.*pass --finetune"
    ):
        train("--epochs", 2, "--continue-from", folder / "deepspeech_final.pth", "--adam", folder="again")


@pytest.mark.slow
def test_the_best_model_of_the_original_is_kept_until_it_is_beaten(tmp_path, train):
    """In its own folder; another folder gets its own best model."""
    folder = train("--epochs", 1, new=True)
    best = folder / "deepspeech_final.pth"
    export_v2(best, tmp_path / "v2.pth")
    (tmp_path / "v2.pth").replace(best)
    content = torch.load(best, weights_only=True)
    torch.save(content | {"best_wer": 0.0}, best)
    before = best.read_bytes()
    train("--epochs", 2, "--continue-from", best)
    assert best.read_bytes() == before
    other = train("--epochs", 2, "--continue-from", best, folder="other")
    assert (other / "deepspeech_final.pth").exists()


def test_finetuning_starts_a_new_run_from_the_weights(tmp_path, train, labels, capsys):
    source = tiny_model(labels, rnn_type="gru")
    save_checkpoint(tmp_path / "m.pth", source)
    flags = ["--continue-from", tmp_path / "m.pth", "--finetune", "--epochs", 1, "--lr", "1e-30"]
    folder = train(*flags)
    assert "kept from" in capsys.readouterr().err
    model = load_model(folder / "deepspeech_final.pth")
    assert torch.allclose(model.fc[0].module[1].weight, source.fc[0].module[1].weight)
    assert epochs(folder) == [1]


@pytest.mark.slow
def test_the_same_command_resumes_interrupted_finetuning(tmp_path, train, labels, capsys):
    """With frozen epochs before and after the interruption, the result is that of an uninterrupted run."""
    save_checkpoint(tmp_path / "m.pth", tiny_model(labels, rnn_type="gru"))
    (tmp_path / "labels.json").write_text(json.dumps([*reversed(labels.characters)]), encoding="utf-8")
    flags = ["--continue-from", tmp_path / "m.pth", "--finetune", "--labels-path", tmp_path / "labels.json"]
    flags += ["--load-auto-checkpoint", "--freeze-epochs", 2, "--drop-layers", 2]
    whole = train(*flags, "--epochs", 3, folder="whole")
    for epoch in (1, 3):
        stopped = train(*flags, "--epochs", epoch, folder="stopped")
    assert epochs(stopped) == epochs(whole) == [1, 2, 3]
    assert capsys.readouterr().err.count("kept from") == 2
    for epoch in (1, 2, 3):
        assert same(weights_after(stopped, epoch), weights_after(whole, epoch))
    first, second, third = (weights_after(whole, epoch) for epoch in (1, 2, 3))
    frozen = "rnns.0.rnn.weight_hh_l0"
    assert torch.equal(first[frozen], second[frozen])
    assert not torch.equal(second[frozen], third[frozen])


def test_contradicting_flags_are_errors(tmp_path, train, labels):
    save_checkpoint(tmp_path / "m.pth", tiny_model(labels))
    (tmp_path / "labels.json").write_text('["_", "A", " "]', encoding="utf-8")
    source, other = ["--continue-from", tmp_path / "m.pth"], ["--labels-path", tmp_path / "labels.json"]
    wrong = {
        "--finetune: has no effect without --continue-from; add it": ["--finetune"],
        "--drop-layers 2: has no effect without --finetune; add it": [*source, "--drop-layers", 2],
        "--drop-layers 9: the model has 4 layers": [*source, "--finetune", "--drop-layers", 9],
        "--freeze-epochs 1: no layer is new": [*source, "--finetune", "--freeze-epochs", 1],
        "--freeze-epochs 2: no layer is new": [*source, "--freeze-epochs", 2],
        "has other labels; leave the flag out, or pass --finetune": [*source, *other],
        "--hidden-size 99: ": [*source, "--finetune", "--hidden-size", 99],
        "--sample-rate 8000: ": [*source, "--sample-rate", 8000],
    }
    for words, flags in wrong.items():
        with pytest.raises(InputError) as caught:
            train(*flags)
        assert words in str(caught.value)


def test_finished_runs_and_missing_states_are_reported(tmp_path, train, labels, capsys):
    folder = train("--epochs", 1, new=True)
    train("--epochs", 1, "--continue-from", folder / "deepspeech_final.pth")
    assert "all 1 epochs are done; raise --epochs" in capsys.readouterr().err
    save_checkpoint(tmp_path / "m.pth", tiny_model(labels))
    train("--epochs", 1, "--continue-from", tmp_path / "m.pth", folder="new")
    assert "m.pth: no training state; using only its weights" in capsys.readouterr().err
