"""Beam search against all paths of tiny cases, each summed up by hand."""

import itertools
import math
import pickle
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepspeech.beam_search.beam_decoder import BeamCTCDecoder
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.beam_search.language_model import HotWords, LanguageModel
from deepspeech.beam_search.search import keep_labels
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.errors import InputError
from deepspeech.inference.factory import make_decoder
from deepspeech.labels import Labels
from tests.beam_search.models import WORDS_ARPA

LABELS = Labels(["_", "A", "B", " "])
WIDE = DecoderConfig(decoder="beam", beam_width=2000, top_paths=2000)


CHARACTERS_ARPA = """\\data\\
ngram 1=6
ngram 2=5

\\1-grams:
-2.5\t<unk>
-99\t<s>\t-0.3
-0.9\t</s>
-0.4\tB\t-0.2
-1.3\tA\t-0.1
-0.7\t|\t-0.4

\\2-grams:
-0.3\t<s> B
-0.2\tB A
-0.6\tA |
-0.9\tB B
-0.4\t| B

\\end\\
"""


@pytest.fixture(scope="module")
def words_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "words.arpa"
    path.write_text(WORDS_ARPA)
    return str(path)


@pytest.fixture(scope="module")
def characters_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "characters.arpa"
    path.write_text(CHARACTERS_ARPA)
    return str(path)


class Oracle:
    """A 2-gram model as its file defines it: back-off weights times lower orders."""

    def __init__(self, arpa):
        self.entries = {}
        for line in arpa.splitlines():
            if re.match(r"-[0-9.]+\t", line):
                log10, words, *back_off = line.split("\t")
                self.entries[tuple(words.split())] = float(log10), float(back_off[0]) if back_off else 0.0

    def scores(self, sentence):
        """log p of every token and of the end, and whether the model knows it."""
        tokens = ["<s>", *sentence.split(), "</s>"]
        tokens = [token if (token,) in self.entries else "<unk>" for token in tokens]
        result = []
        for pair in itertools.pairwise(tokens):
            if pair in self.entries:
                log10 = self.entries[pair][0]
            else:
                log10 = self.entries[pair[:1]][1] + self.entries[pair[1:]][0]
            result.append((log10 * math.log(10), pair[1] != "<unk>"))
        return result

    def score(self, sentence, unknown=None):
        """log p of a sentence; `unknown` in place of the model's own for unknown words."""
        return sum(score if known or unknown is None else unknown for score, known in self.scores(sentence))


WORDS_ORACLE, CHARACTERS_ORACLE = Oracle(WORDS_ARPA), Oracle(CHARACTERS_ARPA)


@st.composite
def outputs(draw):
    """Log-probabilities (frames, labels) of up to six frames, flat or sharp."""
    frames = draw(st.integers(1, 6))
    seed, sharpness = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([0.3, 1.0, 4.0]))
    logits = torch.randn(frames, len(LABELS), generator=torch.Generator().manual_seed(seed)) * sharpness
    return logits.log_softmax(1)


def sums(log_probs, spaces_tidied=False):
    """log p of every text: the sum over all its paths."""
    totals = defaultdict(float)
    for path in itertools.product(range(len(LABELS)), repeat=len(log_probs)):
        text = LABELS.decode(label for label, _ in itertools.groupby(path) if label != LABELS.blank)
        probability = math.exp(sum(float(row[label]) for row, label in zip(log_probs, path, strict=True)))
        totals[" ".join(text.split()) if spaces_tidied else text] += probability
    return {text: math.log(total) for text, total in totals.items()}


def ranked(scores):
    return sorted(scores.items(), key=lambda item: -item[1])


def read(decoder, log_probs):
    return decoder.decode(log_probs[None], torch.tensor([len(log_probs)]))[0]


def assert_equal(hypotheses, scores):
    """The same texts with the same scores, best first."""
    assert {each.text for each in hypotheses} == set(scores)
    assert len(hypotheses) == len(scores)
    for hypothesis in hypotheses:
        assert hypothesis.score == pytest.approx(scores[hypothesis.text], abs=1e-3)
    values = [hypothesis.score for hypothesis in hypotheses]
    assert values == sorted(values, reverse=True)


