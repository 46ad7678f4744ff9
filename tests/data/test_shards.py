"""Corpora in tar shards: the same corpus as loose files."""

import errno
import io
import json
import os
import re
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import webdataset

from data import make_shards
from deepspeech.audio.loading import load_audio
from deepspeech.commands import test as test_script
from deepspeech.commands import train
from deepspeech.corpora.manifest_tools import build
from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.loader import AudioDataLoader
from deepspeech.data.manifest import write_manifest
from deepspeech.data.sampler import BucketingSampler
from deepspeech.data.shards import expand, index_path
from deepspeech.errors import InputError
from deepspeech.labels import Labels

RATE = 16000
LABELS_PATH = Path(__file__).parents[2] / "labels.json"
LABELS = Labels.load(LABELS_PATH)
WORDS = ("YES", "NO", "GO ON", "STOP", "LEFT", "RIGHT")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """12 utterances, as a manifest `m.csv` and as four shards `s-000.tar`."""
    folder = tmp_path_factory.mktemp("corpus")
    for index in range(12):
        noise = np.random.default_rng(index).uniform(-0.5, 0.5, RATE + 1000 * index)
        soundfile.write(folder / f"naïve name.{index}.{('wav', 'flac')[index % 2]}", noise, RATE)
        (folder / f"naïve name.{index}.txt").write_text(WORDS[index % 6] + "\n")
    write_manifest(folder / "m.csv", build(folder))
    flags = ["--output-dir", str(folder), "--name", "s", "--shard-utterances", "3"]
    make_shards.main([str(folder / "m.csv"), *flags])
    return folder


def shards(corpus: Path) -> str:
    return f"{corpus}/s-{{000..003}}.tar"


