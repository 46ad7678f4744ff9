"""data/build_lm.py: language models from text and transcripts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepspeech.beam_search.kenlm_format import STATE, initial_state, score
from deepspeech.beam_search.language_model import LanguageModel
from deepspeech.beam_search.ngram import NGramModel
from deepspeech.commands import build_lm
from deepspeech.errors import InputError
from deepspeech.labels import Labels
from tests.beam_search.test_ngram import score_sentence


def build(folder, text, *flags):
    source, out = folder / "text.txt", folder / "lm.arpa"
    source.write_text(text, encoding="utf-8")
    build_lm.main([*flags, str(source), str(out)])
    return str(out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lm")


@given(st.integers(0, 2**32 - 1), st.integers(2, 3))
@settings(max_examples=8)
def test_probabilities_after_any_words_sum_to_one(folder, seed, order):
    random = np.random.default_rng(seed)
    names = np.array(list("ABCDEFGHIJKLMNOP"))
    sentences = [names[(random.zipf(1.5, 1 + index % 6) - 1) % len(names)] for index in range(30)]
    model = NGramModel.open(build(folder, "\n".join(map(" ".join, sentences)), "--order", str(order)))
    words = np.array([model.index(word) for word in [*model.words(), "</s>"]], np.uint32)
    assert set(model.words()) == {*np.concatenate(sentences).tolist()}
    for history in ["", "A", "B A", *map(" ".join, sentences[:10])]:
        state, after = np.zeros((2, STATE), np.uint32)
        initial_state(model.tables, state)
        for word in history.split():
            score(model.tables, state, np.uint32(model.index(word)), after)
            state, after = after, state
        total = sum(10 ** score(model.tables, state, word, after) for word in words)
        assert total == pytest.approx(1, abs=1e-3)


def test_likely_sentences_score_higher(folder, capsys):
    model = NGramModel.open(build(folder, "ONE TWO THREE\n" * 3 + "TWO ONE\nTHREE TWO ONE\n"))
    assert score_sentence(model, ["ONE", "TWO", "THREE"]) > score_sentence(model, ["ONE", "THREE", "TWO"])
    assert "3-grams of 3 words from 5 sentences" in capsys.readouterr().out


def test_words_that_cannot_be_written_break_the_sentence(folder):
    labels = Labels.load("labels.json")
    sentences = ["A B 7 C", "9", "IT'S  FINE", "lower CASE"]
    assert list(filter(None, build_lm.normalised(sentences, labels, upper=False))) == [
        "A B",
        "C",
        "IT'S FINE",
        "CASE",
    ]
    assert "LOWER" in build_lm.normalised(["lower é"], labels, upper=True)


def test_character_models_fit_beam_search(folder):
    path = build(folder, "ONE TWO\nTWO ONE ONE\n", "--unit", "character", "--order", "2")
    model = LanguageModel(path, Labels(["_", *"ONETW"[:3], "T", "W", " "]), "character")
    assert model.tokens[-1] == "|"


@pytest.mark.parametrize("unit", ["word", "character"])
def test_binary_models_are_the_same_models(folder, unit):
    text, flags = "ONE TWO\nTWO ONE ONE\nTHREE\n", ["--unit", unit]
    arpa = NGramModel.open(build(folder, text, *flags))
    out = build(folder, text, *flags, "--binary")
    binary = NGramModel.open(out)
    assert binary.words() == arpa.words()
    for sentence in (["ONE", "ONE"], ["TWO", "ONE"], ["T", "W", "|", "E"], []):
        assert score_sentence(binary, sentence) == score_sentence(arpa, sentence)
    kenlm = pytest.importorskip("kenlm")
    assert kenlm.Model(out).score("ONE TWO") == pytest.approx(score_sentence(arpa, ["ONE", "TWO"]), abs=1e-5)


def test_other_scripts_than_latin(folder):
    (folder / "labels.json").write_text('["_", "д", "а", " "]', encoding="utf-8")
    path = build(folder, "да да\nда\n", "--labels-path", str(folder / "labels.json"))
    assert LanguageModel(path, Labels(["_", "д", "а", " "])).spellings == {"да": [1, 2]}


def test_transcripts_of_a_manifest(folder, corpus):
    out = folder / "manifest.arpa"
    build_lm.main([str(corpus.train), str(out)])
    model = LanguageModel(str(out), Labels.load("labels.json"))
    assert set(model.spellings) <= {"ONE", "TWO", "THREE", "FOUR"}


def test_wrong_texts(folder):
    with pytest.raises(InputError, match="no sentence that can be written"):
        build(folder, "only lower case\n")
    with pytest.raises(InputError, match="cannot read the transcript: No such file"):
        build_lm.main([str(folder / "none.txt"), str(folder / "x.arpa")])
    (folder / "latin").write_bytes("É\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        build_lm.main([str(folder / "latin"), str(folder / "x.arpa")])
    (folder / "text.txt").write_text("A\n")
    with pytest.raises(InputError, match="cannot write"):
        build_lm.main([str(folder / "text.txt"), "/proc/none/x.arpa"])
