"""Manifest CSVs: quirks of the format, checks of every row."""

import os

import numpy as np
import pytest
import soundfile

from deepspeech.data.corpus import load_corpus
from deepspeech.data.manifest import Utterance, read_manifest, read_transcript, write_manifest
from deepspeech.errors import InputError
from deepspeech.labels import Labels
from tests.conftest import write_rows


def rows_of(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    utterances, faults = read_manifest(path)
    assert not faults
    return [(each.audio_path, each.transcript_path, each.duration) for each in utterances]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_rows_whatever_wrote_them(tmp_path, encoding, newline):
    lines = ["/a/1.wav,/a/1.txt", "", '"/a/2, the second.wav","/a/2.txt",1.5', " , ", "/a/Ä.wav , /a/3.txt,"]
    found = rows_of(tmp_path / "m.csv", newline.join(lines), encoding)
    assert found == [
        ("/a/1.wav", "/a/1.txt", None),
        ("/a/2, the second.wav", "/a/2.txt", 1.5),
        ("/a/Ä.wav", "/a/3.txt", None),
    ]


def test_relative_paths_are_relative_to_the_manifest(tmp_path, monkeypatch):
    folder = tmp_path / "sub"
    folder.mkdir()
    assert rows_of(folder / "m.csv", "a.wav,../t.txt") == [(f"{folder}/a.wav", f"{folder}/../t.txt", None)]
    monkeypatch.chdir(folder)
    utterances, _ = read_manifest("m.csv")
    assert utterances[0].audio_path == "a.wav"


def test_places_name_file_and_line(tmp_path):
    (tmp_path / "m.csv").write_text("a.wav,a.txt\n\nb.wav\nc.wav,c.txt\n")
    utterances, faults = read_manifest(tmp_path / "m.csv")
    assert [each.place for each in utterances] == [f"{tmp_path}/m.csv:1", f"{tmp_path}/m.csv:4"]
    assert faults == [f"{tmp_path}/m.csv:3: expected audio,transcript[,seconds], got 'b.wav'"]


@pytest.mark.parametrize(
    "row",
    ["a.wav", "a.wav,", ",a.txt", "a,b,long", "a,b,0", "a,b,-1", "a,b,nan", "a,b,inf", "a,b,1,2"],
)
def test_rows_that_are_none(tmp_path, row):
    (tmp_path / "m.csv").write_text(f"{row}\n")
    utterances, (fault,) = read_manifest(tmp_path / "m.csv")
    assert not utterances
    assert fault.startswith(f"{tmp_path}/m.csv:1: ")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("a.wav,a.txt\nb.wav,Ö.txt".encode("latin-1"), ":2"),
        (b'a.wav,a.txt\n"b.wav,b.txt\n', ":2"),
        (b'a.wav,a.txt\n"b"x.wav,b.txt\n', ":2"),
        ("a.wav,a.txt".encode("utf-16"), ":1"),
    ],
)
def test_a_file_that_is_no_csv_in_utf_8_is_refused_with_its_line(tmp_path, content, place):
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_manifest(tmp_path / "m.csv")
    assert str(caught.value).startswith(f"{tmp_path}/m.csv{place}: ")
    assert "save it as CSV in UTF-8" in str(caught.value)


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="cannot read the manifest"):
        read_manifest(tmp_path / name)


def test_written_rows_are_read_back(tmp_path):
    rows = [Utterance(f"{tmp_path}/a, b.wav", f"{tmp_path}/x/ä.txt", 1.25), Utterance("/z/c.wav", "/z/c.txt")]
    write_manifest(tmp_path / "m.csv", rows)
    assert (tmp_path / "m.csv").read_text().splitlines()[0] == '"a, b.wav",x/ä.txt,1.250'
    assert rows_of(tmp_path / "m.csv", (tmp_path / "m.csv").read_text()) == [
        (each.audio_path, each.transcript_path, each.duration) for each in rows
    ]


def test_a_corpus_has_durations_and_targets(corpus, labels):
    loaded = load_corpus(corpus.train, labels)
    assert len(loaded) == 12
    for utterance, target in zip(loaded, loaded.targets, strict=True):
        samples, rate = soundfile.read(utterance.audio_path)
        assert utterance.duration == len(samples) / rate
        assert labels.decode(target) == read_transcript(utterance.transcript_path)
    assert loaded.durations.tolist() == [utterance.duration for utterance in loaded]


def test_durations_of_the_manifest_are_believed(own_corpus, labels):
    rows = [(f"train_{index}.{('wav', 'flac')[index % 2]}", f"train_{index}.txt", 9) for index in range(4)]
    write_rows(own_corpus.train, rows)
    assert load_corpus(own_corpus.train, labels).durations.tolist() == [9, 9, 9, 9]


