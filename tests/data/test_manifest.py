"""Manifest CSVs: the quirks of the format."""

from __future__ import annotations

import json
from dataclasses import replace

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
    assert "in UTF-8" in str(caught.value)


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


def test_json_lines_of_nemo(tmp_path):
    rows = [
        {"audio_filepath": "a.wav", "text": "ONE TWO", "duration": 1.5},
        {
            "audio_filepath": "/x/ä b.flac",
            "duration": 2,
            "offset": 10.25,
            "text": "Ü\u2028\n",
            "speaker": "ann",
        },
        {"audio_filepath": "c.wav", "text": "", "offset": 3},
        {"audio_filepath": "d.wav", "pred_text": "something else"},
    ]
    lines = [json.dumps(rows[0]), "", *(json.dumps(row, ensure_ascii=False) for row in rows[1:])]
    (tmp_path / "m.json").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    utterances, faults = read_manifest(tmp_path / "m.json")
    assert not faults
    assert [(each.audio_path, each.text, each.duration, each.speaker) for each in utterances] == [
        (f"{tmp_path}/a.wav", "ONE TWO", 1.5, ""),
        ("/x/ä b.flac#t=10.25,12.25", "Ü\u2028\n", 2.0, "ann"),
        (f"{tmp_path}/c.wav#t=3", "", None, ""),
        (f"{tmp_path}/d.wav", None, None, ""),
    ]
    assert [each.place for each in utterances] == [f"{tmp_path}/m.json:{line}" for line in (1, 3, 4, 5)]
    assert [each.read_text() for each in utterances[:3]] == ["ONE TWO", "Ü", ""]
    with pytest.raises(InputError, match="no transcript; add a text to the row"):
        utterances[3].read_text()


def timed(key, value):
    return f'{{"audio_filepath": "a.wav", "text": "A", "{key}": {value}}}'


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "expected a JSON object with audio_filepath and text, got '{'"),
        ("{}", "expected a JSON object"),
        ("5", "expected a JSON object"),
        ("a.wav,a.txt", "expected a JSON object"),
        ('{"audio_filepath": " "}', "expected a JSON object"),
        ('{"audio_filepath": 7, "text": "A"}', "expected a JSON object"),
        ('{"audio_filepath": "a.wav", "text": 7}', "expected a JSON object"),
        ('{"audio_filepath": "a.wav", "text": ["A"]}', "expected a JSON object"),
        ('{"audio_filepath": "a\\u0000.wav", "text": "A"}', "expected a JSON object"),
        ('{"audio_filepath": "a.wav", "text": "\\ud800"}', "expected a JSON object"),
        ("[" * 100_000, "expected a JSON object"),
        (timed("duration", "0"), "0 is not a duration in seconds"),
        (timed("duration", '"1"'), "'1' is not a valid duration in seconds"),
        (timed("duration", "NaN"), "nan is not a valid duration in seconds"),
        (timed("duration", "true"), "True is not a valid duration in seconds"),
        (timed("offset", "-1"), "-1 is not a valid offset in seconds"),
        (timed("offset", "1e999"), "inf is not a valid offset in seconds"),
        (timed("offset", "1" + 400 * "0"), "10000000"),
    ],
)
def test_malformed_json_lines_are_reported(tmp_path, row, words):
    (tmp_path / "m.jsonl").write_text('{"audio_filepath": "a.wav", "text": "A"}\n' + row + "\n")
    utterances, (fault,) = read_manifest(tmp_path / "m.jsonl")
    assert len(utterances) == 1
    assert fault.startswith(f"{tmp_path}/m.jsonl:2: {words}")
    assert len(fault) < 700


def test_a_json_list_is_refused(tmp_path):
    (tmp_path / "m.json").write_text('[\n {"audio_filepath": "a.wav", "text": "A"}]')
    with pytest.raises(InputError, match=r"m.json: a JSON list; write one object a line"):
        read_manifest(tmp_path / "m.json")


