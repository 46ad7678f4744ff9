"""The network: names, shapes, and results that do not depend on the rest of the batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepspeech.audio.config import FeatureConfig
from deepspeech.model.deepspeech2 import Lookahead
from tests.conftest import tiny_model

CELLS = ["lstm", "gru", "rnn"]


def features_of(lengths, seed=0, bins=161):
    """Random features, zero beyond each end as those of a spectrogram."""
    torch.manual_seed(seed)
    features = torch.randn(len(lengths), bins, max(lengths))
    for row, length in zip(features, lengths, strict=True):
        row[:, length:] = 0
    return features


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=12)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=5), padding=st.integers(0, 30))
def test_an_utterance_alone_equals_itself_in_a_padded_batch(labels, cell, bidirectional, lengths, padding):
    model = tiny_model(labels, rnn_type=cell, bidirectional=bidirectional)
    features = features_of(lengths)
    padded = torch.nn.functional.pad(features, (0, padding))
    with torch.inference_mode():
        log_probs, counts = model(padded, torch.tensor(lengths))
        for index, length in enumerate(lengths):
            alone, (count,) = model(features[index : index + 1, :, :length], torch.tensor([length]))
            assert count == counts[index] == alone.shape[1]
            assert torch.allclose(log_probs[index, :count], alone[0], atol=1e-5)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_do_not_depend_on_padding(labels, cell, bidirectional):
    lengths = [41, 17, 30]
    gradients = []
    for padding in (0, 25):
        model = tiny_model(labels, rnn_type=cell, bidirectional=bidirectional).train()
        features = torch.nn.functional.pad(features_of(lengths), (0, padding))
        log_probs, counts = model(features, torch.tensor(lengths))
        sum(row[:count, 3].sum() for row, count in zip(log_probs, counts.tolist(), strict=True)).backward()
        gradients.append([weights.grad for weights in model.parameters()] + list(model.buffers()))
    for one, other in zip(*gradients, strict=True):
        scale = max(1.0, one.abs().max().item())
        assert torch.allclose(one.float() / scale, other.float() / scale, atol=1e-4)


def test_training_statistics_exclude_padding(labels):
    lengths = torch.tensor([60, 20])
    running = []
    for padding in (0, 100):
        model = tiny_model(labels).train()
        model(torch.nn.functional.pad(features_of(lengths.tolist()), (0, padding)), lengths)
        running.append([buffer.float() for buffer in model.buffers()])
    for one, other in zip(*running, strict=True):
        assert torch.allclose(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_results_are_log_probabilities_for_every_second_frame(labels, bidirectional):
    model = tiny_model(labels, bidirectional=bidirectional)
    lengths = torch.tensor([50, 31, 1])
    log_probs, counts = model(features_of(lengths.tolist()), lengths)
    assert log_probs.dtype == torch.float32
    assert log_probs.shape == (3, 25, 29)
    assert counts.tolist() == [25, 16, 1]
    assert torch.equal(counts, model.output_lengths(lengths))
    assert torch.allclose(log_probs.exp().sum(-1), torch.ones(3, 25), atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
def test_there_is_a_network_for_any_sample_rate(labels, rate):
    config = FeatureConfig(sample_rate=rate)
    log_probs, _ = tiny_model(labels, features=config)(torch.randn(1, config.bins, 20), torch.tensor([20]))
    assert log_probs.shape == (1, 10, 29)


def test_state_dict_names_are_those_of_deepspeech_pytorch(labels):
    names = set(tiny_model(labels, bidirectional=False).state_dict())
    norm = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    recurrent = {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"}
    assert names == {
        *(f"conv.seq_module.{index}.{name}" for index in (0, 3) for name in ("weight", "bias")),
        *(f"conv.seq_module.{index}.{name}" for index in (1, 4) for name in norm),
        *(f"rnns.{index}.rnn.{name}" for index in (0, 1) for name in recurrent),
        *(f"rnns.1.batch_norm.module.{name}" for name in norm),
        "lookahead.0.conv.weight",
        *(f"fc.0.module.0.{name}" for name in norm),
        "fc.0.module.1.weight",
    }
    both = set(tiny_model(labels).state_dict())
    assert both - names == {f"rnns.{index}.rnn.{name}_reverse" for index in (0, 1) for name in recurrent}
    assert names - both == {"lookahead.0.conv.weight"}


def test_unidirectional_models_see_the_lookahead_and_no_further(labels):
    """The convolutions reach 5 frames ahead at their own rates, the lookahead its context."""
    model = tiny_model(labels, bidirectional=False, hidden_layers=1, lookahead_context=5)
    features = features_of([120])
    changed = features.clone()
    changed[:, :, 80:] += 1
    lengths = torch.tensor([120])
    with torch.inference_mode():
        difference = (model(features, lengths)[0] - model(changed, lengths)[0]).abs().amax((0, 2))
    first = int((difference > 1e-6).nonzero()[0])
    reach = 5 + 2 * (5 + 4)  # input frames that an output frame sees ahead of its own
    assert first >= (80 - reach) / 2
    assert difference[-1] > 1e-3


def test_lookahead_is_a_weighted_sum_over_the_frames_ahead():
    torch.manual_seed(0)
    lookahead, inputs = Lookahead(3, 4), torch.rand(7, 2, 3)
    weights = lookahead.conv.weight[:, 0]  # (size, context)
    expected = torch.zeros(7, 2, 3)
    for frame in range(7):
        for ahead in range(min(4, 7 - frame)):
            expected[frame] += weights[:, ahead] * inputs[frame + ahead]
    outputs, lengths, _ = lookahead(inputs, torch.tensor([7, 7]), None, final=True)
    assert lengths.tolist() == [7, 7]
    assert torch.allclose(outputs, expected.clamp(0, 20), atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_bf16_autocast_is_close_to_float32(labels, cell):
    model = tiny_model(labels, rnn_type=cell)
    features, lengths = features_of([80, 40]), torch.tensor([80, 40])
    with torch.inference_mode():
        exact, _ = model(features, lengths)
        with torch.autocast("cpu", torch.bfloat16):
            rounded, _ = model(features, lengths)
    assert rounded.dtype == torch.float32
    assert (exact - rounded).abs().max() < 0.1


def test_dropout_acts_in_training_only(labels):
    model, features = tiny_model(labels, dropout=0.5), torch.randn(1, 161, 60)
    same, lengths = tiny_model(labels), torch.tensor([60])
    assert torch.equal(model(features, lengths)[0], same(features, lengths)[0])
    with torch.no_grad():
        first, second = (model.train()(features, lengths)[0] for _ in range(2))
    assert not torch.allclose(first, second)