def damage(corpus):
    """One fault of each kind; rows 3 and 4 of the manifest stay whole. Returns words for each fault."""
    folder = corpus.folder
    (folder / "empty.wav").touch()
    (folder / "noise.wav").write_bytes(b"this is no audio" * 100)
    (folder / "cut.wav").write_bytes((folder / "train_0.wav").read_bytes()[:3000])
    (folder / "dir.wav").mkdir()
    (folder / "cafe.txt").write_text("CAFÉ 1", encoding="utf-8")
    (folder / "lower.txt").write_text("one two", encoding="utf-8")
    (folder / "nothing.txt").write_text(" \n")
    (folder / "latin.txt").write_bytes("CAFÉ".encode("latin-1"))
    faulty = {
        ("train_0.wav",): "expected audio,transcript[,seconds]",
        ("missing.wav", "train_0.txt"): "no such audio file",
        ("missing.wav", "train_0.txt", "1"): "no such audio file",
        ("train_0.wav", "missing.txt"): "cannot read the transcript: No such file",
        ("train_0.wav", "dir.wav"): "cannot read the transcript: Is a directory",
        ("empty.wav", "train_0.txt"): "empty audio file",
        ("noise.wav", "train_0.txt"): "not an audio file",
        ("cut.wav", "train_0.txt"): "truncated audio",
        ("dir.wav", "train_0.txt"): "no such audio file",
        ("train_0.wav", "cafe.txt"): "not in the labels: '1', 'É'; add them to the labels or pass --unknown",
        ("train_0.wav", "lower.txt"): "the labels have its upper-case form",
        ("train_0.wav", "nothing.txt"): "empty transcript",
        ("train_0.wav", "latin.txt"): "not UTF-8",
        ("train_0.wav", "train_0.txt", "short"): "'short' is not a duration",
    }
    whole = [("train_0.wav", "train_0.txt"), ("train_1.flac", "train_1.txt")]
    write_rows(corpus.train, [*list(faulty)[:2], *whole, *list(faulty)[2:]])
    lines = [1, 2, *range(5, 3 + len(faulty))]
    return {f"{corpus.train}:{line}: ": words for line, words in zip(lines, faulty.values(), strict=True)}


def test_all_faulty_rows_are_reported_at_once(own_corpus, labels):
    expected = damage(own_corpus)
    with pytest.raises(InputError) as caught:
        load_corpus(own_corpus.train, labels)
    first, *faults = str(caught.value).splitlines()
    assert first == f"{own_corpus.train}: {len(expected)} faulty rows; fix them or pass --skip-faulty:"
    assert len(faults) == len(expected)
    for place, words in expected.items():
        assert [fault for fault in faults if fault.startswith(place) and words in fault], (place, words)


def test_faulty_rows_can_be_left_out_and_are_counted(own_corpus, labels, capsys):
    count = len(damage(own_corpus))
    loaded = load_corpus(own_corpus.train, labels, skip_faulty=True)
    names = [os.path.basename(each.audio_path) for each in loaded]
    assert names == ["train_0.wav", "train_1.flac"]
    assert capsys.readouterr().err.count(f"{count} faulty rows are left out") == 1


def test_a_single_fault_is_one_line(own_corpus, labels):
    write_rows(own_corpus.train, [("train_0.wav", "train_0.txt"), ("gone.wav", "train_0.txt")])
    with pytest.raises(InputError) as caught:
        load_corpus(own_corpus.train, labels)
    folder = own_corpus.folder
    assert str(caught.value) == (
        f"{own_corpus.train}:2: {folder}/gone.wav: no such audio file; correct the path"
    )


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_manifest_without_rows_is_refused(tmp_path, labels, content):
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(InputError, match="no utterance that can be used"):
        load_corpus(tmp_path / "m.csv", labels)


def test_nothing_left_is_refused(own_corpus, labels):
    write_rows(own_corpus.train, [("gone.wav", "train_0.txt")])
    with pytest.raises(InputError, match="no utterance that can be used"):
        load_corpus(own_corpus.train, labels, skip_faulty=True)


def test_unknown_characters_can_be_dropped(own_corpus, labels):
    (own_corpus.folder / "train_0.txt").write_text("ONE-2 TWO!", encoding="utf-8")
    loaded = load_corpus(own_corpus.train, labels, unknown="drop")
    assert labels.decode(loaded.targets[0]) == "ONE TWO"


def test_empty_transcripts_are_right_where_they_are_allowed(own_corpus, labels):
    (own_corpus.folder / "train_0.txt").write_text("")
    loaded = load_corpus(own_corpus.train, labels, allow_empty=True)
    assert len(loaded.targets[0]) == 0
    with pytest.raises(InputError, match="empty transcript; training needs text"):
        load_corpus(own_corpus.train, labels)


def test_line_breaks_in_a_transcript_are_spaces(own_corpus, labels):
    (own_corpus.folder / "train_0.txt").write_bytes(b"\xef\xbb\xbfONE\r\nTWO\n")
    assert labels.decode(load_corpus(own_corpus.train, labels).targets[0]) == "ONE TWO"


def test_thousands_of_faults_do_not_flood_the_terminal(tmp_path, labels):
    write_rows(tmp_path / "m.csv", [(f"{index}.wav", "t.txt") for index in range(5000)])
    with pytest.raises(InputError) as caught:
        load_corpus(tmp_path / "m.csv", labels)
    lines = str(caught.value).splitlines()
    assert len(lines) < 1000
    assert "5000 faulty rows" in lines[0]
    assert lines[-1] == f"... and {5000 - (len(lines) - 2)} more"


def test_large_alphabets_keep_their_indices(tmp_path):
    letters = Labels(["_", *map(chr, range(0x4E00, 0x4E00 + 20000))])
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    (tmp_path / "a.txt").write_text(letters[20000], encoding="utf-8")
    write_rows(tmp_path / "m.csv", [("a.wav", "a.txt")])
    assert load_corpus(tmp_path / "m.csv", letters).targets[0].tolist() == [20000]
