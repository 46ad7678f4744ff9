"""Checkpoints of deepspeech.pytorch: the same output as there, and export back to it."""

from __future__ import annotations

import enum
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from types import ModuleType

import librosa
import numpy as np
import pytest
import scipy.signal
import torch
from torch import nn
from torch.nn import functional

from deepspeech import Recognizer, load_model
from deepspeech.audio.config import FeatureConfig
from deepspeech.audio.features import Spectrogram
from deepspeech.checkpoint.format import load_checkpoint, save_checkpoint
from deepspeech.commands.export import main
from deepspeech.errors import InputError
from tests.conftest import ROOT, SHARED, load_script, tiny_model

REFERENCES = sorted((SHARED / "reference").glob("*.pth"))
AUDIO = {"sample_rate": 16000, "window_size": 0.02, "window_stride": 0.01, "window": "hamming"}


def v2(model, **changes):
    """The content of a 2.x file, by hand; a change to None leaves a key out."""
    config = model.config
    content = {
        "hidden_size": config.hidden_size,
        "hidden_layers": config.hidden_layers,
        "rnn_type": config.rnn_type,
        "audio_conf": AUDIO | {"noise_dir": None, "noise_prob": 0.4, "noise_levels": (0.0, 0.5)},
        "labels": list(config.labels),
        "state_dict": model.state_dict(),
        "bidirectional": config.bidirectional,
        "optim_dict": {"state": {}, "param_groups": [{"lr": 3e-4, "params": list(range(29))}]},
        "amp": {},
        "avg_loss": 43.8,
        "best_wer": None,
        "epoch": 1,
        "iteration": None,
        "loss_results": torch.tensor([43, 7667820], dtype=torch.int32),
        "wer_results": torch.tensor([98, 32558], dtype=torch.int32),
        "cer_results": torch.tensor([92, 32558], dtype=torch.int32),
    }
    return {key: value for key, value in (content | changes).items() if value is not None}


def save(path, content, **options):
    torch.save(content, path, **options)
    return path


def assert_same(first, second):
    assert first.config == second.config
    weights = first.state_dict(), second.state_dict()
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def symmetric(model):
    """The model with the original's symmetric window."""
    features = replace(model.config.features, periodic=False)
    model.config = replace(model.config, features=features)
    return model


