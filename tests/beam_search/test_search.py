"""The compiled search against a plain one, and against flashlight-text."""

import itertools
import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepspeech.beam_search import ngram
from deepspeech.beam_search.beam_decoder import BeamCTCDecoder
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.beam_search.ngram import NGramModel
from deepspeech.errors import InputError
from deepspeech.labels import Labels
from tests.beam_search.test_beam_decoder import (  # noqa: F401 (fixtures)
    CHARACTERS_ORACLE,
    HOT,
    LABELS,
    WORDS_ORACLE,
    characters_path,
    hot_score,
    words_path,
)

NEVER = -math.inf
BOOSTS = {"B": 1.5, "BA": -0.5, "A B": 2.5}  # of HOT
VOCABULARY = {"A", "AB", "BBA"}


class Bonus:
    """What language model and hot words add to the acoustic score of a text, by their definitions."""

    def __init__(self, config):
        self.config, self.unit = config, config.lm_path and config.lm_unit
        self.words = VOCABULARY | ({"B", "BA"} if config.hot_words else set())

    def word(self, word, before=None):
        """Weighted score of a word after others, or by itself."""
        if word not in self.words and not self.config.lm_open:
            return NEVER
        if word not in VOCABULARY:
            lm = self.config.lm_unknown
        elif before is None:
            lm = WORDS_ORACLE.entries[(word,)][0] * math.log(10)
        else:
            lm = WORDS_ORACLE.scores(" ".join([*before, word]))[-2][0]
        return self.config.alpha * lm + self.config.beta

    def partial(self, text, exact):
        """Of the beginning of a text; `exact` if it is in the beam, rather than a candidate for it."""
        bonus = self.hot(text) if self.config.hot_words else 0.0
        if self.unit == "character":
            scores = CHARACTERS_ORACLE.scores(" ".join(text.replace(" ", "|")))[:-1]
            ends = sum(second == " " != first for first, second in itertools.pairwise(text))
            return bonus + self.config.alpha * sum(score for score, _ in scores) + self.config.beta * ends
        if self.unit == "word":
            *words, part = text.split(" ")
            bonus += sum(self.word(word, words[:place]) for place, word in enumerate(words))
            if part:
                longer = [self.word(word) for word in self.words if word.startswith(part) and word != part]
                if self.config.lm_open:
                    longer.append(self.config.alpha * self.config.lm_unknown + self.config.beta)
                if part in self.words:
                    longer.append(self.word(part, words if exact else None))
                bonus += max(longer, default=NEVER)
        return bonus

    def hot(self, text):
        """Complete phrases, and the credit of the longest one under way."""
        *_, part = text.split(" ")
        complete = hot_score(text.removesuffix(part))
        starts = [0, *(place + 1 for place, character in enumerate(text) if character == " ")]
        credits = [
            max(boost, 0) * len(text[start:]) / len(phrase)
            for start, (phrase, boost) in itertools.product(starts, BOOSTS.items())
            if phrase.startswith(text[start:])
        ]
        return complete + max(credits, default=0.0)

    def whole(self, text):
        """Of a whole text; None where it ends within a word of a closed vocabulary."""
        words, bonus = text.split(), hot_score(text) if self.config.hot_words else 0.0
        if not self.unit:
            return bonus
        if self.unit == "character":
            lm = CHARACTERS_ORACLE.score(" ".join(text.replace(" ", "|")))
        elif self.config.lm_open or set(words) <= self.words:
            lm = WORDS_ORACLE.score(text, self.config.lm_unknown)
        else:
            return None
        return bonus + self.config.alpha * lm + self.config.beta * len(words)


