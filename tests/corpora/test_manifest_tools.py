"""Build, merge, filter and split manifests."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import build_manifest, merge_manifests, split_manifest
from deepspeech.corpora.manifest_tools import build, merge, prune, speaker_folder, split
from deepspeech.data.manifest import Utterance, read_manifest, write_manifest
from deepspeech.errors import InputError
from tests.corpora.files import write


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
    with pytest.raises(InputError, match=r"--fractions .*must be positive"):
        split_manifest.main("all.csv --output-paths one.csv two.csv --fractions 1 0".split())
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


def test_unreadable_audio_is_left_out_of_a_selection_on_request(tmp_path):
    write(tmp_path, "a.wav", 2.0)
    (tmp_path / "b.wav").write_bytes(b"no audio")
    rows = [Utterance(str(tmp_path / name), "t.txt", place=f"m.csv:{name}") for name in ("a.wav", "b.wav")]
    with pytest.raises(InputError, match=r"m\.csv:b\.wav: .*not an audio file"):
        prune(rows, 1, None)
    assert [each.audio_path for each in prune(rows, 1, None, skip_faulty=True)] == [str(tmp_path / "a.wav")]


def test_merging_tells_segments_and_inline_transcripts_apart(tmp_path):
    rows = [
        ("a.wav", 0, 1, "ONE"),
        ("a.wav", 1, 1, "TWO"),
        ("a.wav", None, 2, "ONE TWO"),
        ("a.wav", 0, 1, "ONE"),
    ]
    keys = "audio_filepath", "offset", "duration", "text"

    def write_lines(name, rows):
        lines = [json.dumps(dict(zip(keys, row, strict=True))) for row in rows]
        (tmp_path / name).write_text("\n".join(lines))
        return tmp_path / name

    assert [each.text for each in merge([write_lines("m.jsonl", rows)])] == ["ONE", "TWO", "ONE TWO"]
    other = write_lines("n.jsonl", [("a.wav", 1, 1, "THREE")])
    with pytest.raises(
        InputError, match=rf"^{other}:1: .*a.wav#t=1,2 has another transcript in .*m.jsonl:2; remove"
    ):
        merge([tmp_path / "m.jsonl", other])
