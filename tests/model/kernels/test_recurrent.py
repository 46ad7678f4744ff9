"""The kernels of recurrent layers against torch's layer, one utterance at a time."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.model.kernels.recurrent import dense, persistent, persists, plain
from deepspeech.model.padding import Frames
from deepspeech.model.rnn import LAYERS, RecurrentLayer

KERNELS = [plain, persistent]  # the latter computes in any format, and in half precision on a GPU only
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def alone(rnn, inputs, lengths, size):
    """Each utterance by itself, without padding: (frames, batch, hidden), directions summed."""
    columns = []
    for index, length in enumerate(lengths.tolist()):
        outputs = rnn(inputs[:length, index])[0].unflatten(1, (-1, rnn.hidden_size)).sum(1)
        columns.append(torch.nn.functional.pad(outputs, (0, 0, 0, size - length)))
    return torch.stack(columns, 1)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("kernel", KERNELS)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    padding=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_every_kernel_equals_utterances_alone(kernel, cell, bidirectional, lengths, padding, seed):
    torch.manual_seed(seed)
    layer = RecurrentLayer(cell, 6, 5, bidirectional, batch_norm=False)
    lengths = torch.tensor(lengths)
    size = int(lengths.max()) + padding
    frames = Frames(lengths, size)
    inputs = torch.randn(size, len(lengths), 6) * 2 + 1  # padding too: it must not matter
    gradient = torch.randn(size, len(lengths), 5)
    results = []
    for run in (
        lambda x: frames.clear(
            dense(kernel, layer.rnn, x, frames, layer.weights(), layer.start(len(lengths)), torch.float32)[0]
        ),
        lambda x: alone(layer.rnn, x, lengths, size),
    ):
        own = inputs.clone().requires_grad_()
        outputs = run(own)
        results.append([outputs, *torch.autograd.grad(outputs, [own, *layer.rnn.parameters()], gradient)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_carried_state_continues_the_sequence(kernel, cell):
    torch.manual_seed(0)
    layer = RecurrentLayer(cell, 6, 5, bidirectional=False, batch_norm=False)
    inputs, weights = torch.randn(9, 3, 6), layer.weights()

    def run(part, state):
        frames = Frames(torch.full((3,), len(part)), len(part))
        return dense(kernel, layer.rnn, part, frames, weights, state, torch.float32)

    whole, end = run(inputs, layer.start(3))
    first, state = run(inputs[:4], layer.start(3))
    second, after = run(inputs[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(after, end)


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cell", LAYERS)
def test_gpu_equals_cpu(cell, dtype):
    torch.manual_seed(0)
    layer = RecurrentLayer(cell, 24, 16, True, batch_norm=True)
    lengths = torch.tensor([40, 7, 23])
    inputs = torch.randn(40, 3, 24)
    expected, _ = layer(inputs, Frames(lengths, 40))
    layer.cuda()
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        outputs, _ = layer(inputs.cuda(), Frames(lengths, 40, torch.device("cuda")))
    assert outputs.dtype == dtype
    tolerance = 1e-3 if dtype == torch.float32 else 0.05  # tf32 may be on
    torch.testing.assert_close(outputs.float().cpu(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    ("cell", "hidden", "batch", "gpu", "expected"),
    [
        ("lstm", 800, 10, (9, 0, 132), True),
        ("lstm", 800, 10, (8, 6, 84), False),
        ("lstm", 800, 10, (8, 0, 56), False),
        ("lstm", 800, 10, (7, 0, 132), False),
        ("lstm", 1025, 10, (9, 0, 132), False),
        ("lstm", 800, 129, (9, 0, 132), False),
        ("gru", 800, 10, (9, 0, 132), False),
    ],
)
def test_persistent_kernels_run_what_torch_lets_them(monkeypatch, cell, hidden, batch, gpu, expected):
    names = "major", "minor", "multi_processor_count"
    found = SimpleNamespace(**dict(zip(names, gpu, strict=True)))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: found)
    inputs = SimpleNamespace(is_cuda=True, device=None, shape=(5, batch, 8))  # a GPU's, on any machine
    with torch.device("meta"):
        assert persists(LAYERS[cell](8, hidden), inputs) == expected
