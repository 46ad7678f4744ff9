"""deepspeech manifest convert: between CSV, JSON lines and Kaldi folders, as a user runs it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from deepspeech.commands.manifest import main
from deepspeech.corpora.kaldi import read_kaldi
from deepspeech.data.corpus import load_corpus
from deepspeech.data.manifest import read_manifest
from deepspeech.errors import InputError

RATE = 8000


def utterances_of(path):
    found, faults = read_kaldi(path) if path.is_dir() else read_manifest(path)
    assert not faults
    return found


def contents(path):
    """What conversion must keep."""
    return sorted(
        (each.audio_path, each.duration, each.read_text(), each.speaker) for each in utterances_of(path)
    )


@pytest.fixture
def nemo(tmp_path):
    """A manifest of NeMo: segments of two recordings, and a whole file."""
    random = np.random.default_rng(0)
    for name, seconds in (("mon/call one.wav", 5), ("tue/call one.wav", 4), ("short.flac", 1)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, random.normal(0, 0.1, seconds * RATE), RATE)
    keys = ("audio_filepath", "offset", "duration", "text", "speaker")
    rows = [
        ("mon/call one.wav", 0.5, 1.25, "ONE", "ann"),
        ("mon/call one.wav", 2, 3, "TWO ONE", "bob"),
        ("tue/call one.wav", 0.5, 1.25, "FOUR", "ann"),
        ("short.flac", None, 1, "THREE", "ann"),
    ]
    path = tmp_path / "nemo.json"
    path.write_text("".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows))
    return path


def test_json_lines_become_a_kaldi_folder_and_come_back(tmp_path, nemo):
    main(["convert", str(nemo), str(tmp_path / "kaldi")])
    files = {file.name: file.read_text().splitlines() for file in (tmp_path / "kaldi").iterdir()}
    assert files["wav.scp"] == [
        f"call-one {tmp_path}/mon/call one.wav",
        f"call-one-2 {tmp_path}/tue/call one.wav",
        f"short {tmp_path}/short.flac",
    ]
    assert files["text"] == [
        "ann-call-one-0000050-0000175 ONE",
        "ann-call-one-2-0000050-0000175 FOUR",
        "ann-short-0000000-0000100 THREE",
        "bob-call-one-0000200-0000500 TWO ONE",
    ]
    assert files["segments"][0] == "ann-call-one-0000050-0000175 call-one 0.500000 1.750000"
    assert files["utt2spk"][3] == "bob-call-one-0000200-0000500 bob"
    assert files["utt2dur"][2] == "ann-short-0000000-0000100 1.000000"
    for rows in files.values():
        assert rows == sorted(rows, key=str.encode)
    main(["convert", str(tmp_path / "kaldi"), str(tmp_path / "back.jsonl")])
    whole = str(tmp_path / "short.flac")
    expected = [(path.replace(whole, f"{whole}#t=0,1"), *rest) for path, *rest in contents(nemo)]
    assert contents(tmp_path / "back.jsonl") == sorted(map(tuple, expected))


def test_whole_files_need_no_segments(tmp_path, corpus):
    main(["convert", str(corpus.train), str(tmp_path / "kaldi")])
    assert not (tmp_path / "kaldi" / "segments").exists()
    main(["convert", str(tmp_path / "kaldi"), str(tmp_path / "back.jsonl")])
    ours = {each.audio_path: each.read_text() for each in utterances_of(corpus.train)}
    assert {each.audio_path: each.read_text() for each in utterances_of(tmp_path / "back.jsonl")} == ours


def test_csv_has_its_transcripts_in_files(tmp_path, nemo, labels):
    main(["convert", str(nemo), str(tmp_path / "out.csv"), "--case", "lower"])
    rows = utterances_of(tmp_path / "out.csv")
    assert [each.read_text() for each in rows] == ["one", "two one", "four", "three"]
    assert rows[1].transcript_path == str(tmp_path / "out_txt" / "00000002.txt")
    main(["convert", str(tmp_path / "out.csv"), str(tmp_path / "again.csv"), "--case", "upper"])
    ours, back = load_corpus(nemo, labels), load_corpus(tmp_path / "again.csv", labels)
    for index in range(4):
        assert back[index].audio_path == ours[index].audio_path
        assert np.array_equal(back.targets[index], ours.targets[index])
        assert np.array_equal(back.load_audio(index, 16000), ours.load_audio(index, 16000))
    assert np.array_equal(back.durations, ours.durations)


def test_csv_keeps_its_own_transcripts(tmp_path, corpus):
    main(["convert", str(corpus.train), str(tmp_path / "copy.csv")])
    assert not (tmp_path / "copy_txt").exists()
    assert [each.transcript_path for each in utterances_of(tmp_path / "copy.csv")] == [
        each.transcript_path for each in utterances_of(corpus.train)
    ]


def test_a_mozilla_manifest(tmp_path, corpus):
    (tmp_path / "m.csv").write_text(
        f"wav_filename,wav_filesize,transcript\n{corpus.folder}/train_0.wav,1,one\n"
    )
    main(["convert", str(tmp_path / "m.csv"), str(tmp_path / "m.jsonl"), "--case", "upper"])
    assert contents(tmp_path / "m.jsonl") == [(f"{corpus.folder}/train_0.wav", None, "ONE", "")]


KALDI = {
    "wav.scp": "r1 /a/r1.flac\nr2 flac -c -d -s /a/r 2.flac |\nr3 /usr/bin/flac -cds '/a/r 3.flac' |\n",
    "text": "u1 ONE\u00a0TWO\nu2\nu3  THREE \n",
    "segments": "u1 r1 0.5 2\nu2 r1 2 -1\nu3 r3 0 1.25\n",
}


def kaldi(folder, **changes):
    folder.mkdir()
    for name, content in (KALDI | {name.replace("_", "."): text for name, text in changes.items()}).items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def test_a_folder_as_recipes_write_it(tmp_path):
    folder = kaldi(tmp_path / "k", utt2dur="u1 1.5\n")
    found = utterances_of(folder)
    assert [(each.audio_path, each.text, each.duration) for each in found] == [
        ("/a/r1.flac#t=0.5,2", "ONE\u00a0TWO", 1.5),
        ("/a/r1.flac#t=2", "", None),
        ("/a/r 3.flac#t=0,1.25", "THREE", 1.25),
    ]
    assert found[2].place == f"{folder}/segments:3"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("segments", "u1 r1 0.5\n", "segments:1: expected recording, start and end in seconds, got 'r1 0.5'"),
        ("segments", "u1 r1 2 1\n", "segments:1: expected recording, start and end"),
        ("segments", "u1 r1 nan 1\n", "segments:1: expected recording, start and end"),
        ("segments", "u1 r9 0 1\n", "segments:1: r9 has no line in wav.scp; add one or remove it"),
        (
            "segments",
            "u1 r2 0 1\n",
            "wav.scp:2: 'flac -c -d -s /a/r 2.flac |' is a command; write its output",
        ),
        ("segments", "u9 r1 0 1\n", "segments:1: u9 has no line in @/text; add one or remove it"),
        ("text", "u1 A\nu2\nu3\nu7 B\n", "text:4: u7 is no utterance of @; remove the line"),
        ("utt2dur", "u1 0\n", "utt2dur:1: '0' is not a duration in seconds"),
        ("wav.scp", "r1 x.ark:17\nr3 a.wav\n", "wav.scp:1: 'x.ark:17' is not an audio file; give one"),
        ("wav.scp", "r1\nr3 a.wav\n", "wav.scp:1: '' is not an audio file; give one"),
    ],
)
def test_a_faulty_line_is_named_and_can_be_skipped(tmp_path, file, content, message):
    folder = kaldi(tmp_path / "k", **{file: content})
    _, faults = read_kaldi(folder)
    place = f"{folder}/{message}".replace("@", str(folder))
    assert [fault for fault in faults if fault.startswith(place)]
    with pytest.raises(InputError):
        main(["convert", str(folder), str(tmp_path / "out.jsonl")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("convert gone.csv out.jsonl", "gone.csv: cannot read the manifest: No such file"),
        ("convert . out.jsonl", "wav.scp: cannot read the manifest: No such file"),
        ("convert m.csv m.csv", "m.csv: would overwrite the source; choose another name"),
        ("convert m.csv shards.tar", "shards are not converted"),
        ("convert empty.csv out.jsonl", "empty.csv: no utterances"),
        ("convert broken.jsonl out.jsonl", "broken.jsonl:1: expected a JSON object"),
        ("convert silent.jsonl out.jsonl", "silent.jsonl:1: no transcript; add a text to the row"),
        ("convert silent.jsonl out.csv", "silent.jsonl:1: no transcript; add a text to the row"),
        ("convert m.csv m.csv/out.jsonl", "m.csv/out.jsonl: cannot write: "),
        ("convert m.csv kaldi", "kaldi: is a Kaldi folder already; choose another or remove it"),
        ("convert m.jsonl blocked.csv", "blocked_txt/00000001.txt: cannot write: "),
        ("convert twice twice.jsonl", "text:2: u1 stands in twice/text:1 already; remove one line"),
        ("copy m.csv out.jsonl", "copy: must be one of convert"),
        ("convert m.csv", "the following arguments are required: DST"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, own_corpus, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.csv").write_text("corpus/train_0.wav,corpus/train_0.txt\n")
    (tmp_path / "m.jsonl").write_text('{"audio_filepath": "corpus/train_0.wav", "text": "ONE"}\n')
    (tmp_path / "empty.csv").touch()
    (tmp_path / "broken.jsonl").write_text('{"text": "A"}\n')
    (tmp_path / "silent.jsonl").write_text('{"audio_filepath": "a.wav"}\n')
    (tmp_path / "blocked_txt").touch()
    kaldi(tmp_path / "kaldi")
    kaldi(tmp_path / "twice", text="u1 A\nu1 B\n")
    with pytest.raises(InputError) as caught:
        main(arguments.split())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