def test_shards_give_the_same_batches_as_loose_files(corpus):
    def batches(path):
        loaded = load_corpus(path, LABELS)
        dataset = SpectrogramDataset(loaded, LABELS)
        sampler = BucketingSampler(loaded.durations, 4, seed=5)
        sampler.set_epoch(1)
        references = [dataset.reference(index) for index in range(len(loaded))]
        return list(AudioDataLoader(dataset, sampler, num_workers=1)), references

    loose, texts = batches(corpus / "m.csv")
    packed, texts_in_shards = batches(shards(corpus))
    assert texts == texts_in_shards
    assert len(loose) == len(packed) == 3
    for one, other in zip(loose, packed, strict=True):
        assert one.indices == other.indices
        for name in ("features", "lengths", "targets", "target_lengths"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_webdataset_reads_the_shards(corpus):
    samples = list(webdataset.WebDataset(shards(corpus), shardshuffle=False))
    assert [sample["txt"].decode() for sample in samples] == [*WORDS, *WORDS]
    audio = sorted((set(sample) & {"wav", "flac"}).pop() for sample in samples)
    assert audio == ["flac"] * 6 + ["wav"] * 6
    assert [json.loads(sample["json"])["seconds"] for sample in samples] == pytest.approx(
        [1 + index / 16 for index in range(12)], abs=1e-3
    )


def test_shards_made_elsewhere_are_indexed_once(corpus, tmp_path):
    with webdataset.TarWriter(str(tmp_path / "other.tar")) as writer:
        for index in range(3):
            sound = (corpus / f"naïve name.{index}.{('wav', 'flac')[index % 2]}").read_bytes()
            writer.write(
                {"__key__": f"a/{index}", "flac" if index % 2 else "wav": sound, "txt": WORDS[index]}
            )
    loaded = load_corpus(tmp_path / "other.tar", LABELS)
    assert loaded.durations.tolist() == pytest.approx([1, 1 + 1 / 16, 1 + 2 / 16])
    assert loaded[1].place == f"{tmp_path}/other.tar:a/1.flac"
    index = Path(index_path(f"{tmp_path}/other.tar"))
    written = index.stat().st_mtime_ns
    assert np.array_equal(load_corpus(tmp_path / "other.tar", LABELS).durations, loaded.durations)
    assert index.stat().st_mtime_ns == written


def test_the_index_of_another_shard_is_replaced(corpus, tmp_path):
    shutil.copy(corpus / "s-000.tar", tmp_path / "s.tar")
    shutil.copy(corpus / "s-003.tar.index.csv", tmp_path / "s.tar.index.csv")
    loaded = load_corpus(tmp_path / "s.tar", LABELS)
    assert len(loaded.load_audio(0, RATE)) == RATE


def test_patterns_stand_for_shards_in_order(corpus):
    names = [f"{corpus}/s-{number:03d}.tar" for number in range(4)]
    assert expand(f"{corpus}/s-{{000..003}}.tar") == names
    assert expand(f"{corpus}/s-{{002..002}}.tar") == names[2:3]
    assert expand(f"{corpus}/s-*.tar") == names
    assert expand(f"{corpus}/s-0{{0..0}}{{1..2}}.tar") == names[1:3]
    with pytest.raises(InputError, match=r"s-004\.tar: no such shard"):
        expand(f"{corpus}/s-{{000..004}}.tar")


def damage_text(path: Path) -> None:
    with webdataset.TarWriter(str(path)) as writer:
        writer.write({"__key__": "0", "wav": b"no audio", "txt": "YES", "json": {"seconds": 1.0}})
        writer.write({"__key__": "1", "wav": b"no audio", "txt": "CAFÉ", "json": {"seconds": 1.0}})
        writer.write({"__key__": "2", "wav": b"no audio", "txt": "YES"})
        writer.write({"__key__": "3", "wav": b"no audio"})


def test_faults_in_shards_are_reported_together(tmp_path, capsys):
    damage_text(tmp_path / "s.tar")
    with pytest.raises(InputError) as error:
        load_corpus(tmp_path / "s.tar", LABELS)
    lines = str(error.value).splitlines()
    assert "3 faulty rows" in lines[0]
    assert any("s.tar:1.wav: 'CAFÉ' has characters" in line for line in lines)
    assert any("2.wav: not an audio file" in line for line in lines)
    assert any("3: expected audio and .txt, found .wav" in line for line in lines)
    loaded = load_corpus(tmp_path / "s.tar", LABELS, skip_faulty=True)
    assert len(loaded) == 1
    assert capsys.readouterr().err.count("faulty rows are left out") == 1
    with pytest.raises(InputError, match=r"s\.tar:0\.wav: .*not an audio file"):
        loaded.load_audio(0, RATE)


@pytest.mark.parametrize("content", [b"", b"no tar file" * 100])
def test_a_file_that_is_not_tar_is_one_line(tmp_path, content):
    (tmp_path / "s.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"s\.tar: (not a shard|no utterance)") as error:
        load_corpus(tmp_path / "s.tar", LABELS)
    assert "\n" not in str(error.value)


def test_a_truncated_shard_is_one_line(corpus, tmp_path):
    shutil.copy(corpus / "s-000.tar", tmp_path / "s.tar")
    loaded = load_corpus(tmp_path / "s.tar", LABELS)
    (tmp_path / "s.tar").write_bytes(b"")
    with pytest.raises(InputError, match="truncated shard"):
        loaded.load_audio(0, RATE)


def test_shards_are_not_mixed_with_older_ones(corpus, tmp_path):
    with pytest.raises(InputError, match="there are such shards already"):
        make_shards.main([str(corpus / "m.csv"), "--output-dir", str(corpus), "--name", "s"])


def test_without_webdataset_shards_are_readable_and_writing_names_the_package(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "webdataset", None)
    assert len(load_corpus(shards(corpus), LABELS)) == 12
    with pytest.raises(InputError, match="pip install webdataset"):
        make_shards.main([str(corpus / "m.csv"), "--output-dir", str(tmp_path)])


@pytest.mark.slow
def test_shards_train_resume_and_test_as_loose_files_do(corpus, tmp_path, capsys):
    def run(manifest: str, name: str, epochs: int, *more: str) -> dict:
        folder = tmp_path / name
        flags = (
            f"--hidden-size 16 --hidden-layers 1 --epochs {epochs} --num-workers 0 --batch-size 3 --no-cuda"
        )
        manifests = ["--train-manifest", manifest, "--val-manifest", manifest, "--checkpoint"]
        paths = ["--save-folder", str(folder), "--labels-path", str(LABELS_PATH)]
        assert train.main([*flags.split(), *manifests, *paths, *more]) == 0
        return torch.load(folder / f"deepspeech_checkpoint_epoch_{epochs}.pth", weights_only=True)[
            "state_dict"
        ]

    loose = run(str(corpus / "m.csv"), "loose", 2)
    packed = run(shards(corpus), "packed", 2)
    run(shards(corpus), "stopped", 1)
    checkpoint = f"{tmp_path}/stopped/deepspeech_checkpoint_epoch_1.pth"
    resumed = run(shards(corpus), "resumed", 2, "--continue-from", checkpoint)
    for name, weights in loose.items():
        assert torch.equal(weights, packed[name])
        assert torch.equal(weights, resumed[name])
    capsys.readouterr()
    output = tmp_path / "out.csv"
    flags = ["--model-path", f"{tmp_path}/packed/deepspeech_final.pth", "--num-workers", "0"]
    test_script.main([*flags, "--test-manifest", shards(corpus), "--output", str(output)])
    assert "12 utterances" in capsys.readouterr().out
    assert f"{corpus}/s-000.tar/" in output.read_text()


def test_members_keep_the_bytes_of_the_files(corpus):
    with tarfile.open(corpus / "s-000.tar") as tar:
        sounds = [member for member in tar if member.name.endswith((".wav", ".flac"))]
        first = tar.extractfile(sounds[0]).read()
    assert first == (corpus / "naïve name.0.wav").read_bytes()


def test_names_with_dots_are_utterances_of_their_own(corpus, tmp_path):
    sound = (corpus / "naïve name.0.wav").read_bytes()
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for number in range(5):
            for name, content in (
                (f"p.00{number}.wav", sound),
                (f"p.00{number}.txt", WORDS[number].encode()),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    loaded = load_corpus(tmp_path / "s.tar", LABELS)
    assert [LABELS.decode(target) for target in loaded.targets] == list(WORDS[:5])


def test_a_corrected_transcript_replaces_the_index(tmp_path):
    shard = tmp_path / "s.tar"
    for text in ("YES", "TEN"):
        with webdataset.TarWriter(str(shard)) as writer:
            writer.write({"__key__": "0", "wav": b"", "txt": text, "json": {"seconds": 1.0}})
        loaded = load_corpus(shard, LABELS)
        assert LABELS.decode(loaded.targets[0]) == text
        os.utime(index_path(str(shard)), ns=(1, 1))  # it was indexed long ago


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_truncated_audio_is_refused_as_in_loose_files(tmp_path, name):
    soundfile.write(tmp_path / name, np.random.default_rng(0).normal(0, 0.1, RATE), RATE)
    content = (tmp_path / name).read_bytes()[:-400]
    with webdataset.TarWriter(str(tmp_path / "s.tar")) as writer:
        writer.write({"__key__": "0", name[2:]: content, "txt": "YES", "json": {"seconds": 1.0}})
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as loose:
        load_audio(tmp_path / name, RATE)
    with pytest.raises(InputError) as packed:
        load_corpus(tmp_path / "s.tar", LABELS).load_audio(0, RATE)
    fault = re.compile(r"(truncated|damaged) audio.*")
    assert fault.search(str(packed.value))[0] == fault.search(str(loose.value))[0]
    (tmp_path / "a.txt").write_text("YES")
    (tmp_path / "m.csv").write_text(f"{name},a.txt,1.0\n")
    with pytest.raises(InputError, match=r"m\.csv:1: .*"):
        make_shards.main([str(tmp_path / "m.csv"), "--output-dir", str(tmp_path / "out")])


def test_audio_that_training_would_not_find_is_not_packed(tmp_path):
    soundfile.write(tmp_path / "a.voc", np.zeros(100), RATE)
    (tmp_path / "a.txt").write_text("YES")
    (tmp_path / "m.csv").write_text("a.voc,a.txt,1.0\n")
    with pytest.raises(InputError, match="not named as audio"):
        make_shards.main([str(tmp_path / "m.csv"), "--output-dir", str(tmp_path / "out")])


def test_a_full_disk_leaves_no_shard(corpus, tmp_path, disk_full_at):
    with disk_full_at(20_000), pytest.raises(InputError) as caught:
        make_shards.main([str(corpus / "m.csv"), "--output-dir", str(tmp_path / "shards")])
    assert str(caught.value).startswith(f"{tmp_path}/shards: cannot write shards: File too large; ")
    assert not list((tmp_path / "shards").iterdir())


def test_a_folder_that_cannot_be_made_is_one_line(corpus, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as caught:
        make_shards.main([str(corpus / "m.csv"), "--output-dir", str(tmp_path / "file" / "shards")])
    assert str(caught.value).startswith(f"{tmp_path}/file/shards: cannot write shards: Not a directory; ")


def test_a_full_disk_leaves_no_part_of_an_index(corpus, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    shutil.copy(corpus / "s-000.tar", tmp_path / "a.tar")
    expected = load_corpus(str(tmp_path / "a.tar"), LABELS)
    Path(index_path(str(tmp_path / "a.tar"))).unlink()
    monkeypatch.setattr(os, "fsync", full)
    found = load_corpus(str(tmp_path / "a.tar"), LABELS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]
    assert list(found.durations) == list(expected.durations)
