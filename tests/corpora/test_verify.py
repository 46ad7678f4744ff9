"""Verify manifests: every fault with its line, and statistics."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from deepspeech.audio.config import FeatureConfig
from deepspeech.audio.features import Spectrogram
from deepspeech.commands import verify as verify_command
from deepspeech.corpora.manifest_tools import build
from deepspeech.corpora.verify import verify
from deepspeech.data.manifest import write_manifest
from deepspeech.labels import Labels
from deepspeech.model.config import ModelConfig
from deepspeech.model.deepspeech2 import DeepSpeech
from tests.corpora.files import RATE, write

LABELS = str(Path(__file__).parents[2] / "labels.json")


def test_verify_finds_every_fault_with_its_line(tmp_path, capsys):
    for name, seconds, text in (
        ("good", 1, "HELLO THERE"),
        ("wrong duration", 1, "HELLO"),
        ("accent", 1, "CAFÉ"),
        ("fast", 0.2, "MUCH TOO MUCH TEXT FOR THIS"),
        ("empty", 1, ""),
        ("mute", 1, "HELLO"),
        ("cut", 1, "HELLO"),
    ):
        write(tmp_path, f"{name}.wav", seconds, text)
    soundfile.write(tmp_path / "mute.wav", np.zeros(RATE), RATE)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:5000])
    (tmp_path / "copy.wav").write_bytes((tmp_path / "good.wav").read_bytes())
    manifest = tmp_path / "m.csv"
    manifest.write_text(
        "good.wav,good.txt,1.0\n"
        "wrong duration.wav,wrong duration.txt,1.5\n"
        "accent.wav,accent.txt\n"
        "only one column\n"
        "fast.wav,fast.txt,0.2\n"
        "empty.wav,empty.txt\n"
        "mute.wav,mute.txt\n"
        "cut.wav,cut.txt\n"
        "missing.wav,good.txt\n"
        "copy.wav,good.txt\n"
        "good.wav,missing.txt\n"
        "good.wav,good.txt\n"
    )
    picture = tmp_path / "m.png"
    assert verify_command.main([str(manifest), "--labels-path", LABELS, "--plot", str(picture)]) == 1
    printed = capsys.readouterr().out
    expected = {
        2: "1.50 s in the manifest, 1.00 s in the file",
        3: "'É'",
        4: "expected audio,transcript",
        5: "27 characters need 28 output frames, 0.20 s have 11",
        6: "empty transcript",
        7: "silence",
        8: "truncated audio",
        9: "no such audio file",
        10: f"the same audio as {manifest}:1",
        11: "missing.txt: cannot read the transcript",
        12: f"the same audio as {manifest}:1",
    }
    faults = [line for line in printed.splitlines() if line.startswith(f"{manifest}:")]
    assert [int(line.removeprefix(f"{manifest}:").partition(":")[0]) for line in faults] == list(expected)
    for line, words in zip(faults, expected.values(), strict=True):
        assert words in line
    assert "8 utterances" in printed
    assert "11 faults" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("samples", [1, 79, 80, 81, 1000, 1599, 1600, 12345])
def test_verify_agrees_with_the_network_about_frames(tmp_path, samples):
    labels, features = Labels.load(LABELS), FeatureConfig(sample_rate=RATE)
    write(tmp_path, "a.wav", samples / RATE, "NEVER ENDING " * 99)
    (tmp_path / "m.csv").write_text("a.wav,a.txt\n")
    (fault,) = verify(tmp_path / "m.csv", labels, features).faults
    config = ModelConfig(hidden_size=8, hidden_layers=1, labels=labels.characters, features=features)
    log_probs, _ = DeepSpeech(config).eval()(*Spectrogram(features)(torch.zeros(1, samples)))
    assert f" s have {log_probs.shape[1]};" in fault


def test_a_good_manifest_has_no_faults(tmp_path, capsys):
    write(tmp_path, "a.wav", 2, "ABBA")
    write_manifest(tmp_path / "m.csv", build(tmp_path))
    assert verify_command.main([str(tmp_path / "m.csv"), "--labels-path", LABELS, "--headers-only"]) == 0
    printed = capsys.readouterr().out
    assert "0 faults" in printed
    assert "'A' 2  'B' 2" in printed
    assert "characters a second: 2.0" in printed
