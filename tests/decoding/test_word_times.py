"""Times and confidences of words."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from deepspeech.audio.loudness import find_pauses
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.decoding.decoder import Hypothesis
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.decoding.word_times import Word, confidences, find_words
from deepspeech.inference.factory import make_decoder
from deepspeech.labels import Labels

LABELS = Labels(["_", "A", "B", " "])
FRAME = 0.02
RATE = 16000


def peaky(path: str, sureness: float = 0.99) -> Tensor:
    """log_probs (frames, labels) of a network that writes `path`, a label a frame."""
    probabilities = torch.full((len(path), len(LABELS)), (1 - sureness) / (len(LABELS) - 1))
    for frame, character in enumerate(path):
        probabilities[frame, LABELS.index(character)] = sureness
    return probabilities.log()


def greedy(log_probs: Tensor) -> Hypothesis:
    return GreedyDecoder(LABELS).decode(log_probs[None], torch.tensor([len(log_probs)]))[0][0]


@functools.cache
def all_paths(frames: int) -> list[tuple[tuple[int, ...], str]]:
    """Every path with what it spells, spaces taken for blanks."""
    space, paths = LABELS.index(" "), []
    for path in itertools.product(range(len(LABELS)), repeat=frames):
        kept = [LABELS.blank if label == space else label for label in path]
        merged = [label for label, _ in itertools.groupby(kept) if label != LABELS.blank]
        paths.append((path, LABELS.decode(merged)))
    return paths


def speech(seconds: float, *sounds: tuple[float, float], noise: float = 1e-3) -> np.ndarray:
    """Buzzing where there are sounds, over noise."""
    random = np.random.default_rng(0)
    time = np.arange(round(seconds * RATE)) / RATE
    waveform = noise * random.standard_normal(len(time))
    for start, end in sounds:
        waveform += 0.3 * np.sign(np.sin(2 * np.pi * 120 * time)) * ((time >= start) & (time < end))
    return waveform.astype(np.float32)


def words_of(path: str, waveform: np.ndarray) -> list[Word]:
    log_probs = peaky(path)
    return find_words(
        greedy(log_probs), log_probs, find_pauses(waveform, RATE), LABELS, FRAME, len(waveform) / RATE
    )


class TestTimes:
    def test_words_last_from_pause_to_pause_however_late_the_network_writes(self):
        waveform = speech(1.0, (0.1, 0.4), (0.6, 0.9))
        for path in (
            "_____________AA_B__ _________________A_B__________",
            "_____A______B____________ ______A______B__________",
            "_____A_____B______  A_________________B___________",  # the first letter in the silence
        ):
            words = words_of(path, waveform)
            assert [word.text for word in words] == ["AB", "AB"]
            times = [time for word in words for time in (word.start, word.end)]
            assert times == pytest.approx([0.1, 0.4, 0.6, 0.9], abs=0.025)

    def test_words_without_a_pause_meet_at_the_space(self):
        first, second = words_of("_____A____B____ ___A_____B______________", speech(0.8, (0.1, 0.7)))
        assert first.end == second.start == pytest.approx(15 * FRAME)
        assert first.start == pytest.approx(0.1, abs=0.025)
        assert second.end == pytest.approx(0.7, abs=0.025)

    def test_beam_search_gives_the_same(self):
        log_probs = peaky("_____________AA_B__ _________________A_B__________")
        pauses = find_pauses(speech(1.0, (0.1, 0.4), (0.6, 0.9)), RATE)
        greedy, beam = (
            find_words(
                make_decoder(DecoderConfig(decoder=name), LABELS)
                .decode(log_probs[None], torch.tensor([len(log_probs)]))[0][0],
                log_probs, pauses, LABELS, FRAME, 1.0,
            )
            for name in ("greedy", "beam")
        )  # fmt: skip
        assert beam == greedy
        assert len(beam) == 2

    def test_a_stop_consonant_is_no_pause(self):
        waveform = speech(1.2, (0.1, 0.2), (0.26, 0.5), (0.8, 1.0), (1.06, 1.15))
        words = words_of("_______A______B________ _____________________AB_____________", waveform)
        assert [word.start for word in words] == pytest.approx([0.1, 0.8], abs=0.025)

    def test_leading_spaces_and_double_spaces_make_no_words(self):
        words = words_of("_ __A____ _ ____B__ _", speech(0.42, (0.05, 0.15), (0.25, 0.35)))
        assert [word.text for word in words] == ["A", "B"]

    def test_digital_silence(self):
        (word,) = words_of("____A_____", np.zeros(3200, dtype=np.float32))
        assert 0 <= word.start < word.end <= 0.2

    def test_no_text_has_no_words(self):
        assert words_of("_____", speech(0.1)) == []

    @given(
        text=st.text("AB ", min_size=1, max_size=12),
        steps=st.lists(st.integers(1, 9), min_size=13, max_size=13),
        edges=st.lists(st.integers(0, 250), max_size=40, unique=True),
        missing=st.floats(0, FRAME),
    )
    def test_words_are_in_order_and_inside_the_recording(self, text, steps, edges, missing):
        """For any decoder's hypothesis and any pauses."""
        offsets = list(itertools.accumulate(steps))[: len(text)]
        log_probs = torch.randn(offsets[-1] + steps[-1], len(LABELS)).log_softmax(-1)
        hypothesis = Hypothesis(text, offsets, 0.0)
        edges = [edge / 100 for edge in sorted(edges)]
        pauses = list(zip(edges[::2], edges[1::2], strict=False))
        seconds = len(log_probs) * FRAME - missing  # the last frame is rarely full
        words = find_words(hypothesis, log_probs, pauses, LABELS, FRAME, seconds)
        assert [word.text for word in words] == text.split()
        times = [time for word in words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(word.start < word.end and 0 <= word.confidence <= 1 for word in words)
        assert not times or (times[0] >= 0 and times[-1] <= seconds + 1e-9)


class TestConfidence:
    def test_a_sure_network_is_sure(self):
        log_probs = peaky("__A_B_ _B_", sureness=1 - 1e-7)
        assert confidences(greedy(log_probs), log_probs, LABELS) == pytest.approx([1, 1], abs=1e-4)

    def test_doubt_concerns_the_word_in_which_it_is(self):
        log_probs = peaky("__A_B_ _B_", sureness=1 - 1e-7)
        log_probs[4] = torch.tensor([1e-9, 0.4, 0.6, 1e-9]).log()
        sure, other = confidences(greedy(log_probs), log_probs, LABELS)
        assert sure == pytest.approx(math.sqrt(0.6), abs=1e-3)
        assert other == pytest.approx(1, abs=1e-3)

    def test_a_letter_that_may_stand_in_two_frames_costs_nothing(self):
        half = torch.tensor([0.5, 0.5, 1e-9, 1e-9]).log()
        log_probs = peaky("__A_", sureness=1 - 1e-7)
        log_probs[1] = half
        assert confidences(greedy(log_probs), log_probs, LABELS) == pytest.approx([1], abs=1e-3)

    @given(seed=st.integers(0, 10_000), word=st.sampled_from(["A", "AB", "BB", "ABA"]))
    def test_is_the_root_of_all_paths_that_spell_the_word(self, seed, word):
        log_probs = torch.randn(5, len(LABELS), generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
        paths = torch.tensor([path for path, spelled in all_paths(5) if spelled == word])
        total = log_probs[torch.arange(5), paths].sum(dim=1).exp().sum().item()
        hypothesis = Hypothesis(word, list(range(len(word))), 0.0)
        assert confidences(hypothesis, log_probs, LABELS) == pytest.approx([math.sqrt(total)], rel=1e-4)

    def test_labels_without_a_space(self):
        labels = Labels(["_", "A"])
        log_probs = torch.tensor([[0.1, 0.9]]).log()
        assert confidences(Hypothesis("A", [0], 0.0), log_probs, labels) == pytest.approx([math.sqrt(0.9)])
