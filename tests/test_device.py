"""Number formats of the processor at hand."""

import os
import subprocess
import sys

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