def original_probs(content, inputs, lengths):
    """What the original computes, from its description: packed sequences, sorted utterances.

    inputs (batch, bins, frames), longest first; the result is (batch, frames, labels).
    """
    weights, hidden = content["state_dict"], inputs[:, None]

    def norm(values, prefix):
        names = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(values, *(weights[f"{prefix}.{name}"] for name in names))

    lengths = (lengths - 1) // 2 + 1
    valid = torch.arange((inputs.shape[2] - 1) // 2 + 1) < lengths[:, None]
    for index, stride, padding in ((0, (2, 2), (20, 5)), (3, (2, 1), (10, 5))):
        kernel = [weights[f"conv.seq_module.{index}.{name}"] for name in ("weight", "bias")]
        hidden = functional.conv2d(hidden, *kernel, stride, padding) * valid[:, None, None]
        hidden = norm(hidden, f"conv.seq_module.{index + 1}").clamp(0, 20) * valid[:, None, None]
    hidden = hidden.flatten(1, 2).permute(2, 0, 1)
    both = content["bidirectional"]
    for index in range(content["hidden_layers"]):
        if index:
            hidden = norm(hidden.transpose(1, 2), f"rnns.{index}.batch_norm.module").transpose(1, 2)
        cell = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[content["rnn_type"]]
        layer = cell(hidden.shape[2], content["hidden_size"], bidirectional=both)
        prefix = f"rnns.{index}.rnn."
        layer.load_state_dict(
            {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        )
        packed = nn.utils.rnn.pack_padded_sequence(hidden, lengths)
        hidden, _ = nn.utils.rnn.pad_packed_sequence(layer(packed)[0])
        hidden = hidden.unflatten(2, (-1, content["hidden_size"])).sum(2)
    if not both:
        kernel = weights["lookahead.0.conv.weight"]
        padded = functional.pad(hidden.permute(1, 2, 0), (0, kernel.shape[2] - 1))
        hidden = functional.conv1d(padded, kernel, groups=len(kernel)).clamp(0, 20).permute(2, 0, 1)
    hidden = norm(hidden.transpose(1, 2), "fc.0.module.0").transpose(1, 2)
    return (hidden @ weights["fc.0.module.1.weight"].T).softmax(-1).transpose(0, 1), lengths


@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: path.stem)
def test_reference_numbers(path, capsys):
    there = np.load(path.with_suffix(".npz"))
    recognizer = Recognizer.load(path)
    audio = torch.from_numpy(there["audio"])[None]
    spectrogram = recognizer.spectrogram.log_magnitude(audio)[0].numpy() - there["log_spectrogram"]
    features, frames = recognizer.spectrogram(audio)
    row = there["input_lengths"].tolist().index(frames.item())
    features = features[0].numpy() - there["inputs"][row, 0, :, : frames.item()]
    with torch.inference_mode():
        inputs, lengths = torch.from_numpy(there["inputs"][:, 0]), torch.from_numpy(there["input_lengths"])
        log_probs, lengths = recognizer.model(inputs, lengths.long())
        hypotheses = [each[0] for each in recognizer.decoder.decode(log_probs, lengths)]
    probs = log_probs.exp().numpy() - there["probs"]
    with capsys.disabled():
        print(
            f"\n{path.name}: largest difference of the log-spectrogram {abs(spectrogram).max():.1e} "
            f"(mean {abs(spectrogram).mean():.1e}), of the features {abs(features).max():.1e}, "
            f"of the probabilities {abs(probs).max():.1e}"
        )
    assert abs(spectrogram).max() <= 1e-4
    assert abs(spectrogram).mean() <= 1e-5
    assert abs(features).max() <= 1e-4
    assert abs(probs).max() <= 1e-5
    assert lengths.tolist() == there["output_lengths"].tolist()
    assert [each.text for each in hypotheses] == there["strings"].tolist()
    assert [each.offsets for each in hypotheses] == [there[f"offsets_{row}"].tolist() for row in range(3)]


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("rnn_type", ["lstm", "gru", "rnn"])
def test_reference_network_by_hand(tmp_path, labels, rnn_type, bidirectional):
    """Without the reference files: a file built by hand, and the original's computation written out."""
    options = {"rnn_type": rnn_type, "bidirectional": bidirectional, "hidden_layers": 3, "hidden_size": 16}
    content = v2(tiny_model(labels, **options))
    model = load_model(save(tmp_path / "v2.pth", content))
    torch.manual_seed(1)
    inputs, lengths = torch.randn(3, 161, 90), torch.tensor([90, 71, 40])
    for row, length in zip(inputs, lengths, strict=True):
        row[:, length:] = 0
    with torch.inference_mode():
        there, counts = original_probs(content, inputs, lengths)
        log_probs, here = model(inputs, lengths)
    assert here.tolist() == counts.tolist()
    for row, count in enumerate(counts):
        assert (log_probs[row, :count].exp() - there[row, :count]).abs().max() <= 1e-5


def test_reference_features_by_hand(tmp_path, model):
    """The original's window is symmetric: it handed scipy's function to librosa."""
    window = scipy.signal.windows.hamming
    audio = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    spectrum = librosa.stft(
        audio, n_fft=320, hop_length=160, win_length=320, window=window, pad_mode="constant"
    )
    recognizer = Recognizer.load(save(tmp_path / "v2.pth", v2(model)))
    here = recognizer.spectrogram.log_magnitude(torch.from_numpy(audio)[None])[0].numpy()
    assert abs(here - np.log1p(abs(spectrum))).max() <= 1e-5
    periodic = Spectrogram(FeatureConfig()).log_magnitude(torch.from_numpy(audio)[None])[0].numpy()
    assert abs(periodic - here).max() > 1e-4


@pytest.mark.parametrize("rnn_type", ["lstm", "rnn"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_export_to_2x_and_back_is_bit_identical(tmp_path, labels, rnn_type, bidirectional, capsys):
    ours = tiny_model(labels, rnn_type=rnn_type, bidirectional=bidirectional, hidden_layers=3)
    save_checkpoint(tmp_path / "ours.pth", ours)
    main([str(tmp_path / "ours.pth"), str(tmp_path / "v2.pth"), "--to", "v2"])
    assert "its window is periodic, the original's symmetric" in capsys.readouterr().err
    content = torch.load(tmp_path / "v2.pth", weights_only=True)
    assert set(content) == set(v2(ours)) | {"amp", "best_wer", "iteration", "optim_dict"}
    assert content["rnn_type"] == rnn_type
    assert_same(load_model(tmp_path / "v2.pth"), ours)
    main([str(tmp_path / "v2.pth"), str(tmp_path / "again.pth"), "--to", "v2"])
    assert (tmp_path / "v2.pth").read_bytes() == (tmp_path / "again.pth").read_bytes()


def test_the_former_export_command_names_the_new_one():
    command = [sys.executable, "-m", "deepspeech.checkpoint", "export-v2", "ours.pth", "v2.pth"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "deepspeech export-v2 MODEL OUT" in done.stderr


def test_caveats_of_an_exported_model_are_reported(tmp_path, labels, capsys):
    shuffled = (*labels.characters[1:], "_")
    ours = symmetric(tiny_model(type(labels)(shuffled), bidirectional=False, lookahead_context=7))
    save_checkpoint(tmp_path / "ours.pth", ours)
    main([str(tmp_path / "ours.pth"), str(tmp_path / "v2.pth"), "--to", "v2"])
    notes = capsys.readouterr().err
    assert "periodic" not in notes
    assert "its blank is not the first label" in notes
    assert "its lookahead context is 7" in notes
    assert_same(load_model(tmp_path / "v2.pth"), ours)


def older(content):
    """Files as other versions write them."""
    weights = content["state_dict"]
    counters = [name for name in weights if name.endswith("num_batches_tracked")]
    return {
        "labels as a string": content | {"labels": "".join(content["labels"])},
        "no labels": {key: value for key, value in content.items() if key != "labels"},
        "no bidirectional": {key: value for key, value in content.items() if key != "bidirectional"},
        "only weights": {"state_dict": weights},
        "no audio_conf": {key: value for key, value in content.items() if key != "audio_conf"},
        "parallel": content | {"state_dict": {f"module.{name}": value for name, value in weights.items()}},
        "no counters": content | {"state_dict": {k: v for k, v in weights.items() if k not in counters}},
        "upper case": content | {"rnn_type": content["rnn_type"].upper()},
        "class": content | {"rnn_type": {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[content["rnn_type"]]},
        "half": content | {"state_dict": {k: v.half().float() for k, v in weights.items()}},
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("options", [{"rnn_type": "rnn"}, {"bidirectional": False, "rnn_type": "gru"}])
def test_older_formats_are_the_same_model(tmp_path, labels, options, zipped):
    model = symmetric(tiny_model(labels, **options))
    for name, buffer in model.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.zero_()
    model.load_state_dict({name: value.half().float() for name, value in model.state_dict().items()})
    for name, content in older(v2(model)).items():
        path = save(tmp_path / f"{name}.pth", content, _use_new_zipfile_serialization=zipped)
        assert_same(load_model(path), model)


def test_noise_settings_are_dropped_with_a_message(tmp_path, model, capsys):
    noise = {"noise_dir": "data/noise", "noise_prob": 0.4, "noise_levels": (0.0, 0.5)}
    path = save(tmp_path / "v2.pth", v2(model, audio_conf=AUDIO | noise))
    assert load_model(path).config.features == FeatureConfig(periodic=False)
    printed = capsys.readouterr()
    assert printed.err.startswith(f"{path}: its noise settings (noise_dir data/noise) are dropped")
    assert printed.out == ""


def test_other_features_come_from_the_file(tmp_path, labels):
    sound = {"sample_rate": 8000, "window_size": 0.04, "window_stride": 0.02, "window": "hann"}
    path = save(tmp_path / "v2.pth", v2(tiny_model(labels), audio_conf=sound))
    features = load_model(path).config.features
    assert (features.sample_rate, features.window, features.bins) == (8000, "hann", 161)
    assert features.stride_samples == 160


def test_contradictions_in_a_file_are_reported(tmp_path, model):
    weights = dict(model.state_dict())
    wrong = {
        "rnn_type is gru in the file, but lstm by its weights": {"rnn_type": "gru"},
        "hidden_size is 800 in the file, but 12 by its weights": {"hidden_size": 800},
        "bidirectional is False": {"bidirectional": False},
        "28 labels in the file, but 29 by its weights": {"labels": list(model.labels)[:-1]},
        "no labels, and its 29 outputs": {"labels": 7},
        "weights fc.0.module.1.weight are not finite": {
            "state_dict": weights | {"fc.0.module.1.weight": torch.full((29, 12), torch.nan)}
        },
        "claim 348 values that are not in the file": {
            "state_dict": weights | {"fc.0.module.1.weight": torch.zeros(1).expand(29, 12)}
        },
        "a 1.x network": {"state_dict": weights | {"conv.0.weight": torch.zeros(1)}},
        "--window sine": {"audio_conf": AUDIO | {"window": "sine"}},
        "rnns.0.rnn.weight_ih_l0": {"audio_conf": AUDIO | {"window_size": 0.04}},
    }
    for words, changes in wrong.items():
        path = save(tmp_path / "v2.pth", v2(model, **changes))
        with pytest.raises(InputError) as caught:
            load_model(path)
        assert words in str(caught.value)
        assert str(caught.value).startswith(f"{path}: ")


class RNNType(enum.Enum):
    lstm = nn.LSTM
    gru = nn.GRU


class SpectrogramWindow(enum.Enum):
    hamming = "hamming"
    hann = "hann"


@dataclass
class SpectConfig:
    sample_rate: int = 8000
    window_size: float = 0.04
    window_stride: float = 0.02
    window: SpectrogramWindow = SpectrogramWindow.hann


@dataclass
class BiDirectionalConfig:
    rnn_type: RNNType = RNNType.lstm
    hidden_size: int = 12
    hidden_layers: int = 2


class DictConfig:
    """Pickled like omegaconf's class: nodes in `_content`, with a reference back."""

    def __init__(self, **values):
        self.__dict__["_content"] = {name: AnyNode(value, self) for name, value in values.items()}
        self.__dict__["_metadata"] = BiDirectionalConfig


class AnyNode:
    def __init__(self, value, parent):
        self._val, self._parent = value, parent


@pytest.fixture
def original_classes(monkeypatch):
    """While a file is written, the classes are in the original's modules; then they are gone."""
    homes = {
        "deepspeech_pytorch.enums": (RNNType, SpectrogramWindow),
        "deepspeech_pytorch.configs.train_config": (SpectConfig, BiDirectionalConfig),
        "omegaconf.dictconfig": (DictConfig,),
        "omegaconf.nodes": (AnyNode,),
    }
    with monkeypatch.context() as patch:
        for name, classes in homes.items():
            parts = name.split(".")
            for end in range(1, len(parts) + 1):
                patch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
            for each in classes:
                patch.setattr(each, "__module__", name)
                setattr(sys.modules[name], each.__name__, each)
        yield


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("model_config", [BiDirectionalConfig(), None])
def test_pickled_configuration_classes_become_plain_data(
    tmp_path, labels, model_config, zipped, original_classes, monkeypatch
):
    """Of 2.1 (attributes of a dataclass) and of 3.0 (omegaconf, PyTorch Lightning)."""
    model = tiny_model(labels)
    content = v2(model, audio_conf=SpectConfig(), rnn_type=RNNType.lstm)
    if model_config is None:
        sizes = {"rnn_type": RNNType.lstm, "hidden_size": 12, "hidden_layers": 2}
        given = {"labels": list(labels), "model_cfg": DictConfig(**sizes), "spect_cfg": SpectConfig()}
        content = {"epoch": 3, "state_dict": content["state_dict"], "hyper_parameters": given}
    path = save(tmp_path / "v3.pth", content, _use_new_zipfile_serialization=zipped)
    for name in [name for name in sys.modules if name.startswith(("deepspeech_pytorch", "omegaconf"))]:
        monkeypatch.delitem(sys.modules, name)
    loaded = load_model(path)
    sound = FeatureConfig(
        sample_rate=8000, window_size=0.04, window_stride=0.02, window="hann", periodic=False
    )
    assert loaded.config == replace(model.config, features=sound)
    assert not any(name.startswith("deepspeech_pytorch") for name in sys.modules)


def test_scripts_accept_2x_files(tmp_path, model, corpus, capsys):
    path = save(tmp_path / "v2.pth", v2(model))
    load_script("test.py").main(
        ["--model-path", str(path), "--test-manifest", str(corpus.val), "--num-workers", "0"]
    )
    assert "WER" in capsys.readouterr().out
    audio = sorted(corpus.folder.glob("*.wav"))[0]
    load_script("transcribe.py").main(["--model-path", str(path), "--audio-path", str(audio), "--offsets"])
    printed = capsys.readouterr()
    output = json.loads(printed.out)
    assert output["_meta"]["acoustic_model"]["name"] == "v2.pth"
    assert len(output["output"][0]["offsets"]) == len(output["output"][0]["transcription"])


def test_reading_leaves_torch_as_it_was(tmp_path, model):
    before = set(torch.serialization.get_safe_globals())  # torch lists a set, in any order
    load_checkpoint(save(tmp_path / "v2.pth", v2(model, rnn_type=nn.LSTM)))
    assert set(torch.serialization.get_safe_globals()) == before
