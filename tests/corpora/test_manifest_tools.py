"""Build, merge, split, prune and verify manifests."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data import build_manifest, merge_manifests, split_manifest
from deepspeech.audio.features import FeatureConfig, Spectrogram
from deepspeech.commands import verify as verify_command
from deepspeech.corpora.manifest_tools import build, merge, prune, speaker_folder, split
from deepspeech.corpora.verify import verify
from deepspeech.data.manifest import Utterance, read_manifest, write_manifest
from deepspeech.errors import InputError
from deepspeech.labels import Labels
from deepspeech.model.deepspeech2 import DeepSpeech, ModelConfig

RATE = 8000
LABELS = str(Path(__file__).parents[2] / "labels.json")


def write(folder: Path, name: str, seconds: float = 1.0, text: str | None = "HELLO", seed: int = 0) -> Path:
    """An audio file `folder/name` and its transcript."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([seed, len(name), *name.encode()]).uniform(-0.5, 0.5, round(seconds * RATE))
    soundfile.write(path, noise, RATE)
    if text is not None:
        path.with_suffix(".txt").write_text(text + "\n")
    return path


def names(utterances) -> list[str]:
    return [os.path.basename(each.audio_path) for each in utterances]


def rows(path: Path) -> list[Utterance]:
    utterances, faults = read_manifest(path)
    assert not faults
    return utterances


NAMES = st.text("abä, \"';é/", min_size=1, max_size=6).map(
    lambda name: name.strip("/").replace("//", "/") or "x"
)


def files_of(utterances) -> list[tuple[str, str, float]]:
    return [
        (os.path.realpath(each.audio_path), os.path.realpath(each.transcript_path), each.duration)
        for each in utterances
    ]


@settings(max_examples=25, deadline=None)
@given(
    files=st.dictionaries(NAMES, st.sampled_from([".wav", ".flac"]), min_size=5, max_size=9),
    fractions=st.lists(st.floats(0.4, 1), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_build_merge_and_split_keep_every_utterance_once(tmp_path_factory, files, fractions, seed):
    folder = tmp_path_factory.mktemp("corpus")
    for number, (name, ending) in enumerate(files.items()):
        write(folder, f"{name}.{number}{ending}", 0.01 * (number + 1))
    built = build(folder)
    assert len(built) == len(files)
    write_manifest(folder / "all.csv", built)
    read = rows(folder / "all.csv")
    assert files_of(read) == files_of(built)
    (folder / "elsewhere").mkdir()
    overlapping = {"odd.csv": read[1::2], "elsewhere/tail.csv": read[1:], "head.csv": read[:2]}
    for name, part in overlapping.items():
        write_manifest(folder / name, part)
    merged = merge([folder / name for name in overlapping])
    assert files_of(merged) == files_of(read)
    parts = split(merged, fractions, seed)
    assert len(parts) == len(fractions)
    assert sorted(files_of(merged)) == sorted(row for part in parts for row in files_of(part))
    assert split(merged, fractions, seed) == parts


def test_build_finds_transcripts_beside_audio_and_in_txt(tmp_path):
    write(tmp_path, "a/one.wav", 2.0)
    write(tmp_path, "wav/speaker/two.flac", 1.0, text=None)
    (tmp_path / "txt" / "speaker").mkdir(parents=True)
    (tmp_path / "txt" / "speaker" / "two.txt").write_text("TWO")
    found = build(tmp_path)
    assert names(found) == ["two.flac", "one.wav"]  # shortest first
    assert [each.duration for each in found] == [1.0, 2.0]
    assert found[0].transcript_path == str(tmp_path / "txt" / "speaker" / "two.txt")


def test_build_names_audio_without_transcript(tmp_path, capsys):
    write(tmp_path, "a.wav")
    write(tmp_path, "b.wav", text=None)
    with pytest.raises(InputError, match=r"b\.wav: no transcript b\.txt"):
        build(tmp_path)
    assert names(build(tmp_path, skip_faulty=True)) == ["a.wav"]
    assert "1 faulty rows are left out" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "empty"])