def plain_search(log_probs, config):
    """Prefix beam search over texts in a dictionary (Hannun et al., 2014): text -> score."""
    bonus, blank = Bonus(config), log_probs[:, LABELS.blank]
    tidy = bool(config.hot_words) or bonus.unit == "word"
    beam = {"": (0.0, NEVER)}  # log-probabilities of paths that end with a blank, and with the last label
    for frame, row in enumerate(log_probs):
        found = defaultdict(lambda: [NEVER, NEVER])
        for text, (by_blank, by_label) in beam.items():
            total, last = np.logaddexp(by_blank, by_label), text[-1:] or " " * tidy
            found[text][0] = np.logaddexp(found[text][0], total + blank[frame])
            if last:
                repeats = total if tidy and last == " " else by_label
                found[text][1] = np.logaddexp(found[text][1], repeats + row[LABELS.index(last)])
            for label in "AB ":
                if not (tidy and label == last == " "):
                    path = by_blank if label == last else total
                    paths = found[text + label]
                    paths[1] = np.logaddexp(paths[1], path + row[LABELS.index(label)])
        scores = {
            text: np.logaddexp(*paths) + bonus.partial(text, text in beam) for text, paths in found.items()
        }
        kept = sorted((text for text in scores if scores[text] > NEVER), key=lambda text: -scores[text])
        beam = {text: tuple(found[text]) for text in kept[: config.beam_width]}
    acoustic = defaultdict(lambda: NEVER)
    for text, paths in beam.items():
        text = text.removesuffix(" ") if tidy else text
        acoustic[text] = np.logaddexp(acoustic[text], np.logaddexp(*paths))
    wholes = {text: bonus.whole(text) for text in acoustic}
    return {text: acoustic[text] + whole for text, whole in wholes.items() if whole is not None}


def outputs(frames, seed, sharpness, labels=LABELS):
    """Log-probabilities (frames, labels)."""
    logits = np.random.default_rng(seed).normal(0, sharpness, (frames, len(labels)))
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


@pytest.mark.parametrize("hot_words", [None, HOT], ids=["", "hot words"])
@pytest.mark.parametrize("model", ["none", "words", "open", "characters"])
def test_the_same_as_a_plain_search(model, hot_words, words_path, characters_path):  # noqa: F811
    more = {
        "none": {},
        "words": {"lm_path": words_path},
        "open": {"lm_path": words_path, "lm_open": True, "lm_unknown": -4.0},
        "characters": {"lm_path": characters_path, "lm_unit": "character"},
    }[model]
    base = DecoderConfig(decoder="beam", hot_words=hot_words, **more)

    @given(
        st.integers(1, 40),
        st.integers(0, 2**32 - 1),
        st.sampled_from([0.5, 1.0, 3.0]),
        st.integers(1, 12),
        st.floats(0, 2),
        st.floats(-2, 3),
    )
    @settings(deadline=None, max_examples=30)
    def check(frames, seed, sharpness, width, alpha, beta):
        log_probs = outputs(frames, seed, sharpness)
        config = replace(base, beam_width=width, top_paths=width, alpha=alpha, beta=beta)
        expected = plain_search(log_probs.astype(np.float64), config)
        found = {each.text: each.score for each in BeamCTCDecoder(LABELS, config).decode_one(log_probs)}
        if expected:  # else all ends within words, and the decoder shows those
            assert found == pytest.approx(expected, abs=1e-4)

    check()


def test_nan_is_one_line():
    log_probs = outputs(9, 0, 1.0)
    log_probs[4, 2] = np.nan
    with pytest.raises(InputError, match="the network's log-probabilities have NaN"):
        BeamCTCDecoder(LABELS).decode_one(log_probs)


def test_a_frame_that_no_text_can_have_is_left_out(words_path):  # noqa: F811
    log_probs = outputs(9, 0, 1.0)
    log_probs[4] = NEVER
    for config in (DecoderConfig(decoder="beam"), DecoderConfig(decoder="beam", lm_path=words_path)):
        decoder = BeamCTCDecoder(LABELS, config)
        assert (
            decoder.decode_one(log_probs)[0].score
            == decoder.decode_one(np.delete(log_probs, 4, axis=0))[0].score
        )


def test_a_model_that_shrinks_while_it_is_in_use(words_path, tmp_path, monkeypatch):  # noqa: F811
    path = tmp_path / "lm.bin"
    path.write_bytes(NGramModel.open(words_path).image)
    monkeypatch.setattr(ngram, "MAPPED_FROM", 0)
    stream = BeamCTCDecoder(LABELS, DecoderConfig(decoder="beam", lm_path=str(path))).stream()
    stream.advance(outputs(9, 0, 1.0))
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"lm.bin: shrank from [0-9]+ to 0 bytes"):
        stream.advance(outputs(9, 1, 1.0))