@given(outputs())
@settings(deadline=None, max_examples=40)
def test_without_lm_every_text_has_the_sum_over_its_paths(log_probs):
    assert_equal(read(BeamCTCDecoder(LABELS, WIDE), log_probs), sums(log_probs))


@given(outputs(), st.floats(0, 2), st.floats(-2, 2))
@settings(deadline=None, max_examples=40)
def test_word_lm(words_path, log_probs, alpha, beta):
    config = replace(WIDE, lm_path=words_path, alpha=alpha, beta=beta)
    expected, parts = {}, {}
    for text, log_p in sums(log_probs, spaces_tidied=True).items():
        if all(word in ("A", "AB", "BBA") for word in text.split()):
            lm = WORDS_ORACLE.score(text)
            expected[text] = log_p + alpha * lm + beta * len(text.split())
            parts[text] = log_p, lm
    hypotheses = read(BeamCTCDecoder(LABELS, config), log_probs)
    assert_equal(hypotheses, expected)
    for hypothesis in hypotheses:
        found = hypothesis.acoustic_score, hypothesis.lm_score
        assert found == pytest.approx(parts[hypothesis.text], abs=1e-3)


@given(outputs(), st.floats(0, 2), st.floats(-2, 2), st.floats(-9, 0))
@settings(deadline=None, max_examples=30)
def test_open_vocabulary(words_path, log_probs, alpha, beta, unknown):
    expected = {}
    for text, log_p in sums(log_probs, spaces_tidied=True).items():
        lm = WORDS_ORACLE.score(text, unknown)
        expected[text] = log_p + alpha * lm + beta * len(text.split())
    config = replace(WIDE, lm_path=words_path, lm_open=True, lm_unknown=unknown, alpha=alpha, beta=beta)
    assert_equal(read(BeamCTCDecoder(LABELS, config), log_probs), expected)


@given(outputs(), st.floats(0, 2), st.floats(-2, 2))
@settings(deadline=None, max_examples=40)
def test_character_lm(characters_path, log_probs, alpha, beta):
    """Equal only if the engine gives every label to the model as the label it is."""
    expected = {}
    for text, log_p in sums(log_probs).items():
        lm = CHARACTERS_ORACLE.score(" ".join(text.replace(" ", "|")))
        expected[text] = log_p + alpha * lm + beta * len(text.split())
    config = replace(WIDE, lm_path=characters_path, lm_unit="character", alpha=alpha, beta=beta)
    assert_equal(read(BeamCTCDecoder(LABELS, config), log_probs), expected)


HOT = "B:1.5,BA:-0.5,A B:2.5"


def hot_score(text):
    words = "".join(f"<{word}>" for word in text.split())
    return sum(
        boost * words.count(phrase) for phrase, boost in (("<B>", 1.5), ("<BA>", -0.5), ("<A><B>", 2.5))
    )


@given(outputs())
@settings(deadline=None, max_examples=40)
def test_hot_words_without_lm(log_probs):
    expected = {text: p + hot_score(text) for text, p in sums(log_probs, spaces_tidied=True).items()}
    decoder = BeamCTCDecoder(LABELS, replace(WIDE, hot_words=HOT))
    assert_equal(read(decoder, log_probs), expected)


@given(outputs())
@settings(deadline=None, max_examples=30)
def test_hot_words_with_word_lm(words_path, log_probs):
    """Hot words may come although the model does not know them."""
    expected = {}
    for text, log_p in sums(log_probs, spaces_tidied=True).items():
        if all(word in ("A", "AB", "BBA", "B", "BA") for word in text.split()):
            lm = WORDS_ORACLE.score(text, -7)
            expected[text] = log_p + 0.8 * lm + len(text.split()) + hot_score(text)
    config = replace(WIDE, lm_path=words_path, hot_words=HOT, lm_unknown=-7)
    hypotheses = read(BeamCTCDecoder(LABELS, config), log_probs)
    complete = [each for each in hypotheses if each.text in expected]
    assert_equal(complete, expected)
    assert hypotheses[: len(complete)] == complete