def test_csv_of_mozilla(tmp_path):
    lines = [
        "wav_filename,wav_filesize,transcript",
        "/a/1.wav,32044,one two",
        '2.wav,,"one, two"',
        "3.wav,5,",
    ]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    utterances, faults = read_manifest(tmp_path / "m.csv")
    assert not faults
    assert [(each.audio_path, each.text, each.duration) for each in utterances] == [
        ("/a/1.wav", "one two", None),
        (f"{tmp_path}/2.wav", "one, two", None),
        (f"{tmp_path}/3.wav", "", None),
    ]
    assert utterances[1].place == f"{tmp_path}/m.csv:3"
    rows = ["transcript,wav_filename", "one,1.wav", ",", "two", "three, ", "four, five,5.wav"]
    (tmp_path / "m.csv").write_text("\n".join(rows))
    utterances, faults = read_manifest(tmp_path / "m.csv")
    assert [each.text for each in utterances] == ["one"]
    expected = f"{tmp_path}/m.csv:{{}}: expected transcript,wav_filename, got {{!r}}"
    assert faults == [expected.format(line, rows[line - 1]) for line in (4, 5, 6)]


def test_a_kaldi_folder_names_what_converts_it(tmp_path):
    (tmp_path / "wav.scp").touch()
    with pytest.raises(InputError, match=f"convert it: deepspeech manifest convert {tmp_path}"):
        read_manifest(tmp_path)


def test_written_json_lines_are_read_back(tmp_path):
    (tmp_path / "a.txt").write_text("ONE\n")
    rows = [
        Utterance(f"{tmp_path}/a.wav", f"{tmp_path}/a.txt", 1.25),
        Utterance("/z/c.wav#t=1.5,4.000001", "", 2.5, text="Ü\u2028", speaker="ann"),
        Utterance("/z/c.wav#t=4", text="TWO"),
    ]
    write_manifest(tmp_path / "m.jsonl", rows)
    first, second, third = map(json.loads, (tmp_path / "m.jsonl").read_text().split("\n")[:3])
    assert first == {"audio_filepath": "a.wav", "duration": 1.25, "text": "ONE"}
    assert second["duration"] == 2.500001
    assert third == {"audio_filepath": "/z/c.wav", "offset": 4, "text": "TWO"}
    found, faults = read_manifest(tmp_path / "m.jsonl")
    assert not faults
    assert [each.audio_path for each in found] == [each.audio_path for each in rows]
    assert [each.read_text() for each in found] == [each.read_text() for each in rows]
    assert found[1].speaker == "ann"


def test_csv_cannot_hold_text(tmp_path):
    with pytest.raises(InputError) as caught:
        write_manifest(tmp_path / "m.csv", [Utterance("a.wav", place="x.jsonl:3", text="A")])
    assert str(caught.value) == "x.jsonl:3: its transcript is no file, as CSV needs; name the output .jsonl"


def test_csv_holds_segments(tmp_path):
    write_manifest(tmp_path / "m.csv", [Utterance("/z/c.wav#t=1.5,4", "/z/c.txt", 2.5)])
    assert rows_of(tmp_path / "m.csv", (tmp_path / "m.csv").read_text()) == [
        ("/z/c.wav#t=1.5,4", "/z/c.txt", 2.5)
    ]


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_a_full_disk_keeps_the_manifest_that_is_there(tmp_path, disk_full_at, name):
    (tmp_path / name).write_text("before")
    rows = [Utterance(f"{number}.wav", f"{number}.txt", 1.0) for number in range(100)]
    if name == "m.jsonl":
        rows = [replace(row, transcript_path="", text="A") for row in rows]
    with disk_full_at(500), pytest.raises(InputError, match="cannot write: File too large"):
        write_manifest(tmp_path / name, rows)
    assert (tmp_path / name).read_text() == "before"
