"""Beam search over long outputs: chunks change nothing, commitments cost nothing and bound memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepspeech.beam_search import stream as stream_module
from deepspeech.beam_search.beam_decoder import BeamCTCDecoder
from deepspeech.beam_search.config import DecoderConfig
from tests.beam_search.test_beam_decoder import LABELS, characters_path, words_path  # noqa: F401 (fixtures)

SEARCHES = {
    "free": {},
    "words": {"lm_path": "words"},
    "characters": {"lm_path": "characters", "lm_unit": "character"},
    "open": {"lm_path": "words", "lm_open": True},
    "hot words": {"hot_words": "AB:2"},
}


@pytest.fixture(params=SEARCHES, scope="module")
def decoder(request, words_path, characters_path):  # noqa: F811
    options = {"beam_width": 8, "top_paths": 2} | SEARCHES[request.param]
    if "lm_path" in options:
        options["lm_path"] = {"words": words_path, "characters": characters_path}[options["lm_path"]]
    return BeamCTCDecoder(LABELS, DecoderConfig(decoder="beam", **options))


def outputs(frames, seed, sharpness=3.0):
    """Log-probabilities (frames, labels) of a network that is often unsure."""
    logits = (
        np.random.default_rng(seed).normal(0, sharpness, (frames, len(LABELS)))
        + np.eye(len(LABELS))[LABELS.blank]
    )
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


@settings(max_examples=4)
@given(st.integers(1, 260), st.lists(st.integers(1, 70), min_size=1, max_size=4), st.integers(0, 999))
def test_chunks_change_nothing_and_what_is_committed_stays(decoder, frames, sizes, seed):
    log_probs, stream, start, committed = outputs(frames, seed), decoder.stream(), 0, ""
    while start < frames:
        partial = stream.feed(log_probs[start : start + sizes[0]])
        assert partial.committed.startswith(committed)
        start, sizes, committed = start + sizes[0], [*sizes[1:], sizes[0]], partial.committed
    found = stream.finish()
    assert found == decoder.decode_one(log_probs)
    assert found[0].text.startswith(committed)
    for each in found:
        assert len(each.text) == len(each.offsets)
        assert each.offsets == sorted(each.offsets)


def test_commitments_change_neither_texts_nor_scores(decoder, monkeypatch):
    log_probs = outputs(400, seed=3, sharpness=1.0)
    stream = decoder.stream()
    stream.advance(log_probs)
    assert len(stream.text) > 20
    assert stream.start > 100
    found = stream.finish()
    monkeypatch.setattr(stream_module, "COMMIT", 10**9)
    expected = decoder.decode_one(log_probs)
    assert [each.text for each in found] == [each.text for each in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-6)
        assert one.acoustic_score == pytest.approx(other.acoustic_score, abs=1e-6)
        assert one.lm_score == pytest.approx(other.lm_score, abs=1e-6)


def test_hypotheses_that_differ_in_silence_for_long_are_decided(decoder):
    """The beam's alternatives to what was said before would stay in it for ever."""
    silence = np.log(np.tile(np.float32([0.997, 0.001, 0.001, 0.001]), (2000, 1)))
    said = np.concatenate([outputs(30, seed=1, sharpness=1.0), silence, outputs(30, seed=2)])
    stream = decoder.stream()
    for start in range(0, len(said), 20):
        partial = stream.feed(said[start : start + 20])
        assert stream.frames - stream.start < stream_module.HORIZON + stream_module.COMMIT
    assert partial.committed
    assert stream.finish()[0].text.startswith(partial.committed)


def test_memory_does_not_grow_with_the_stream(decoder):
    stream = decoder.stream()
    for seed in range(40):
        stream.advance(outputs(100, seed))
        assert len(stream.recent) < stream_module.HORIZON + stream_module.COMMIT
    unused = stream.tree.free[: stream.tree.left[0]].tolist()
    assert len(stream.tree.free) <= 4096, "4000 frames make 20,000 nodes and more"
    assert len(set(unused)) == len(unused), "no node is freed twice"
    assert not set(unused) & set(stream.beam.node[: stream.beam.size[0]].tolist())


@pytest.mark.parametrize("options", [{}, {"cutoff_prob": 0.9}, {"hot_words": "A:9"}, {"cutoff_top_n": 2}])
def test_every_alternative_has_a_frame_for_every_character(options):
    """Also of dense texts, whose best alignment leaves few frames, and of frames that rule labels out."""
    decoder = BeamCTCDecoder(
        LABELS,
        DecoderConfig(decoder="beam", beam_width=40, top_paths=40, **({"hot_words": "AB:3"} | options)),
    )
    for seed in range(60):
        random = np.random.default_rng(seed)
        logits = random.normal(0, [0.3, 1, 3][seed % 3], (random.integers(60, 300), len(LABELS)))
        logits[:, LABELS.blank] -= 9
        log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        log_probs[log_probs < [-np.inf, -3][seed % 2]] = -np.inf
        for hypothesis in decoder.decode_one(log_probs):
            assert len(hypothesis.offsets) == len(hypothesis.text)
            assert (np.diff(hypothesis.offsets) > 0).all()