ENGLISH = Labels(["_", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", " "])


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory):
    """A random 3-gram model of 500 words: its path, words and 3-grams."""
    random = np.random.default_rng(0)
    letters = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    words = sorted({"".join(random.choice(letters, random.integers(1, 9))) for _ in range(500)})
    trios = sorted({tuple(random.choice(words, 3).tolist()) for _ in range(2000)})
    pairs = sorted({pair for trio in trios for pair in itertools.pairwise(trio)})
    back_off = lambda: f"\t{-random.uniform(0.1, 0.6):.3f}"  # noqa: E731
    lines = ["\\data\\", f"ngram 1={len(words) + 3}", f"ngram 2={len(pairs)}", f"ngram 3={len(trios)}"]
    lines += ["", "\\1-grams:", "-5\t<unk>\t0", "-99\t<s>\t-0.3", "-2\t</s>\t0"]
    lines += [f"{-random.uniform(2, 4):.3f}\t{word}{back_off()}" for word in words]
    lines += ["", "\\2-grams:"]
    lines += [f"{-random.uniform(0.5, 3):.3f}\t{' '.join(pair)}{back_off()}" for pair in pairs]
    lines += ["", "\\3-grams:", *(f"{-random.uniform(0.2, 2):.3f}\t{' '.join(trio)}" for trio in trios)]
    path = tmp_path_factory.mktemp("lexicon") / "lm.arpa"
    path.write_text("\n".join([*lines, "", "\\end\\", ""]))
    return path, words, trios


def trained(seed, trios, frames=100):
    """Log-probabilities as a trained network's: peaks that spell words, some of them doubtful."""
    random = np.random.default_rng(seed)
    text = " ".join(" ".join(trios[random.integers(len(trios))]) for _ in range(9))
    logits, place = random.normal(0, 1, (frames, len(ENGLISH))), 2
    logits[:, ENGLISH.blank] += 11
    for label in ENGLISH.encode(text)[: frames // 5]:
        logits[place, label] += 14
        if random.random() < 0.1:
            logits[place, random.integers(1, len(ENGLISH))] += random.normal(13, 2)
        place += int(random.integers(3, 6))
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def flashlight_search(path, words, config):
    """A function log-probabilities -> score of the best text, by the decoder of flashlight-text."""
    from flashlight.lib.text import decoder as flashlight
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    model, space = KenLM(str(path), Dictionary([*words, "<unk>"])), ENGLISH.index(" ")
    trie, start = flashlight.Trie(len(ENGLISH), space), model.start(False)
    for index, word in enumerate(words):
        trie.insert([*ENGLISH.encode(word), space], index, model.score(start, index)[1])
    trie.smear(flashlight.SmearingMode.MAX)
    options = flashlight.LexiconDecoderOptions(
        beam_size=config.beam_width,
        beam_size_token=len(ENGLISH),
        beam_threshold=1e9,
        lm_weight=config.alpha * math.log(10),
        word_score=config.beta,
        unk_score=NEVER,
        sil_score=0,
        log_add=True,
        criterion_type=flashlight.CriterionType.CTC,
    )
    end = np.full((1, len(ENGLISH)), NEVER, np.float32)  # a space, so that the last word is complete
    end[0, [space, ENGLISH.blank]] = 0, -1e4

    def best(log_probs):
        decoder = flashlight.LexiconDecoder(options, trie, model, space, ENGLISH.blank, len(words), [], False)
        emissions = np.concatenate([log_probs, end])
        result = decoder.decode(emissions.ctypes.data, *emissions.shape)[0]
        return result.score + (0 if result.tokens[-2] == space else 1e4)

    return best


def test_scores_are_not_below_those_of_flashlight(lexicon):
    """At equal settings. On noise both searches lose texts, ours fewer."""
    pytest.importorskip("flashlight.lib.text")  # no wheels for every version of Python
    path, words, trios = lexicon
    config = DecoderConfig(decoder="beam", beam_width=100, lm_path=str(path))
    ours, theirs = BeamCTCDecoder(ENGLISH, config), flashlight_search(path, words, config)
    for kind, most in (("trained", 0), ("random", 20)):
        gains = []
        for seed in range(100):
            log_probs = outputs(60, seed, 3.0, ENGLISH) if kind == "random" else trained(seed, trios)
            gains.append(ours.decode_one(log_probs)[0].score - theirs(log_probs))
        assert np.mean(gains) > -1e-3
        assert sum(gain < -1e-3 for gain in gains) <= most, sorted(gains)[:5]
