"""Corpora: every row checked, faults reported together, little memory."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from deepspeech.data.corpus import Corpus, load_corpus, weighted
from deepspeech.data.manifest import Utterance, read_manifest, read_transcript
from deepspeech.data.shards import write_shards
from deepspeech.errors import InputError
from deepspeech.labels import Labels
from tests.conftest import write_rows

LABELS = Labels.load(Path(__file__).parents[2] / "labels.json")
TEXT = "THE SHIP AND THE HOUSE WHICH THE GENTLEMAN REMEMBERED"
ROWS = 20_000


def test_a_corpus_has_durations_and_targets(corpus, labels):
    loaded = load_corpus(corpus.train, labels)
    assert len(loaded) == 12
    for utterance, target in zip(loaded, loaded.targets, strict=True):
        samples, rate = soundfile.read(utterance.audio_path)
        assert utterance.duration == len(samples) / rate
        assert labels.decode(target) == read_transcript(utterance.transcript_path)
    assert loaded.durations.tolist() == [utterance.duration for utterance in loaded]


def test_durations_of_the_manifest_are_trusted(own_corpus, labels):
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


def test_a_manifest_without_a_good_row_is_refused(own_corpus, labels):
    write_rows(own_corpus.train, [("gone.wav", "train_0.txt")])
    with pytest.raises(InputError, match="no utterance that can be used"):
        load_corpus(own_corpus.train, labels, skip_faulty=True)


def test_unknown_characters_can_be_dropped(own_corpus, labels):
    (own_corpus.folder / "train_0.txt").write_text("ONE-2 TWO!", encoding="utf-8")
    loaded = load_corpus(own_corpus.train, labels, unknown="drop")
    assert labels.decode(loaded.targets[0]) == "ONE TWO"


def test_empty_transcripts_are_an_error_unless_allowed(own_corpus, labels):
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


def test_a_corpus_is_a_sequence_of_its_utterances():
    rows = [Utterance(f"é{index}.wav", f"{index}.txt", index + 0.25, f"m.csv:{index}") for index in range(5)]
    assert list(Corpus(rows, [])) == rows
    assert Corpus(rows, [])[-2] == rows[-2]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """Very many rows of one file."""
    folder = tmp_path_factory.mktemp("big")
    soundfile.write(folder / "a.flac", np.zeros(1600), 16000)
    (folder / "a.txt").write_text(TEXT)
    (folder / "m.csv").write_text("".join(f"a.flac,a.txt,{1 + index % 7}\n" for index in range(ROWS)))
    return folder / "m.csv"


def test_many_rows_take_bytes_but_no_python_objects(manifest):
    gc.collect()
    before = len(gc.get_objects())
    corpus = load_corpus(manifest, LABELS)
    gc.collect()
    assert len(gc.get_objects()) - before < 500
    columns = (corpus.audio_paths, corpus.transcript_paths, corpus.places)
    arrays = [each for column in columns for each in (column.rows.values, column.rows.ends)]
    arrays += [corpus.targets.values, corpus.targets.ends, corpus.durations]
    paths = len(str(manifest)) * 3 + 20
    assert sum(each.nbytes for each in arrays) < ROWS * (paths + len(TEXT) + 5 * 8 + 10)
    assert corpus.targets.values.dtype == np.uint8
    assert corpus[ROWS - 1].place == f"{manifest}:{ROWS}"
    assert corpus.durations[:8].tolist() == [1, 2, 3, 4, 5, 6, 7, 1]
    assert LABELS.decode(corpus.targets[ROWS // 2]) == TEXT


def test_alphabets_too_large_for_a_byte(manifest):
    labels = Labels(["_", *map(chr, range(0x4E00, 0x4E00 + 300)), *sorted(set(TEXT))])
    corpus = load_corpus(manifest, labels)
    assert corpus.targets.values.dtype == np.uint16
    assert labels.decode(corpus.targets[-1]) == TEXT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.csv", ("a.csv", 1)),
        ("a.csv:3", ("a.csv", 3)),
        ("s-{00..09}.tar:0.5", ("s-{00..09}.tar", 0.5)),
        ("C:\\data\\a.csv", ("C:\\data\\a.csv", 1)),
        ("5", ("5", 1)),
    ],
)
def test_a_weight_follows_a_manifest_after_a_colon(text, expected):
    assert weighted(text) == expected


def test_a_file_whose_name_ends_like_a_weight_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a:3").touch()
    assert weighted("a:3") == ("a:3", 1)


@pytest.mark.parametrize("number", ["0", "-1", "nan", "inf", "1e9"])
def test_a_weight_must_be_positive(number):
    with pytest.raises(InputError, match=f"a.csv:{number}: a weight must be positive and at most 1000"):
        weighted(f"a.csv:{number}")


def test_manifests_are_mixed_also_with_shards(own_corpus, labels, tmp_path, capsys):
    write_shards(read_manifest(own_corpus.val)[0], str(tmp_path / "%d.tar"))
    both = load_corpus([f"{own_corpus.train}:2.5", f"{tmp_path}/0.tar"], labels)
    parts = load_corpus(own_corpus.train, labels), load_corpus(own_corpus.val, labels)
    assert both.parts == [(4, 2.5), (2, 1.0)]
    assert len(both) == 6
    for index, (part, row) in enumerate([(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]):
        assert np.array_equal(both.targets[index], parts[part].targets[row])
        assert np.array_equal(both.load_audio(index, 16000), parts[part].load_audio(row, 16000))
    assert f"{own_corpus.train}: 2.5 x 4 utterances in an epoch" in capsys.readouterr().err
    assert load_corpus([str(own_corpus.train)], labels).parts == ()


def test_faults_of_a_mixture_name_their_manifest(own_corpus, labels):
    write_rows(own_corpus.val, [("gone.wav", "train_0.txt")])
    with pytest.raises(InputError, match=r"val\.csv:1: .*gone\.wav: no such audio file"):
        load_corpus([f"{own_corpus.train}:2", f"{own_corpus.val}:0.5"], labels)


def test_letter_case_is_hinted_at(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    (tmp_path / "m.jsonl").write_text('{"audio_filepath": "a.wav", "text": "ONE"}')
    for characters, case in (("_ eno", "lower"), ("_ xyz", None)):
        with pytest.raises(InputError) as caught:
            load_corpus(tmp_path / "m.jsonl", Labels(list(characters)))
        hint = "; the labels have its lower-case form: deepspeech manifest convert --case lower" * bool(case)
        assert str(caught.value).endswith(f"--unknown-characters drop{hint}")
