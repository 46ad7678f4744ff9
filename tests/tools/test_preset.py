"""Presets choose options by the corpus, and flags override them."""

from __future__ import annotations

import pytest

from deepspeech.checkpoint.format import load_checkpoint
from deepspeech.commands.train import main
from deepspeech.errors import InputError
from deepspeech.tools import preset
from tests.conftest import write_rows


def test_small_chooses_by_duration_number_and_sample_rate(own_corpus, caplog):
    chosen = preset.small(str(own_corpus.train))
    assert chosen["epochs"] == preset.EPOCHS[1]  # a few seconds of speech
    assert chosen["batch_size"] == 4
    assert chosen["sample_rate"] in preset.RATES
    rows = [("train_0.wav", "train_0.txt", 10)] * 859
    write_rows(own_corpus.train, rows)
    chosen = preset.small(str(own_corpus.train))
    assert chosen["epochs"] == round(preset.WORK / 8_590)
    assert chosen["batch_size"] == 8
    write_rows(own_corpus.train, [("train_0.wav", "train_0.txt", 1)] * 3000)
    assert preset.small(str(own_corpus.train))["batch_size"] == 12
    write_rows(own_corpus.train, [("train_0.wav", "train_0.txt", 1000)] * 10)
    preset.small(str(own_corpus.train))
    assert "made for up to two hours of speech" in caplog.text


def test_small_names_what_is_missing(own_corpus):
    write_rows(own_corpus.train, [("gone.wav", "train_0.txt")])
    with pytest.raises(InputError, match=r"gone\.wav: no such audio file"):
        preset.small(str(own_corpus.train))
    with pytest.raises(InputError, match="give a manifest of loose files"):
        preset.small("shards-{00..01}.tar")


def test_flags_override_the_preset_and_a_model_keeps_its_network(own_corpus):
    manifest = str(own_corpus.train)
    assert preset.apply(None, {"epochs": 3}, manifest) == {"epochs": 3}
    values = preset.apply("small", {"epochs": 3}, manifest)
    assert (values["epochs"], values["rnn_type"], values["scale"]) == (3, "gru", "mel")
    values = preset.apply("small", {"continue_from": "base.pth"}, manifest)
    assert not {"rnn_type", "scale", "hidden_size", "dropout", "sample_rate"} & values.keys()
    assert values["adam"] is True


@pytest.mark.slow
def test_a_run_with_the_preset_says_what_it_chose(own_corpus, tmp_path, capsys):
    flags = "--preset small --epochs 1 --hidden-size 8 --hidden-layers 1 --num-workers 0 --no-cuda".split()
    assert main([*own_corpus.flags(), *flags, "--save-folder", str(tmp_path)]) == 0
    assert "--preset small: " in capsys.readouterr().err
    config = load_checkpoint(tmp_path / "deepspeech_last.pth").config
    assert (config.features.scale, config.rnn_type, config.hidden_size, config.dropout) == (
        "mel",
        "gru",
        8,
        0.2,
    )


def test_small_counts_a_mixture_by_its_weights(own_corpus):
    first, second = own_corpus.train, own_corpus.val
    write_rows(first, [("train_0.wav", "train_0.txt", 20)] * 100)
    write_rows(second, [("val_0.wav", "val_0.txt", 10)] * 200)
    chosen = preset.small(f"{first}:3", f"{second}:0.5")
    assert chosen["epochs"] == round(preset.WORK / 7000)
    assert chosen["batch_size"] == 4
    assert preset.small(f"{first}:3", f"{second}:1")["batch_size"] == 5
