"""8-bit layers: nearly the same probabilities, from a fourth of the weights."""

import copy
import gc
import io
import weakref

import pytest
import torch

from deepspeech.audio.config import FeatureConfig
from deepspeech.errors import InputError
from deepspeech.inference.quantization import quantize
from deepspeech.model.config import ModelConfig
from deepspeech.model.deepspeech2 import DeepSpeech


def make_model(rnn_type: str, bidirectional: bool = True) -> DeepSpeech:
    torch.manual_seed(0)
    features = FeatureConfig() if bidirectional else FeatureConfig(normalize="running")
    config = ModelConfig(
        rnn_type=rnn_type,
        hidden_size=96,
        hidden_layers=2,
        labels=("_", "A", "B", " "),
        bidirectional=bidirectional,
        features=features,
    )
    return DeepSpeech(config).eval()


def size(model: torch.nn.Module) -> int:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return file.tell()


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("rnn_type", ["lstm", "gru"])
def test_probabilities_stay_nearly_the_same(rnn_type, bidirectional):
    model = make_model(rnn_type, bidirectional)
    features, lengths = torch.randn(3, 161, 60), torch.tensor([60, 31, 8])
    small = quantize(copy.deepcopy(model))
    with torch.inference_mode():
        expected, counts = model(features, lengths)
        found, same = small(features, lengths)
    assert torch.equal(counts, same)
    for row, other, count in zip(found.exp(), expected.exp(), counts.tolist(), strict=True):
        torch.testing.assert_close(row[:count], other[:count], atol=0.02, rtol=0)
        assert not torch.equal(row[:count], other[:count])


@pytest.mark.parametrize("rnn_type", ["lstm", "gru"])
def test_chunks_give_what_the_whole_gives(rnn_type):
    model = quantize(make_model(rnn_type, bidirectional=False))
    features, state, parts = torch.randn(1, 161, 80), None, []
    with torch.inference_mode():
        whole, _ = model(features, torch.tensor([80]))
        for start in range(0, 80, 16):
            chunk = features[:, :, start : start + 16]
            log_probs, _, state = model.forward_chunk(chunk, None, state, final=start == 64)
            parts.append(log_probs)
    # Activations are quantised chunk by chunk, with a scale of its own for each
    torch.testing.assert_close(torch.cat(parts, 1).exp(), whole.exp(), atol=0.02, rtol=0)


def test_weights_take_a_fraction_of_the_memory():
    model = make_model("lstm")
    assert size(quantize(copy.deepcopy(model)).rnns) < 0.3 * size(model.rnns)


def test_the_float_weights_are_released():
    model = make_model("lstm")
    weights = [weakref.ref(weight) for weight in model.rnns.parameters() if weight.dim() == 2]
    quantize(model)
    gc.collect()
    assert weights
    assert not any(weight() is not None for weight in weights)


def test_tanh_cells_are_refused():
    with pytest.raises(InputError, match="--int8: only lstm and gru"):
        quantize(make_model("rnn"))
