"""Language models: how their tokens are spelled, and the messages for wrong files."""

import pytest

from deepspeech.beam_search.language_model import LanguageModel
from deepspeech.errors import InputError
from deepspeech.labels import Labels
from tests.beam_search.models import WORDS_ARPA as ARPA
from tests.conftest import run_script

LABELS = Labels(["_", "A", "B", " "])


def write(folder, content, name="lm.arpa"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_loading_is_silent_and_unspellable_words_are_told(tmp_path, capfd):
    path = write(tmp_path, ARPA.replace("BBA", "BÄH"))
    assert list(LanguageModel(path, LABELS).spellings) == ["A", "AB"]
    out, err = capfd.readouterr()
    assert out == ""
    assert err == f"{path}: 1 of 3 words cannot be spelled with the labels: 'BÄH'\n"


def test_spellings_are_normalised_like_transcripts(tmp_path):
    labels = Labels(["_", "Ä", "B", " "])
    path = write(tmp_path, ARPA.replace("BBA", "BA\u0308"))
    assert LanguageModel(path, labels).spellings["BA\u0308"] == [2, 1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a language model"),
        (b"RIFF....WAVEfmt ", "not a language model"),
        (bytes(range(256)) * 9, "not a language model"),
        (ARPA.split("\\1-grams")[0], "truncated or damaged"),
        (ARPA[: ARPA.index("AB A")], "truncated or damaged"),
        (ARPA.replace("ngram 2=5", "ngram 2=9"), "truncated or damaged"),
        (b"mmap lm http://kheafield.com/code format version 4\n", "a KenLM binary of 'format version 4'"),
        (ARPA.replace("BBA", "BBÄ").encode("latin-1"), "not UTF-8"),
        (ARPA.lower(), "another letter case than the labels: 0 of 3 words can be spelled, 3 in upper case"),
        (ARPA.replace("A", "X").replace("B", "Y"), "none of its 3 words can be spelled"),
    ],
)
def test_wrong_files_are_one_line(tmp_path, content, words):
    path = write(tmp_path, content)
    with pytest.raises(InputError) as caught:
        LanguageModel(path, LABELS)
    message = str(caught.value)
    assert message.startswith(f"--lm-path {path}:")
    assert words in message
    assert "\n" not in message


def test_missing_file_and_folder(tmp_path):
    for path, words in ((tmp_path / "no.arpa", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=words):
            LanguageModel(path, LABELS)


def test_some_words_in_the_other_case_are_counted(tmp_path):
    lower = ARPA.replace("AB", "ab").replace("BBA", "bba")
    with pytest.raises(InputError, match=r"1 of 3 words can be spelled, 3 in upper case"):
        LanguageModel(write(tmp_path, lower), LABELS)


def test_character_models(tmp_path):
    characters = ARPA.replace("BBA", "|").replace("AB", "B")
    model = LanguageModel(write(tmp_path, characters), LABELS, "character")
    assert model.tokens == ["_", "A", "B", "|"]
    with pytest.raises(InputError, match="letter case than the labels: it knows 1 of 3 labels"):
        LanguageModel(write(tmp_path, characters.lower()), LABELS, "character")
    with pytest.raises(InputError, match="not of characters: it knows 0 of 3 labels"):
        LanguageModel(write(tmp_path, ARPA.replace("A", "XY")), LABELS, "character")


def test_a_word_model_needs_a_space(tmp_path):
    with pytest.raises(InputError, match="needs a space in the labels"):
        LanguageModel(write(tmp_path, ARPA), Labels(["_", "A", "B"]))


@pytest.mark.slow
def test_script_tells_of_a_wrong_model_in_one_line(tmp_path, model, own_corpus):
    from deepspeech.checkpoint.format import save_checkpoint

    save_checkpoint(tmp_path / "model.pth", model)
    flags = ["--model-path", tmp_path / "model.pth", "--test-manifest", own_corpus.val, "--decoder", "beam"]
    result = run_script("test.py", *flags, "--lm-path", write(tmp_path, ARPA.lower()))
    assert result.returncode == 2
    assert result.stdout == ""
    *others, message = result.stderr.splitlines()
    assert "0 of 3 words can be spelled, 3 in upper case" in message
    assert all(line.startswith("compiling beam search") for line in others)
    result = run_script("test.py", *flags, "--beam-width", "0")
    assert result.returncode == 2
    assert result.stderr == "test.py: error: --beam-width 0: must be positive, at most 100000\n"
