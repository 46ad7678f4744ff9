"""ONNX graphs in onnxruntime: the log-probabilities of torch, whole or in chunks, at other lengths."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch

from deepspeech.audio.config import FeatureConfig
from deepspeech.errors import InputError
from deepspeech.export.graph import NetworkGraph
from deepspeech.export.onnx_file import check, make_model, start_session
from deepspeech.inference.recognizer import Recognizer
from tests.conftest import tiny_model

CELLS = ["lstm", "gru", "rnn"]
LENGTHS = 1, 1234, 8000, 20011, 31999  # samples; the check at export uses others
OUTPUTS = ["log_probs", "log_prob_lengths"]


def noise(samples, seed=0, level=0.1):
    return np.random.default_rng(seed).normal(0, level, samples).astype(np.float32)


def streaming_model(labels, **options):
    return tiny_model(labels, bidirectional=False, features=FeatureConfig(normalize="running"), **options)


def expected(model, waveforms):
    """Log-probabilities of torch for each utterance by itself."""
    rows = (Recognizer(model).log_probs([each]) for each in waveforms)
    return [row[0, : int(count)].numpy() for row, count in rows]


def padded(waveforms, more=0):
    rows = np.zeros((len(waveforms), max(map(len, waveforms)) + more), np.float32)
    for row, waveform in zip(rows, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return rows


@pytest.mark.parametrize("normalize", ["utterance", "running"])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_equals_torch(labels, cell, bidirectional, normalize):
    features = FeatureConfig(normalize=normalize)
    model = tiny_model(labels, rnn_type=cell, bidirectional=bidirectional, features=features)
    session = start_session(make_model(model).SerializeToString(), 1)
    waveforms = [noise(samples, samples) for samples in LENGTHS]
    wanted = expected(model, waveforms)
    for waveform, log_probs in zip(waveforms, wanted, strict=True):
        found, counts = session.run(OUTPUTS, {"waveforms": waveform[None]})
        assert counts.tolist() == [len(log_probs)]
        np.testing.assert_allclose(found[0], log_probs, atol=1e-5, rtol=0)
    batch = {"waveforms": padded(waveforms, 77), "lengths": np.array(LENGTHS)}
    found, counts = session.run(OUTPUTS, batch)
    assert counts.tolist() == [len(each) for each in wanted]
    for row, log_probs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(row[: len(log_probs)], log_probs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("level", [0, 1e-6, 1e-4, 1])
def test_equals_torch_at_every_loudness(model, level):
    session = start_session(make_model(model).SerializeToString(), 1)
    found, _ = session.run(OUTPUTS, {"waveforms": noise(16000, level=level)[None]})
    (log_probs,) = expected(model, [noise(16000, level=level)])
    np.testing.assert_allclose(found[0, : len(log_probs)], log_probs, atol=1e-5, rtol=0)


OTHER_FEATURES = {
    "8 kHz, odd window": FeatureConfig(sample_rate=8000, window_size=0.025125, window="hann"),
    "stride beyond the window": FeatureConfig(window_size=0.01, window_stride=0.015, normalize="running"),
    "symmetric window": FeatureConfig(periodic=False),
    "mel bands": FeatureConfig(scale="mel", window_size=0.025, window_stride=0.02),
}


@pytest.mark.parametrize("features", OTHER_FEATURES.values(), ids=OTHER_FEATURES.keys())
def test_other_features(labels, features):
    model, waveform = tiny_model(labels, bidirectional=False, features=features), noise(12345)
    session = start_session(make_model(model).SerializeToString(), 1)
    found, _ = session.run(OUTPUTS, {"waveforms": waveform[None]})
    (log_probs,) = expected(model, [waveform])
    np.testing.assert_allclose(found[0], log_probs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("context", [1, 20])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sizes", [(1, 7, 159, 161, 800, 1600), (5000,), (37,)])
def test_chunks_equal_the_whole(labels, cell, sizes, context):
    model = streaming_model(labels, rnn_type=cell, lookahead_context=context)
    session = start_session(make_model(model).SerializeToString(), 1)
    names = [each.name for each in session.get_outputs()]
    waveforms = [noise(9001, seed) for seed in range(2)]
    rows, state, start, parts = np.stack(waveforms), {}, 0, []
    while start < rows.shape[1]:
        chunk = rows[:, start : start + sizes[len(parts) % len(sizes)]]
        start += chunk.shape[1]
        inputs = {"waveforms": chunk, "final": np.array(start == rows.shape[1])} | state
        outputs = dict(zip(names, session.run(names, inputs), strict=True))
        assert outputs["log_prob_lengths"].tolist() == [outputs["log_probs"].shape[1]] * 2
        parts.append(outputs["log_probs"])
        state = {name.removeprefix("next_"): outputs[name] for name in names if name.startswith("next_")}
    for row, log_probs in zip(np.concatenate(parts, 1), expected(model, waveforms), strict=True):
        np.testing.assert_allclose(row, log_probs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("streaming", [True, False])
def test_features_outside(labels, streaming):
    model = streaming_model(labels) if streaming else tiny_model(labels)
    exported = make_model(model, features_outside=True)
    assert [each.name for each in exported.graph.input][:2] == ["features", "lengths"]


def test_what_cannot_stream_says_so(model):
    with pytest.raises(InputError, match="cannot stream: it processes utterances in both directions"):
        NetworkGraph(model, streaming=True)


def test_metadata(labels):
    exported = make_model(streaming_model(labels, lookahead_context=3))
    values = {entry.key: entry.value for entry in exported.metadata_props}
    assert json.loads(values["labels"]) == list(labels.characters)
    assert (values["sample_rate"], values["streaming"], values["input"]) == ("16000", "true", "waveforms")
    assert float(values["latency"]) > 0
    onnx.checker.check_model(exported, full_check=True)


def test_a_graph_that_differs_is_refused(labels):
    with pytest.raises(InputError, match=r"differ by .* in log-probabilities, which may be at most 0.0001"):
        check(make_model(tiny_model(labels, seed=1)), tiny_model(labels), False)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_8_bit_weights(labels, cell, bidirectional):
    features = FeatureConfig(normalize="utterance" if bidirectional else "running")
    options = {"rnn_type": cell, "bidirectional": bidirectional, "features": features}
    model, waveform = tiny_model(labels, hidden_size=256, **options), noise(20011)
    floats, small = (make_model(model, int8=each).SerializeToString() for each in (False, True))
    assert len(small) < 0.4 * len(floats)
    found, _ = start_session(small, 1).run(OUTPUTS, {"waveforms": waveform[None]})
    (log_probs,) = expected(model, [waveform])
    np.testing.assert_allclose(np.exp(found[0]), np.exp(log_probs), atol=0.02, rtol=0)
    assert abs(found[0] - log_probs).max() > 1e-5


def test_8_bit_rows_of_zeros(labels):
    model = tiny_model(labels)
    with torch.no_grad():
        model.rnns[0].rnn.weight_hh_l0.zero_()
    found, _ = start_session(make_model(model, int8=True).SerializeToString(), 1).run(
        OUTPUTS, {"waveforms": noise(8000)[None]}
    )
    assert np.isfinite(found).all()