@given(outputs())
@settings(deadline=None, max_examples=20)
def test_hot_words_with_character_lm(characters_path, log_probs):
    expected = {}
    for text, log_p in sums(log_probs, spaces_tidied=True).items():
        lm = CHARACTERS_ORACLE.score(" ".join(text.replace(" ", "|")))
        expected[text] = log_p + 0.8 * lm + len(text.split()) + hot_score(text)
    config = replace(WIDE, lm_path=characters_path, lm_unit="character", hot_words=HOT)
    assert_equal(read(BeamCTCDecoder(LABELS, config), log_probs), expected)


@given(outputs())
@settings(deadline=None, max_examples=40)
def test_greedy_is_the_best_path(log_probs):
    best, score = None, -math.inf
    for path in itertools.product(range(len(LABELS)), repeat=len(log_probs)):
        value = sum(float(row[label]) for row, label in zip(log_probs, path, strict=True))
        if value > score:
            best, score = path, value
    text = LABELS.decode(label for label, _ in itertools.groupby(best) if label != LABELS.blank)
    hypothesis = read(GreedyDecoder(LABELS), log_probs)[0]
    assert hypothesis.text == text
    assert hypothesis.score == pytest.approx(score, abs=1e-4)


def peaky(text_frames, labels=LABELS, sure=0.9):
    """One label a frame, each with probability `sure`."""
    other = (1 - sure) / (len(labels) - 1)
    rows = torch.full((len(text_frames), len(labels)), math.log(other))
    for row, character in zip(rows, text_frames, strict=True):
        row[labels.index(character)] = math.log(sure)
    return rows


@pytest.mark.parametrize(
    "more",
    [{}, {"lm": "words"}, {"lm": "words", "lm_open": True}, {"hot_words": "A:1"}, {"lm": "characters"}],
)
def test_offsets_are_the_frames_where_characters_begin(more, words_path, characters_path):
    paths = {"words": words_path, "characters": characters_path}
    more = dict(more)
    if kind := more.pop("lm", None):
        more |= {"lm_path": paths[kind], "lm_unit": kind[:-1]}
    config = DecoderConfig(decoder="beam", beam_width=50, alpha=0.1, **more)
    best = read(BeamCTCDecoder(LABELS, config), peaky("__AA_BB __A__"))[0]
    assert (best.text, best.offsets) == ("AB A", [2, 5, 7, 10])


def test_workers_give_the_same(words_path):
    log_probs = torch.randn(5, 40, len(LABELS), generator=torch.Generator().manual_seed(1)).log_softmax(2)
    lengths = torch.tensor([40, 7, 0, 21, 33])
    config = DecoderConfig(decoder="beam", lm_path=words_path, top_paths=3)
    one = BeamCTCDecoder(LABELS, config).decode(log_probs, lengths)
    two = BeamCTCDecoder(LABELS, replace(config, lm_workers=2)).decode(log_probs, lengths)
    assert one == two
    assert [hypothesis.text for hypothesis in one[2]] == [""]


