"""Number formats of the processor at hand."""

import os
import subprocess
import sys

import pytest
import torch

from deepspeech.device import autocast_format, format_name, number_format
from tests.conftest import ROOT

AVX2_ONLY = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}  # as a CPU without AVX-512

PROGRAM = """
import torch
from deepspeech import log
from deepspeech.device import number_format
from deepspeech.model.padding import Frames
from deepspeech.model.rnn import LAYERS, RecurrentLayer

log.configure()
cpu = torch.device("cpu")
print(number_format("auto", cpu), number_format("bf16", cpu))
inputs, frames = torch.randn(9, 2, 8), Frames(torch.tensor([9, 5]), 9)
for cell in LAYERS:
    layer = RecurrentLayer(cell, 8, 8, bidirectional=True, batch_norm=True)
    expected, _ = layer(inputs, frames)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, _ = layer(inputs, frames)
    outputs.sum().backward()
    print(cell, torch.equal(outputs, expected))
"""


def test_without_bf16_instructions_recurrent_layers_compute_in_float32():
    """There oneDNN has no bf16 LSTM at all."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | AVX2_ONLY, cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["torch.float32 torch.float32", "lstm True", "gru True", "rnn True"]
    assert result.stderr == "no native bf16 on this CPU; using fp32\n"


@pytest.mark.parametrize(
    ("index", "capability", "cudnn", "automatic", "bf16"),
    [
        (90, (9, 0), 91300, torch.bfloat16, torch.bfloat16),
        (91, (9, 0), 91002, torch.float16, torch.float32),  # torch would run recurrent layers frame by frame
        (92, (7, 5), 91300, torch.float16, torch.float32),
        (93, (8, 0), None, torch.float16, torch.float32),
    ],
)
def test_bf16_on_a_gpu_needs_its_arithmetic_and_cudnn(
    monkeypatch, capsys, index, capability, cudnn, automatic, bf16
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: cudnn)
    device = torch.device("cuda", index)  # more than any machine has
    assert number_format("auto", device) == automatic
    assert not capsys.readouterr().err
    assert number_format("bf16", device) == bf16
    notes = 0 if bf16 == torch.bfloat16 else 1
    assert len(capsys.readouterr().err.splitlines()) == notes
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: True)
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda kind: torch.bfloat16)
    assert autocast_format(device) == bf16


def test_tf32_is_named_where_float32_layers_compute_in_it(monkeypatch):
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert format_name(torch.float32, gpu) == "torch.float32 (TF32 in convolutions and recurrent layers)"
    assert format_name(torch.float32, cpu) == "torch.float32"
    assert format_name(torch.bfloat16, gpu) == "torch.bfloat16"
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert format_name(torch.float32, gpu) == "torch.float32"
