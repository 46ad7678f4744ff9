"""Language model files: what is read from them, and what is said of wrong ones."""

import base64
import sys
import zlib

import pytest

from deepspeech.beam_search.config import DecoderConfig
from deepspeech.beam_search.language_model import LN10, LanguageModel, vocabulary
from deepspeech.errors import InputError
from deepspeech.inference.factory import make_decoder
from deepspeech.labels import Labels
from tests.conftest import run_script

kenlm = pytest.importorskip("kenlm")  # no wheels for every version of Python

LABELS = Labels(["_", "A", "B", " "])
ARPA = """\\data\\
ngram 1=6
ngram 2=5

\\1-grams:
-2.0\t<unk>
-99\t<s>\t-0.3
-0.9\t</s>
-0.5\tA\t-0.2
-0.8\tAB\t-0.1
-1.1\tBBA\t-0.4

\\2-grams:
-0.2\t<s> AB
-0.6\tAB A
-0.3\tA </s>
-0.9\tA A
-0.4\tBBA AB

\\end\\
"""
# The same model, as KenLM's `build_binary trie` writes it
TRIE = zlib.decompress(
    base64.b85decode(
        "c-qU&O)OBz$yLZGDJihh*U!#KO-"
        "##7%}LQq&d=3P&QD2INXswEO)OC;OD!tS%+FIW<zhg9274f}pAks>2Lg}?BUFY7Odhajf{KAK8&r-"
        "J$pjdCL%+MzUj;RWf;z>$mTjdB><wN1m$*dDe;#|wcKrJ+FRq;LA8U&rWFu)k0CE6~bM{Qn{<CM!>_bQ&J2Y$NOe8)"
        "7P~K-"
        "BLcI@2{az+0KP@e7Kgc{522{YxfE^ec8~+Y8Hhw%EsBu2fqMFNR&U|4+R$)_`mu<)3<mAX;Q*6iJ$l&P2V51LY0RT}"
        "VQpE"
    )
)


def write(folder, content, name="lm.arpa"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    "content", [ARPA, "\n" + ARPA.replace("\n", "\r\n"), TRIE], ids=["arpa", "crlf", "binary"]
)
def test_words_and_scores_of_both_kinds_of_file(tmp_path, content):
    path = write(tmp_path, content)
    assert sorted(vocabulary(path)) == ["A", "AB", "BBA"]
    model, oracle = LanguageModel(path, LABELS), kenlm.Model(write(tmp_path, ARPA, "oracle"))
    for sentence in ("", "A", "AB A", "BBA AB AB", "B A"):
        state, total = model.start(), 0.0
        for word in sentence.split():
            state, score = model.score(state, model.ids.get(word, model.unknown))
            total += score
        assert total + model.finish(state) == pytest.approx(oracle.score(sentence) * LN10, abs=1e-4)


def test_loading_is_silent_and_unspellable_words_are_told(tmp_path, capfd):
    path = write(tmp_path, ARPA.replace("BBA", "BÄH"))
    assert list(LanguageModel(path, LABELS).spellings) == ["A", "AB"]
    out, err = capfd.readouterr()
    assert out == ""
    assert err == f"{path}: 1 of 3 words cannot be spelled with the labels: 'BÄH'\n"


def test_spellings_are_normalised_like_transcripts(tmp_path):
    labels = Labels(["_", "Ä", "B", " "])
    model = LanguageModel(write(tmp_path, ARPA.replace("BBA", "BA\u0308")), labels)
    assert model.spellings["BA\u0308"] == [2, 1]
    assert model.ids["BÄ"] == model.ids["BA\u0308"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a language model"),
        (b"RIFF....WAVEfmt ", "not a language model"),
        (bytes(range(256)) * 9, "not a language model"),
        (ARPA.split("\\1-grams")[0], "not a language model"),
        (ARPA[: ARPA.index("AB A")], "damaged language model: End of file"),
        (ARPA.replace("ngram 2=5", "ngram 2=9"), "damaged language model"),
        (TRIE[:200], "not a language model"),
        (TRIE[:60] + b"?" * 50 + TRIE[110:], "damaged language model"),
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
    assert message.startswith(f"--lm-path {path}: ")
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


def test_a_missing_engine_names_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flashlight.lib.text", None)
    for config in (
        DecoderConfig(decoder="beam"),
        DecoderConfig(decoder="beam", lm_path=write(tmp_path, ARPA)),
    ):
        with pytest.raises(InputError, match="missing; pip install flashlight-text"):
            make_decoder(config, LABELS)


@pytest.mark.slow
def test_script_tells_of_a_wrong_model_in_one_line(tmp_path, model, own_corpus):
    from deepspeech.checkpoint.format import save_checkpoint

    save_checkpoint(tmp_path / "model.pth", model)
    flags = ["--model-path", tmp_path / "model.pth", "--test-manifest", own_corpus.val, "--decoder", "beam"]
    result = run_script("test.py", *flags, "--lm-path", write(tmp_path, ARPA.lower()))
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "0 of 3 words can be spelled, 3 in upper case" in result.stderr
    result = run_script("test.py", *flags, "--beam-width", "0")
    assert result.returncode == 2
    assert result.stderr == "test.py: error: --beam-width 0: must be positive\n"
