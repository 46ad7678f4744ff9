"""JSON lines with segments of long recordings, wherever a manifest is taken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from deepspeech.checkpoint.format import load_model, save_checkpoint
from deepspeech.data.corpus import load_corpus
from deepspeech.data.manifest import read_manifest
from deepspeech.data.shards import write_shards
from tests.conftest import load_script, run_script, tiny_model, write_rows

RATE = 16000
FLAGS = (
    "--hidden-size 8 --hidden-layers 1 --no-cuda --precision fp32 --num-workers 0 --epochs 2 --batch-size 4"
)


@pytest.fixture(scope="module")
def twins(tmp_path_factory, corpus) -> tuple[Path, Path]:
    """The same utterances as files in a CSV, and as segments of one recording in JSON lines."""
    folder = tmp_path_factory.mktemp("twins")
    rows, lines, pieces, start = [], [], [], 0.0
    for index in range(8):
        name = f"train_{index}"
        suffix = ("wav", "flac")[index % 2]
        samples, _ = soundfile.read(corpus.folder / f"{name}.{suffix}", dtype="int16")
        samples = samples[: len(samples) // 160 * 160]  # so that times are decimal fractions
        text = (corpus.folder / f"{name}.txt").read_text().strip()
        soundfile.write(folder / f"{name}.wav", samples, RATE)
        (folder / f"{name}.txt").write_text(text)
        seconds = len(samples) / RATE
        rows.append((f"{name}.wav", f"{name}.txt", f"{seconds:.3f}"))
        row = {"audio_filepath": "long.flac", "offset": round(start, 6), "duration": seconds, "text": text}
        lines.append(json.dumps(row))
        pieces.append(samples)
        start += seconds
    soundfile.write(folder / "long.flac", np.concatenate(pieces), RATE)
    (folder / "segments.jsonl").write_text("\n".join(lines))
    return write_rows(folder / "files.csv", rows), folder / "segments.jsonl"


def test_training_on_segments_equals_training_on_files(tmp_path, twins):
    weights = []
    for manifest in twins:
        folder = tmp_path / manifest.stem
        files = ["--train-manifest", manifest, "--val-manifest", manifest, "--save-folder", folder]
        assert not load_script("train.py").main([*map(str, files), *FLAGS.split()])
        weights.append(load_model(folder / "deepspeech_last.pth").state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.fixture
def model_path(tmp_path, labels):
    save_checkpoint(tmp_path / "model.pth", tiny_model(labels))
    return tmp_path / "model.pth"


def test_segments_are_tested_and_transcribed_as_files_are(tmp_path, twins, model_path, capsys):
    tested, transcribed = [], []
    for manifest in twins:
        flags = ["--model-path", str(model_path), "--num-workers", "0"]
        load_script("test.py").main([*flags, "--test-manifest", str(manifest)])
        tested.append(capsys.readouterr().out.replace(str(manifest), ""))
        load_script("transcribe.py").main([*flags, "--manifest", str(manifest), "--format", "text"])
        transcribed.append(capsys.readouterr().out)
    assert tested[0] == tested[1]
    assert transcribed[0] == transcribed[1]
    assert len(transcribed[0].splitlines()) == 8
    folder = tmp_path / "results"
    load_script("transcribe.py").main([*flags, "--manifest", str(twins[1]), "--output", str(folder)])
    documents = [json.loads(path.read_text()) for path in folder.rglob("*.json")]
    assert len({document["audio_path"] for document in documents}) == 8
    load_script("transcribe.py").main([*flags, documents[0]["audio_path"]])
    assert json.loads(capsys.readouterr().out)["output"] == documents[0]["output"]


def test_shards_hold_segments_as_files(tmp_path, twins, labels):
    write_shards(read_manifest(twins[1])[0], str(tmp_path / "%d.tar"))
    packed, loose = load_corpus(tmp_path / "0.tar", labels), load_corpus(twins[0], labels)
    for index in range(8):
        assert np.array_equal(packed.load_audio(index, RATE), loose.load_audio(index, RATE))
        assert np.array_equal(packed.targets[index], loose.targets[index])


def test_segments_are_verified(tmp_path, twins):
    lines = twins[1].read_text().splitlines()
    row = json.loads(lines[0]) | {"audio_filepath": str(twins[1].parent / "long.flac")}
    lines = [row, row | {"offset": 90}, row | {"text": "é"}, row | {"offset": row["offset"] + 0.01}]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    result = run_script("data/verify_manifest.py", manifest)
    faults = [line for line in result.stdout.splitlines() if line.startswith(str(manifest))]
    assert result.returncode == 1
    assert len(faults) == 3
    assert f"{manifest}:2: {row['audio_filepath']}: no audio from 90 s to " in faults[0]
    assert f"{manifest}:3: 'é' has characters that are not in the labels" in faults[1]
    assert f"{manifest}:3: the same audio as {manifest}:1; remove one" in faults[2]


def test_merged_manifests_may_be_json_lines(tmp_path, twins):
    result = run_script("data/merge_manifests.py", *twins, "--output-path", tmp_path / "both.jsonl")
    assert result.returncode == 0
    utterances, _ = read_manifest(tmp_path / "both.jsonl")
    assert len(utterances) == 16
    assert len({each.audio_path for each in utterances}) == 16