@given(outputs(), st.sampled_from([0.5, 0.9, 0.99]), st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_cut_off_keeps_the_most_probable_labels(log_probs, probability, count):
    rows = log_probs.numpy()
    for row in rows.astype(np.float64):
        kept, order = row.copy(), np.zeros(len(row), np.int32)
        left = keep_labels(kept, LABELS.blank, count, probability, order)
        total, expected = 0.0, {LABELS.blank}
        for label in np.argsort(-row, kind="stable")[:count]:
            if total < probability:
                expected.add(int(label))
            total += math.exp(row[label])
        assert set(np.flatnonzero(np.isfinite(kept))) == expected
        assert order[:left].tolist() == sorted(expected - {LABELS.blank}, key=lambda label: -row[label])


@given(outputs(), st.sampled_from(["", "lm", "open"]))
@settings(deadline=None, max_examples=30)
def test_hard_cuts_leave_a_text(words_path, log_probs, kind):
    """Even where no label that is left continues a word."""
    more = {"": {}, "lm": {"lm_path": words_path}, "open": {"lm_path": words_path, "lm_open": True}}[kind]
    config = DecoderConfig(decoder="beam", beam_width=1, cutoff_top_n=1, cutoff_prob=0.1, **more)
    hypothesis = read(BeamCTCDecoder(LABELS, config), log_probs)[0]
    assert math.isfinite(hypothesis.score)
    assert hypothesis.score > -1000
    assert len(hypothesis.offsets) == len(hypothesis.text)


def test_a_hot_word_turns_the_result():
    log_probs = peaky("_A_A_", sure=0.6)
    assert read(BeamCTCDecoder(LABELS), log_probs)[0].text == "AA"
    decoder = BeamCTCDecoder(LABELS, DecoderConfig(decoder="beam", hot_words="AB:4"))
    assert read(decoder, log_probs)[0].text == "AB"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("LATTE", "write WORD:BOOST"),
        ("A:x", "write WORD:BOOST"),
        (":3", "write WORD:BOOST"),
        ("A:inf", "write WORD:BOOST"),
        ("A:1e308", "a boost must be from -1000 to 1000"),
        (",", "no word"),
        ("a:3", "not in the labels: 'a'"),
    ],
)
def test_wrong_hot_words(text, words):
    with pytest.raises(InputError, match=words) as caught:
        HotWords(text, LABELS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top_paths": 20}, "--top-paths 20: more than --beam-width 10"),
        ({"lm_open": True}, "--lm-open: there is no language model"),
        ({"lm_path": "no.arpa"}, "no.arpa: cannot read: No such file"),
        ({"decoder": "greedy", "hot_words": "A:1"}, "--hot-words A:1: greedy decoding has no use for it"),
        ({"decoder": "greedy", "lm_path": "no.arpa"}, "--lm-path no.arpa: greedy decoding"),
    ],
)
def test_flags_that_contradict_each_other(options, words):
    with pytest.raises(InputError, match=words) as caught:
        make_decoder(DecoderConfig(**{"decoder": "beam"} | options), LABELS)
    assert "\n" not in str(caught.value)


def test_beam_width_zero():
    with pytest.raises(InputError, match="--beam-width 0: must be positive"):
        DecoderConfig(decoder="beam", beam_width=0)


def test_a_language_model_is_loaded_once(words_path):
    model = LanguageModel(words_path, LABELS)
    log_probs = torch.randn(1, 9, len(LABELS), generator=torch.Generator().manual_seed(3)).log_softmax(2)
    config = DecoderConfig(decoder="beam", lm_path=words_path)
    shared = BeamCTCDecoder(LABELS, config, model).decode(log_probs, torch.tensor([9]))
    assert shared == BeamCTCDecoder(LABELS, config).decode(log_probs, torch.tensor([9]))


def test_a_copy_in_another_process_decodes_alike(words_path):
    """Pickled, also after its threads have started."""
    config = DecoderConfig(decoder="beam", lm_path=str(words_path), lm_workers=2)
    decoder, utterances = BeamCTCDecoder(LABELS, config), [peaky("_A_A_").numpy()] * 4
    expected = decoder.decode_all(utterances)
    assert pickle.loads(pickle.dumps(decoder)).decode_all(utterances) == expected


FORK = """
import os, signal, numpy as np
from deepspeech import BeamCTCDecoder, Labels
from deepspeech.beam_search.config import DecoderConfig
decoder = BeamCTCDecoder(Labels(["_", "A"]), DecoderConfig(decoder="beam", lm_workers=2))
utterances = [np.log(np.full((9, 2), 0.5, np.float32))] * 4
expected = decoder.decode_all(utterances)
if child := os.fork():
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
signal.alarm(30)
raise SystemExit(decoder.decode_all(utterances) != expected)
"""


def test_a_fork_decodes_in_threads_of_its_own():
    done = subprocess.run([sys.executable, "-c", FORK], timeout=60)
    assert done.returncode == 0, "another text, or no answer within 30 seconds"
