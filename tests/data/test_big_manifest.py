"""Corpora of many utterances take little memory, and none of it as objects that workers would copy."""

import gc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.data.corpus import Corpus, load_corpus
from deepspeech.data.manifest import Utterance
from deepspeech.data.ragged import RaggedArray, Strings
from deepspeech.labels import Labels

LABELS = Labels.load(Path(__file__).parents[2] / "labels.json")
TEXT = "THE SHIP AND THE HOUSE WHICH THE GENTLEMAN REMEMBERED"
ROWS = 20_000


@given(st.lists(st.text()))
def test_strings_are_the_list_they_were_made_of(texts):
    strings = Strings(texts)
    assert list(strings) == texts
    assert [strings[-1 - index] for index in range(len(texts))] == texts[::-1]
    with pytest.raises(IndexError):
        strings[len(texts)]


@given(st.lists(st.lists(st.integers(0, 65535))), st.sampled_from([np.uint16, np.uint32]))
def test_ragged_arrays_are_the_rows_they_were_made_of(rows, kind):
    ragged = RaggedArray((np.array(row, kind) for row in rows), kind)
    assert [row.tolist() for row in ragged] == rows
    assert all(row.dtype == kind for row in ragged)


def test_utterances_are_those_they_were_made_of():
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


def test_many_rows_take_bytes_but_no_objects(manifest):
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


def test_alphabets_of_more_than_a_byte_fit(manifest):
    labels = Labels(["_", *map(chr, range(0x4E00, 0x4E00 + 300)), *sorted(set(TEXT))])
    corpus = load_corpus(manifest, labels)
    assert corpus.targets.values.dtype == np.uint16
    assert labels.decode(corpus.targets[-1]) == TEXT
