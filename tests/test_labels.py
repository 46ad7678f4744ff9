"""The alphabet: what it accepts, text to indices and back."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.errors import InputError
from deepspeech.labels import Labels, UnknownCharacters


def test_default_alphabet(labels):
    assert list(labels) == ["_", "'", *map(chr, range(ord("A"), ord("Z") + 1)), " "]
    assert labels.blank == 0


@given(st.lists(st.text("ABCXYZ'", min_size=1), max_size=5).map(" ".join))
def test_decoding_inverts_encoding(text):
    labels = Labels(["_", "'", *"ABCXYZ", " "])
    assert labels.decode(labels.encode(text)) == text


@pytest.mark.parametrize("text", [" A  B\n", "A\nB", "A\tB\r\n", "A\u00a0B", "\u2003A B"])
def test_a_run_of_white_space_is_one_space(labels, text):
    assert labels.decode(labels.encode(text)) == "A B"


def test_blank_may_stand_anywhere():
    labels = Labels(["A", " ", "_", "B"])
    assert labels.blank == 2
    assert labels.encode("B A") == [3, 1, 0]


def test_index_0_is_a_character_like_any_other():
    assert Labels(["A", "_"]).encode("AA") == [0, 0]


def test_unknown_characters_are_all_named(labels):
    with pytest.raises(UnknownCharacters, match=r"'CAFÉ 7' has .* not in the labels: '7', 'É'"):
        labels.encode("CAFÉ 7")


def test_unknown_characters_can_be_dropped_and_words_stay_apart(labels):
    assert labels.decode(labels.encode("A 7 B-C", "drop")) == "A BC"


def test_the_blank_is_not_a_character_of_text(labels):
    with pytest.raises(UnknownCharacters):
        labels.encode("A_B")


def test_text_and_labels_are_compared_in_nfc():
    labels = Labels(["_", unicodedata.normalize("NFD", "É")])
    assert labels.encode(unicodedata.normalize("NFD", "É")) == labels.encode("É") == [1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps(["A", "B"]), "no blank; add '_' as the first entry"),
        (json.dumps(["_", "A", "B", "A"]), "hold 'A' more than once; keep one"),
        (json.dumps(["_", "A", "_"]), "hold '_' more than once"),
        (json.dumps(["_", "AB"]), "must be single characters, found 'AB'"),
        (json.dumps(["_", ""]), "must be single characters, found ''"),
        (json.dumps(["_", 1]), "must be a list of single characters"),
        (json.dumps({"_": 0}), "must be a JSON list of characters"),
        (json.dumps("_AB"), "must be a JSON list of characters"),
        ("[]", "no blank"),
        ("[", "cannot read labels"),
        ("", "cannot read labels"),
        (b"\xff\xfe", "cannot read labels"),
    ],
)
def test_an_invalid_alphabet_is_refused(tmp_path, content, words):
    path = tmp_path / "labels.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        Labels.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="cannot read labels"):
        Labels.load(tmp_path / name)


def test_a_byte_order_mark_is_not_a_character(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text('["_", "A"]', encoding="utf-8-sig")
    assert Labels.load(path) == Labels(["_", "A"])


def test_without_a_path_the_working_folder_comes_before_the_package(tmp_path, monkeypatch, labels):
    monkeypatch.chdir(tmp_path)
    assert Labels.load() == labels
    (tmp_path / "labels.json").write_text('["_", "A"]')
    assert Labels.load() == Labels(["_", "A"])


def test_a_named_file_that_is_missing_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"labels\.json: cannot read labels"):
        Labels.load("labels.json")
