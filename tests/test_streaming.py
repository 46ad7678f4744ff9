"""Streaming: the same as offline, whatever the chunks; and what cannot stream says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import load_script, tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st

from deepspeech import Recognizer, load_model
from deepspeech.config import FeatureConfig
from deepspeech.errors import InputError

RUNNING = FeatureConfig(normalize="running")
CELLS = ["lstm", "gru", "rnn"]


def streaming_model(labels, **options):
    return tiny_model(labels, **({"bidirectional": False, "features": RUNNING} | options))


def audio(samples, seed=0):
    """Noise whose loudness comes and goes."""
    random = np.random.default_rng(seed)
    loudness = np.interp(np.arange(samples) / 1600, np.arange(40), random.uniform(0, 0.3, 40))
    return (loudness * random.normal(0, 1, samples)).astype(np.float32)


def chunks_of(waveform, sizes):
    """Cut a waveform; the sizes repeat."""
    start, index = 0, 0
    while start < len(waveform):
        size = sizes[index % len(sizes)]
        yield waveform[start : start + size]
        start, index = start + size, index + 1


SIZES = st.lists(st.sampled_from([1, 7, 159, 160, 161, 800, 1600, 5000]), min_size=1, max_size=4)


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=10)
@given(st.integers(1, 12000), SIZES, st.sampled_from([1, 2, 20]), st.integers(1, 3))
def test_log_probabilities_of_chunks_are_those_of_the_whole(labels, cell, samples, sizes, context, layers):
    model = streaming_model(labels, rnn_type=cell, lookahead_context=context, hidden_layers=layers)
    recognizer, waveform = Recognizer(model), audio(samples)
    whole, (count,) = recognizer.log_probs([waveform])
    sizes = [max(size, samples // 100) for size in sizes]  # bounds the number of chunks, so the time
    heard = seen = None
    rows = []
    with torch.inference_mode():
        for chunk in [*chunks_of(waveform, sizes), waveform[:0]]:
            final = not len(chunk)
            chunk = torch.from_numpy(chunk)[None]
            features, lengths, heard = recognizer.spectrogram.forward_chunk(chunk, None, heard, final)
            log_probs, lengths, seen = model.forward_chunk(features, lengths, seen, final)
            assert lengths.tolist() == [log_probs.shape[1]]
            rows.append(log_probs)
    streamed = torch.cat(rows, 1)
    assert streamed.shape[1] == count
    assert torch.allclose(streamed, whole, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_a_batch_streams_as_each_of_its_utterances(labels, cell):
    """Utterances of unlike length, if only the last chunk is not full."""
    torch.manual_seed(0)
    model = streaming_model(labels, rnn_type=cell, lookahead_context=4)
    features, lengths = torch.randn(3, 161, 90), torch.tensor([90, 61, 75])
    for row, length in zip(features, lengths.tolist(), strict=True):
        row[:, length:] = 0
    with torch.inference_mode():
        whole, counts = model(features, lengths)
        first, _, state = model.forward_chunk(features[:, :, :60], final=False)
        last, ends, _ = model.forward_chunk(features[:, :, 60:], lengths - 60, state)
    assert (ends + first.shape[1]).tolist() == counts.tolist()
    streamed = torch.cat([first, last], 1)
    for row, expected, count in zip(streamed, whole, counts.tolist(), strict=True):
        assert torch.allclose(row[:count], expected[:count], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"bidirectional": True}, "it reads every utterance backwards, too; train"),
        ({"features": FeatureConfig()}, "it normalises by the statistics of whole utterances; train"),
        ({"bidirectional": True, "features": FeatureConfig()}, "backwards, too and normalises by"),
    ],
)
def test_models_that_cannot_stream_say_why_and_what_to_train(labels, options, why):
    model = streaming_model(labels, **options)
    with pytest.raises(
        InputError, match=r"cannot stream: .*--no-bidirectional --normalize running"
    ) as caught:
        model.forward_chunk(torch.zeros(1, 161, 9), final=False)
    assert why in str(caught.value)


@pytest.mark.slow
def test_train_normalises_as_asked_and_the_model_file_remembers(corpus, tmp_path):
    flags = [
        "--hidden-size",
        "12",
        "--hidden-layers",
        "1",
        "--num-workers",
        "0",
        "--no-cuda",
        "--epochs",
        "1",
    ]
    flags += ["--no-bidirectional", "--normalize", "running", "--lookahead-context", "3"]
    flags += [*corpus.flags(), "--save-folder", str(tmp_path)]
    assert load_script("train.py").main(flags) == 0
    model = load_model(tmp_path / "deepspeech_final.pth")
    assert model.config.features == RUNNING
    model.config.require_streaming()
    flags += ["--continue-from", str(tmp_path / "deepspeech_final.pth"), "--normalize", "utterance"]
    with pytest.raises(InputError, match=r"--normalize utterance: .* has running"):
        load_script("train.py").main(flags)