def test_build_of_nothing_is_reported_in_one_line(tmp_path, content):
    folder = tmp_path / "corpus"
    if content:
        folder.mkdir()
    with pytest.raises(InputError, match=r"no such folder|no audio") as error:
        build(folder)
    assert "\n" not in str(error.value)


def utterances(count: int, speakers: int = 1) -> list[Utterance]:
    return [Utterance(f"/c/{index % speakers}/{index}.wav", f"/c/{index}.txt", 1.0) for index in range(count)]


def test_parts_have_the_requested_sizes():
    assert [len(part) for part in split(utterances(100), (8, 1, 1), seed=3)] == [80, 10, 10]
    assert split(utterances(100), (8, 2), seed=3) != split(utterances(100), (8, 2), seed=4)


def test_split_keeps_speakers_together():
    parts = split(utterances(100, speakers=10), (0.8, 0.2), seed=1, speaker=speaker_folder(1))
    assert [len(part) for part in parts] == [80, 20]
    first, second = ({each.audio_path.split("/")[2] for each in part} for part in parts)
    assert not first & second


def test_split_into_more_parts_than_speakers_is_an_error():
    with pytest.raises(InputError, match="1 speakers are too few"):
        split(utterances(10), (1, 1), speaker=speaker_folder(1))
    with pytest.raises(InputError, match="must be positive"):
        split(utterances(10), (1, 0))
    with pytest.raises(InputError, match="use a lower level"):
        split(utterances(10), (1, 1), speaker=speaker_folder(9))


def test_merge_keeps_durations_and_refuses_two_transcripts(tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("a.wav,a.txt\nb.wav,b.txt,3.5\n")
    two.write_text("a.wav,a.txt,1.25\nc.wav,c.txt\n")
    merged = merge([one, two])
    assert [(name, each.duration) for name, each in zip(names(merged), merged, strict=True)] == [
        ("a.wav", 1.25),
        ("b.wav", 3.5),
        ("c.wav", None),
    ]
    two.write_text("a.wav,other.txt\n")
    with pytest.raises(InputError, match=r"two\.csv:1: .*a\.wav has another transcript in .*one\.csv:1"):
        merge([one, two])


def test_prune_reads_missing_durations(tmp_path):
    paths = [write(tmp_path, f"{seconds}.wav", seconds) for seconds in (1, 2, 3)]
    pruned = prune([Utterance(str(path), "x.txt") for path in paths], 1.5, 2.5)
    assert names(pruned) == ["2.wav"]
    assert pruned[0].duration == 2
    with pytest.raises(InputError, match="no utterance lasts from 5 to 6 s"):
        prune(pruned, 5, 6)


def test_scripts_build_merge_and_split(tmp_path):
    for index in range(10):
        write(tmp_path, f"corpus/{index % 5}/{index}.wav", 1 + index / 10)
    everything, long = tmp_path / "all.csv", tmp_path / "long.csv"
    build_manifest.main([str(tmp_path / "corpus"), "--output-path", str(everything)])
    assert len(rows(everything)) == 10
    pieces = [str(everything), str(everything)]
    merge_manifests.main([*pieces, "--output-path", str(long), "--min-duration", "1.45"])
    assert [each.duration for each in rows(long)] == [1.5, 1.6, 1.7, 1.8, 1.9]
    parts = [str(tmp_path / f"{part}.csv") for part in ("train", "val")]
    flags = ["--fractions", ".8", ".2", "--speaker-level", "1", "--output-paths", *parts]
    split_manifest.main([str(everything), *flags])
    train, val = (rows(part) for part in parts)
    assert (len(train), len(val)) == (8, 2)
    assert len({os.path.dirname(each.audio_path) for each in val}) == 1
    with pytest.raises(InputError, match="as many --fractions as --output-paths"):
        split_manifest.main([str(everything), "--output-paths", "one.csv"])


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
