"""Fine-tuning for other labels: layers that fit are kept, the rest are new, and training is faster."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import unicodedata

import pytest
import torch

from deepspeech import GreedyDecoder, Labels, load_model
from deepspeech.checkpoint.format import save_checkpoint
from deepspeech.errors import InputError
from deepspeech.training.transfer import freeze, layers, transfer
from tests.conftest import SHARED, load_script, make_corpus, tiny_model

CYRILLIC = ["_", " ", *"АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ"]


def equal(first, second):
    """The names of weights that are equal bit by bit in two networks."""
    first, second = first.state_dict(), second.state_dict()
    return {
        name
        for name, weights in first.items()
        if weights.shape == second[name].shape and torch.equal(weights, second[name])
    }


@pytest.mark.parametrize(
    ("drop", "bidirectional", "new"),
    [
        (0, True, ["fc.0.module.1"]),
        (1, True, ["fc.0.module.1"]),
        (2, True, ["rnns.2", "fc.0.module.1", "fc.0.module.0"]),
        (2, False, ["lookahead", "fc.0.module.1", "fc.0.module.0"]),
        (4, True, ["rnns.0", "rnns.1", "rnns.2", "fc.0.module.1", "fc.0.module.0"]),
    ],
)
def test_layers_that_fit_are_kept_and_the_last_ones_are_new(labels, drop, bidirectional, new):
    source = tiny_model(labels, hidden_layers=3, bidirectional=bidirectional)
    for weights in source.parameters():  # unlike any that are new
        torch.nn.init.uniform_(weights, 2, 3)
    model, found = transfer(source, Labels(CYRILLIC), drop)
    assert found == new
    assert model.labels == Labels(CYRILLIC)
    assert model.fc[0].module[1].weight.shape == (len(CYRILLIC), 12)
    made = {name for name in model.state_dict() if name.startswith(tuple(f"{each}." for each in new))}
    counters = {name for name in made if name.endswith("num_batches_tracked")}
    assert equal(model, source) - counters == model.state_dict().keys() - made


def test_characters_of_both_alphabets_keep_their_weights(labels):
    source = tiny_model(labels)
    target = Labels(["É", "B", "_", "A"])
    old, new = source.fc[0].module[1].weight, transfer(source, target)[0].fc[0].module[1].weight
    assert torch.equal(new[1:], old[[labels.index(label) for label in "B_A"]])
    dropped = transfer(source, target, 1)[0].fc[0].module[1].weight
    assert not any(torch.equal(row, new[index]) for index, row in enumerate(dropped))


def test_permuted_labels_give_the_same_transcript(labels):
    source = tiny_model(labels)
    turned = transfer(source, Labels(["Z", *labels.characters[:27], " "]))[0].eval()
    features, lengths = torch.randn(1, 161, 60), torch.tensor([60])
    with torch.inference_mode():
        first, second = (
            GreedyDecoder(model.labels).decode(*model(features, lengths))[0][0] for model in (source, turned)
        )
    assert first.text == second.text
    assert first.offsets == second.offsets


def test_the_same_labels_keep_everything_and_another_order_does_not(labels):
    source = tiny_model(labels)
    model, new = transfer(source, labels)
    assert new == []
    assert equal(model, source) == model.state_dict().keys()
    turned = Labels(["_", *reversed(labels.characters[1:])])
    model, new = transfer(source, turned)
    assert new == ["fc.0.module.1"]
    assert "fc.0.module.1.weight" not in equal(model, source)


def test_dropping_too_many_layers_is_an_error(labels):
    source = tiny_model(labels, bidirectional=False)
    assert len(layers(source.config)) == 5
    with pytest.raises(
        InputError, match=r"--drop-layers 5: the model has 5 layers \(conv, rnns.0, rnns.1, look"
    ):
        transfer(source, labels, 5)


def test_frozen_layers_keep_weights_and_statistics(labels):
    model, new = transfer(tiny_model(labels), labels, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    features, lengths = torch.randn(2, 161, 60), torch.tensor([60, 50])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(frozen):
        model.train()
        freeze(model, new, frozen)
        optimizer.zero_grad()
        model(features, lengths)[0].square().sum().backward()
        optimizer.step()
        return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}

    changed = step(frozen=True)
    assert changed == {name for name in before if name.startswith(("rnns.1.", "fc."))}
    assert step(frozen=False) == before.keys()


def alphabets():
    """Labels in other scripts, one of them decomposed, and names for the tones of the corpus."""
    french = [unicodedata.normalize("NFD", each) for each in ["A", "É", " ", "T", "Ç", "_"]]
    return {
        "french": (french, {"ONE": "ÉTÉ", "TWO": "ÇA", "THREE": "TA", "FOUR": "ÇÉ"}),
        "russian": (CYRILLIC, {"ONE": "ОДИН", "TWO": "ДВА", "THREE": "ТРИ", "FOUR": "ЧЕТЫРЕ"}),
    }


@pytest.mark.parametrize("language", ["french", "russian"])
def test_finetuning_for_another_script(tmp_path, labels, language, capsys):
    """Decomposed labels and transcripts count as composed; the blank is the last label."""
    characters, words = alphabets()[language]
    corpus = make_corpus(tmp_path / "corpus", train=6, val=2)
    for path in corpus.folder.glob("*.txt"):
        text = " ".join(words[word] for word in path.read_text().split())
        path.write_text(unicodedata.normalize("NFD", text), encoding="utf-8")
    (tmp_path / "labels.json").write_text(json.dumps(characters), encoding="utf-8")
    source = tiny_model(labels)
    save_checkpoint(tmp_path / "english.pth", source)
    flags = [
        "--continue-from",
        str(tmp_path / "english.pth"),
        "--finetune",
        "--labels-path",
        str(tmp_path / "labels.json"),
    ]
    flags += [
        *corpus.flags(),
        "--epochs",
        "1",
        "--num-workers",
        "0",
        "--save-folder",
        str(tmp_path / "models"),
    ]
    assert load_script("train.py").main([*flags, "--freeze-epochs", "1"]) == 0
    printed = capsys.readouterr().err
    assert f"kept from {tmp_path / 'english.pth'}: conv, rnns.0, rnns.1; new: fc.0.module.1" in printed
    known = len(set(Labels(characters)) & set(labels))
    assert f"output layer: {len(characters)} labels, {known} of them among the model's 29" in printed
    model = load_model(tmp_path / "models" / "deepspeech_final.pth")
    assert model.labels == Labels(characters)
    assert model.labels.blank == characters.index("_")
    assert all(len(character) == 1 for character in model.labels)
    learnt = model.state_dict().keys() - equal(model, source)
    assert learnt == {"fc.0.module.1.weight"}
    flags = ["--model-path", str(tmp_path / "models" / "deepspeech_final.pth"), "--num-workers", "0"]
    load_script("test.py").main([*flags, "--test-manifest", str(corpus.val), "--verbose"])
    printed = capsys.readouterr().out
    assert unicodedata.is_normalized("NFC", printed)
    assert set(printed.split("reference:  ")[1].split("\n")[0]) <= set(model.labels)


def history(folder):
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def digits(folder, speakers, train, dev):
    """A connected-digits corpus of some of the speakers."""
    recordings = folder / "recordings"
    recordings.mkdir(parents=True)
    for speaker in speakers:
        for path in (SHARED / "speech" / "digits" / "recordings").glob(f"*_{speaker}_*.wav"):
            (recordings / path.name).symlink_to(path)
    script = [sys.executable, str(SHARED / "speech" / "make_digits.py"), str(folder)]
    sizes = ["--train", str(train), "--dev", str(dev), "--recordings", str(recordings)]
    subprocess.run(script + sizes, check=True, capture_output=True)
    return ["--train-manifest", str(folder / "train.csv"), "--val-manifest", str(folder / "dev.csv")]


@pytest.mark.slow
def test_finetuning_beats_training_from_scratch(tmp_path, shared):
    """After one epoch on two other speakers and other labels the loss is lower."""
    letters = sorted(set("ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE"))
    (tmp_path / "labels.json").write_text(json.dumps(["_", *reversed(letters)]), encoding="utf-8")
    train = load_script("train.py").main
    common = ["--adam", "--lr", "2e-3", "--batch-size", "4", "--num-workers", "0", "--no-cuda", "--seed", "1"]
    new = ["--hidden-size", "48", "--hidden-layers", "1", "--rnn-type", "gru"]
    first = digits(tmp_path / "first", ["george", "jackson"], 60, 4)
    train([*first, *common, *new, "--epochs", "2", "--save-folder", str(tmp_path / "trained")])
    second = digits(tmp_path / "second", ["lucas", "nicolas"], 24, 8)
    second += [*common, "--labels-path", str(tmp_path / "labels.json"), "--epochs", "1"]
    train([*second, *new, "--save-folder", str(tmp_path / "scratch")])
    weights = ["--continue-from", str(tmp_path / "trained" / "deepspeech_final.pth"), "--finetune"]
    train([*second, *weights, "--save-folder", str(tmp_path / "transfer")])
    scratch, transfer = history(tmp_path / "scratch")[0], history(tmp_path / "transfer")[0]
    assert transfer["train_loss"] < scratch["train_loss"]
    assert transfer["val_loss"] < scratch["val_loss"]
