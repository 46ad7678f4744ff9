"""Manifest CSVs: the quirks of the format."""

from __future__ import annotations

import pytest

from deepspeech.data.manifest import Utterance, read_manifest, write_manifest
from deepspeech.errors import InputError


def rows_of(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    utterances, faults = read_manifest(path)
    assert not faults
    return [(each.audio_path, each.transcript_path, each.duration) for each in utterances]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_rows_of_any_encoding_and_line_ending(tmp_path, encoding, newline):
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
def test_malformed_rows_are_reported(tmp_path, row):
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
def test_a_file_that_is_not_csv_in_utf_8_is_refused_with_its_line(tmp_path, content, place):
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
