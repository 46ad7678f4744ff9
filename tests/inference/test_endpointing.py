"""End-pointing."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.audio.loading import load_audio
from deepspeech.inference.endpointing import OVERLAP, Segment, Segmenter

RATE = 2000  # Hz; everything is in seconds, so a low rate only saves time
NOISE = 1e-3


def sound(*stretches: tuple[float, float], noise: float = NOISE) -> np.ndarray:
    """Loud stretches and silent ones by turns, as pairs of seconds, over noise."""
    parts = []
    for loud, silent in stretches:
        parts += [0.3 * np.sin(np.arange(round(loud * RATE)) * 0.9), np.zeros(round(silent * RATE))]
    waveform = np.concatenate(parts)
    waveform += noise * np.random.default_rng(len(waveform)).standard_normal(len(waveform))
    return waveform.astype(np.float32)


def segments_of(waveform: np.ndarray, block: int = RATE, **options: float) -> list[Segment]:
    segmenter = Segmenter(RATE, **options)
    found = []
    for start in range(0, len(waveform), block):
        found += segmenter.feed(waveform[start : start + block])
    return found + segmenter.finish()


def seconds(segments: list[Segment]) -> list[tuple[float, float]]:
    return [(each.start / RATE, each.stop / RATE) for each in segments]


def test_utterances_end_at_silences():
    waveform = sound((0, 1.0), (1.5, 0.8), (2.0, 1.5), (1.2, 1.0))
    bounds = np.array(seconds(segments_of(waveform)))
    spoken = np.array([(1.0, 2.5), (3.3, 5.3), (6.8, 8.0)])
    assert len(bounds) == 3
    before, after = spoken[:, 0] - bounds[:, 0], bounds[:, 1] - spoken[:, 1]
    assert before == pytest.approx(0.3, abs=0.09)
    assert after == pytest.approx(0.25, abs=0.09)


def test_a_short_pause_ends_no_utterance():
    assert len(segments_of(sound((1.5, 0.35), (1.5, 0.35), (1.0, 0.5)))) == 1


def test_a_short_utterance_ends_at_a_long_silence_only():
    clicks = sound((0.2, 1.0), (0.2, 1.0), (0.2, 3.0), (0.2, 1.0))
    (_, first_end), (second, _) = seconds(segments_of(clicks, min_seconds=5))
    assert first_end < 3.2
    assert second > 5


def test_a_long_utterance_is_cut_in_the_longest_pause_of_its_second_half():
    waveform = sound((4, 0.45), (2, 0.2), (1.5, 0.3), (1, 0.2), (4, 0.6))
    (start, cut), (second, _) = seconds(segments_of(waveform, max_seconds=10))
    assert start < 0.1
    assert cut == second == pytest.approx(4 + 0.45 + 2 + 0.2 + 1.5 + 0.15, abs=0.05)


def test_without_a_pause_segments_overlap():
    waveform = sound((50.5, 1))
    found = segments_of(waveform)
    assert [len(each.waveform) / RATE for each in found[:-1]] == [20, 20]
    assert [before.stop - after.start for before, after in itertools.pairwise(found)] == [OVERLAP * RATE] * 2
    shared = round(OVERLAP * RATE)
    assert np.array_equal(found[0].waveform[-shared:], found[1].waveform[:shared])


def test_nothing_is_left_after_an_overlap_that_says_nothing_new():
    assert len(segments_of(sound((20, 0)))) == len(segments_of(sound((20, 5)))) - 1 == 1


@pytest.mark.parametrize("noise", [NOISE, 0.1])
def test_speech_without_pauses_never_becomes_noise(noise):
    """Steady for minutes, it is as far above the floor as noise is; yet nothing may be left out."""
    waveform = sound((120, 0), noise=noise)
    found = segments_of(waveform)
    assert found[0].start == 0
    assert found[-1].stop == len(waveform)
    assert all(after.start == before.stop - OVERLAP * RATE for before, after in itertools.pairwise(found))


def test_noise_that_becomes_louder_becomes_the_floor():
    random = np.random.default_rng(0)
    quiet, loud = (level * random.standard_normal(n * RATE) for level, n in ((1e-3, 5), (1e-2, 60)))
    utterances = sound((1.5, 1), (1.5, 1), (1.5, 1), noise=1e-2)
    waveform = np.concatenate([quiet, loud, utterances]).astype(np.float32)
    late = [start for start, _ in seconds(segments_of(waveform)) if start > 64]
    assert late == pytest.approx([64.7, 67.2, 69.7], abs=0.1)


@pytest.mark.parametrize("level", [0, 1e-5, 1e-3])
def test_endless_silence_has_no_utterances_and_takes_no_memory(level):
    segmenter, random = Segmenter(RATE), np.random.default_rng(0)
    tracemalloc.start()
    try:
        for _ in range(600):
            assert segmenter.feed((level * random.standard_normal(RATE)).astype(np.float32)) == []
        assert segmenter.finish() == []
        assert tracemalloc.get_traced_memory()[1] < 200 * RATE  # of 2,400 fed
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("samples", [0, 1, 79, 80, 81])
def test_a_few_samples(samples):
    """Loud enough they are an utterance, whatever their number."""
    segmenter = Segmenter(RATE)
    waveform = np.full(samples, 0.5, dtype=np.float32)
    found = segmenter.feed(waveform) + segmenter.finish()
    assert len(found) == (samples > 0)
    assert all(np.array_equal(each.waveform, waveform) and each.start == 0 for each in found)


@st.composite
def recordings(draw):
    loud, silent = st.floats(0.05, 12), st.floats(0, 4)
    return sound(*draw(st.lists(st.tuples(loud, silent), min_size=1, max_size=12)))


@given(recordings(), st.integers(1, 7000), st.sampled_from([2.0, 5.0, 20.0]), st.floats(0.2, 10))
def test_every_sound_is_in_a_segment_and_blocks_do_not_matter(waveform, block, longest, shortest):
    options = {"max_seconds": longest, "min_seconds": shortest}
    found = segments_of(waveform, block, **options)
    whole = segments_of(waveform, len(waveform), **options)
    assert seconds(found) == seconds(whole)
    covered = np.zeros(len(waveform), dtype=bool)
    stop = 0
    for each in found:
        assert np.array_equal(each.waveform, waveform[each.start : each.stop])
        assert len(each.waveform) <= round(longest * RATE)
        assert stop - each.start <= longest / 2 * RATE
        assert each.stop > stop
        covered[each.start : each.stop] = True
        stop = each.stop
    assert covered[np.abs(waveform) > 0.1].all()


def test_no_spoken_word_is_cut(shared):
    """Digits of several speakers, joined with pauses of 0.2 to 1 s; no segment is longer than 10 s."""
    random = np.random.default_rng(1)
    paths = sorted((shared / "speech" / "digits" / "recordings").glob("*_[0-4].wav"))
    parts, words, now = [], [], 0
    for path in random.permutation(paths)[:120]:
        spoken = load_audio(path, 8000)
        parts += [
            spoken / np.abs(spoken).max() * random.uniform(0.2, 0.8),
            np.zeros(random.integers(1600, 8000)),
        ]
        loud = np.flatnonzero(np.abs(spoken) > 0.1 * np.abs(spoken).max())  # not the silence around it
        words.append((now + loud[0], now + loud[-1]))
        now += sum(map(len, parts[-2:]))
    waveform = np.concatenate(parts) + 1e-3 * random.standard_normal(now)
    segmenter = Segmenter(8000, max_seconds=10, min_seconds=2.5)
    found = segmenter.feed(waveform.astype(np.float32)) + segmenter.finish()
    assert len(found) > 12
    assert all(before.stop <= after.start for before, after in itertools.pairwise(found))
    for start, stop in words:
        assert len([each for each in found if each.start <= start and stop < each.stop]) == 1


def test_samples_one_by_one():
    waveform = sound((1.0, 0.8), (0.7, 0.3))
    assert seconds(segments_of(waveform, 1)) == seconds(segments_of(waveform))
