"""Benchmarks for a GPU run on a CPU too, so that they do not break unnoticed."""

import re

import pytest

from tests.conftest import ROOT, run_script, script_environment


@pytest.mark.exhaustive
def test_train_step_reports_the_stages_of_a_step():
    flags = "--device cpu --tiny --threads 1 --repeats 1 --only".split()
    environment = script_environment() | {"PYTHONPATH": str(ROOT)}
    shown = run_script("benchmarks/train_step.py", *flags, "LSTM, 4 x 1 s, fp32", env=environment)
    assert shown.returncode == 0, shown.stderr
    header, row = shown.stdout.splitlines()[-2:]
    columns = "audio-s/s memory step features conv recurrent ctc optimiser wait bare kernels graph"
    assert header.split() == [*columns.split(), "/", "bare", "default", "same"]
    speed, _, step, *parts = row.split("fp32")[1].split()
    assert re.fullmatch(r"\d+", speed)
    assert float(step) > 0
    assert parts[7:9] == ["-", "-"]  # kernels and graph, which only a GPU has
    assert all(float(part) >= 0 for part in parts if part != "-")
