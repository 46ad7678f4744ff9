"""Mutated manifests and shards: every utterance as written, or a message that names it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset

from deepspeech.corpora.kaldi import read_kaldi
from deepspeech.data.corpus import load_corpus
from deepspeech.data.manifest import read_manifest, write_manifest
from deepspeech.labels import Labels
from tests.fuzz.mutations import mutations, value_or_refusal

RATE = 16000
LABELS = Labels.load(Path(__file__).parents[2] / "labels.json")
TEXTS = ("YES", "NO", "GO ON", "STOP")

pytestmark = pytest.mark.exhaustive


def test_mutated_manifests(tmp_path: Path) -> None:
    with open(tmp_path / "m.csv", "w", newline="") as file:
        for number, text in enumerate(TEXTS):
            soundfile.write(tmp_path / f"{number}.wav", np.zeros(800), RATE)
            (tmp_path / f"{number}.txt").write_text(text)
            csv.writer(file).writerow((f"{number}.wav", f"{number}.txt", "0.05"))
    for _, content in mutations([(tmp_path / "m.csv").read_bytes()], seed=2):
        (tmp_path / "mutated.csv").write_bytes(content)
        loaded = value_or_refusal(lambda: load_corpus(tmp_path / "mutated.csv", LABELS))
        if isinstance(loaded, str):
            assert all(str(tmp_path) in line for line in loaded.split("\n")), loaded
        else:
            for index in range(len(loaded)):
                number = int(Path(loaded[index].transcript_path).stem)
                assert LABELS.decode(loaded.targets[index]) == TEXTS[number]


def test_mutated_json_lines_and_kaldi_folders(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(3200), RATE)
    spans = [(text, 0.05 * number) for number, text in enumerate(TEXTS)]
    rows = [
        {"audio_filepath": "long.wav", "offset": start, "duration": 0.05, "text": text}
        for text, start in spans
    ]
    folder, again = tmp_path / "kaldi", tmp_path / "again.jsonl"
    folder.mkdir()
    tables = {
        "wav.scp": f"r {tmp_path}/long.wav\n",
        "text": "".join(f"u{number} {text}\n" for number, text in enumerate(TEXTS)),
        "segments": "".join(f"u{n} r {start:.2f} {start + 0.05:.2f}\n" for n, (_, start) in enumerate(spans)),
    }
    names = ["m.jsonl", *tables]
    whole = ["".join(json.dumps(row) + "\n" for row in rows).encode(), *map(str.encode, tables.values())]
    for which, content in mutations(whole, seed=4):
        for name, data in zip(tables, whole[1:], strict=True):
            (folder / name).write_bytes(data)
        path = folder / names[which] if which else tmp_path / "m.jsonl"
        path.write_bytes(content)
        found = value_or_refusal(
            lambda which=which: read_kaldi(folder) if which else read_manifest(tmp_path / "m.jsonl")
        )
        if isinstance(found, str):
            assert str(tmp_path) in found
            continue
        utterances, faults = found
        assert all(fault.startswith(str(tmp_path)) and "\n" not in fault for fault in faults), faults
        value_or_refusal(lambda utterances=utterances: write_manifest(again, utterances))
        loaded = value_or_refusal(lambda: load_corpus(again, LABELS, "drop", True))
        for row in range(0 if isinstance(loaded, str) else len(loaded)):
            value_or_refusal(lambda row=row, loaded=loaded: loaded.load_audio(row, RATE))


def test_mutated_shards_and_indices(tmp_path: Path) -> None:
    shard = tmp_path / "s.tar"
    soundfile.write(tmp_path / "a.flac", np.random.default_rng(0).normal(0, 0.1, 800), RATE)
    sound = (tmp_path / "a.flac").read_bytes()
    with webdataset.TarWriter(str(shard)) as writer:
        for number, text in enumerate(TEXTS):
            meta = json.dumps({"seconds": 0.05}).encode()
            writer.write({"__key__": str(number), "flac": sound, "txt": text, "json": meta})
    load_corpus(shard, LABELS)
    index = tmp_path / "s.tar.index.csv"
    whole = [shard.read_bytes(), index.read_bytes()]
    for which, content in mutations(whole, seed=3):
        shard.write_bytes(whole[0])
        index.unlink(missing_ok=True)
        if which:
            index.write_bytes(content)
        else:
            shard.write_bytes(content)
        loaded = value_or_refusal(lambda: load_corpus(shard, LABELS))
        if isinstance(loaded, str):
            assert str(shard) in loaded
            continue
        for row in range(len(loaded)):
            value_or_refusal(lambda row=row, loaded=loaded: loaded.load_audio(row, RATE))
