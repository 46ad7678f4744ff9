"""Folders for the Hugging Face Hub: the same weights back, its own library reads them, and a model card."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from safetensors.torch import load_file, save_file

from deepspeech import DeepSpeech
from deepspeech.audio.config import FeatureConfig
from deepspeech.checkpoint.format import load_checkpoint, load_model, save_checkpoint
from deepspeech.errors import InputError
from deepspeech.model.config import ModelConfig
from deepspeech.model.hub import CardConfig
from tests.conftest import ROOT, script_environment, tiny_model

RUNNING = {"bidirectional": False, "features": FeatureConfig(normalize="running", scale="mel")}
KINDS = [{"rnn_type": "lstm"}, {"rnn_type": "gru", "dropout": 0.2}, {"rnn_type": "rnn", **RUNNING}]


class Mixed(PyTorchModelHubMixin, DeepSpeech):
    """The network with the Hub's own methods."""

    def __init__(self, **options):
        super().__init__(ModelConfig.from_dict(options))


def equal(first, second):
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in ours
    )


@pytest.mark.parametrize("options", KINDS)
def test_a_folder_gives_the_same_model_back(tmp_path, labels, options):
    model = tiny_model(labels, **options)
    model.train().save_pretrained(tmp_path / "model")
    back = DeepSpeech.from_pretrained(tmp_path / "model")
    assert equal(model, back)
    assert back.config == model.config
    assert not back.training
    features = torch.randn(2, model.config.features.bins, 90)
    lengths = torch.tensor([90, 50])
    assert torch.equal(back(features, lengths)[0], model.eval()(features, lengths)[0])
    loaded = load_checkpoint(tmp_path / "model")  # as --model-path and --continue-from do
    assert equal(loaded.build_model(), model)
    assert loaded.training is None


def test_the_library_of_the_hub_reads_our_folder_and_we_read_its(tmp_path, model):
    model.save_pretrained(tmp_path / "ours")
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    theirs = Mixed.from_pretrained(tmp_path / "ours", strict=True)
    assert equal(theirs, model)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["labels"] == list(model.labels)
    theirs.save_pretrained(tmp_path / "theirs")
    assert equal(DeepSpeech.from_pretrained(str(tmp_path / "theirs")), model)


CARD = CardConfig(
    license="cc-by-4.0", language=("en", "de"), data="Ten hours of orders.", intended_use="Orders.",
    results=("my test=12.5/4", "AN4: test = 9"),
)  # fmt: skip


def test_the_card_has_what_the_hub_and_readers_need(tmp_path, labels):
    tiny_model(labels, **RUNNING).save_pretrained(tmp_path / "orders", CARD)
    card = ModelCard.load(tmp_path / "orders" / "README.md")
    assert (card.data.license, card.data.language) == ("cc-by-4.0", ["en", "de"])
    assert card.data.pipeline_tag == "automatic-speech-recognition"
    assert card.data.model_name == "orders"
    results = [(each.dataset_name, each.metric_type, each.metric_value) for each in card.data.eval_results]
    assert results == [("my test", "wer", 12.5), ("my test", "cer", 4.0), ("AN4: test", "wer", 9.0)]
    for words in (
        "| my test | 12.5 % | 4 % |", "| AN4: test | 9 % |  |", "Ten hours of orders.", "Orders.",
        "2 unidirectional LSTM layers of 12 units", "16000 Hz, as 80 mel bins", "live audio | yes, ",
    ):  # fmt: skip
        assert words in card.text, words


def test_what_nobody_says_is_not_stated_and_a_card_is_kept(tmp_path, model):
    model.save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert text.count("Not stated") == 3
    assert "## Results\n\nNot stated.\n\n## Training data\n\nNot stated.\n\n" in text
    assert "live audio | no, " in text
    (tmp_path / "README.md").write_text("mine")
    model.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize("result", ["9.5", "=9.5", "a=", "a=1/2/3", "a=-1", "a=nine", "a=nan"])
def test_results_that_cannot_be_parsed(result):
    with pytest.raises(InputError, match="expected NAME=WER or NAME=WER/CER, in percent"):
        CardConfig(results=(result,))


def config_with(**values):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def weights_with(function):
    def change(folder):
        weights = load_file(folder / "model.safetensors")
        function(weights)
        save_file(weights, folder / "model.safetensors")

    return change


DAMAGE = {
    "a folder without config.json": lambda folder: (folder / "config.json").unlink(),
    "a folder without model.safetensors": lambda folder: (folder / "model.safetensors").unlink(),
    "damaged model: Expecting value": lambda folder: (folder / "config.json").write_text("none"),
    "damaged model: it lacks 'features'": lambda folder: (folder / "config.json").write_text("{}"),
    "hidden_size is 10000000000 in the file, but 12": config_with(hidden_size=10**10),
    "damaged model: 2 labels in the file, but 29": config_with(labels=["_", "A"]),
    "unexpected keyword argument 'future'": config_with(future=1),
    "Error while deserializing": lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99),
    "are not finite": weights_with(lambda weights: weights["fc.0.module.1.weight"].fill_(torch.nan)),
    "Missing key(s) in state_dict": weights_with(lambda weights: weights.pop("conv.seq_module.0.weight")),
    "Unexpected key(s) in state_dict": weights_with(lambda weights: weights.update(more=torch.zeros(1))),
}


@pytest.mark.parametrize("words", DAMAGE)
def test_a_damaged_folder_is_one_line(tmp_path, model, words):
    model.save_pretrained(tmp_path)
    DAMAGE[words](tmp_path)
    for load in (DeepSpeech.from_pretrained, load_model):
        with pytest.raises(InputError) as caught:
            load(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path}: ")
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_what_is_neither_a_folder_nor_on_the_hub(tmp_path):
    with pytest.raises(InputError) as caught:
        DeepSpeech.from_pretrained("nobody/nothing", local_files_only=True, cache_dir=tmp_path)
    assert str(caught.value).startswith("nobody/nothing: no such folder, nor on the Hub: ")
    with pytest.raises(InputError, match="no such folder, nor on the Hub"):
        DeepSpeech.from_pretrained("a/b/c", local_files_only=True)


class Hub:
    """Stands for the Hub's client: keeps what is uploaded in a folder."""

    def __init__(self, token):
        assert token == "secret"

    def create_repo(self, name, private, exist_ok):
        assert private
        assert exist_ok
        if name.startswith("nobody/"):
            raise huggingface_hub.errors.HFValidationError("Bad name\nof a repository.")
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{name}")

    def upload_folder(self, repo_id, folder_path):
        self.uploads[repo_id] = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        return "https://huggingface.co/commit"


def test_pushing_uploads_the_folder(tmp_path, monkeypatch, model):
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(Hub, "uploads", {}, raising=False)
    url = model.push_to_hub("me/orders", CARD, private=True, token="secret")
    assert url == "https://huggingface.co/commit"
    for name, content in Hub.uploads["me/orders"].items():
        (tmp_path / name).write_bytes(content)
    assert equal(DeepSpeech.from_pretrained(tmp_path), model)
    assert ModelCard.load(tmp_path / "README.md").data.model_name == "orders"  # with its results
    with pytest.raises(InputError, match=r"^nobody/x: cannot upload: Bad name of a repository; try "):
        model.push_to_hub("nobody/x", private=True, token="secret")


def test_the_package_works_without_the_libraries_of_the_hub(tmp_path, model):
    save_checkpoint(tmp_path / "model.pth", model)
    program = f"""
import sys
sys.modules["huggingface_hub"] = sys.modules["safetensors"] = sys.modules["safetensors.torch"] = None
import deepspeech
model = deepspeech.load_model({str(tmp_path / "model.pth")!r})
for use in (lambda: model.save_pretrained("x"), lambda: deepspeech.DeepSpeech.from_pretrained("me/x"),
            lambda: model.push_to_hub("me/x"), lambda: deepspeech.DeepSpeech.from_pretrained(".")):
    try:
        use()
    except deepspeech.InputError as error:
        print(error)
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=ROOT, env=script_environment(), capture_output=True, text=True)
    names = ["safetensors", "huggingface-hub", "huggingface-hub", "safetensors"]
    remedy = "is not installed; pip install 'deepspeech-torch[hub]'"
    assert result.stdout.splitlines() == [f"{name} {remedy}" for name in names], result.stderr
