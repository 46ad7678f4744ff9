"""The recurrent layers of a training step alone, as torch runs them: the reference of `device_step.py`."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from deepspeech.model.rnn import LAYERS

if TYPE_CHECKING:
    from device_step import Case


PRECISIONS = {  # of matrix products, convolutions and recurrent layers in float32
    "fp32": ("ieee", "ieee", "ieee"),
    "default": ("ieee", "tf32", "tf32"),
    "tf32": ("tf32", "tf32", "tf32"),
    "bf16": ("tf32", "tf32", "tf32"),
}


def use_tf32(case: Case) -> None:
    """Choose whether float32 products round their inputs to ten bits."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn
    for backend, precision in zip(backends, PRECISIONS[case.precision], strict=True):
        backend.fp32_precision = precision


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def fastest(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Seconds of the fastest of several runs, after a warm-up."""
    run()
    times = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        run()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


def make_bare(case: Case, inputs: int, device: torch.device) -> Callable[[], None]:
    """Forward and backward pass of torch's recurrent layers by themselves."""
    sizes = [inputs, *[case.hidden_size] * (case.hidden_layers - 1)]
    layers = [LAYERS[case.rnn_type](size, case.hidden_size, bidirectional=True) for size in sizes]
    layers = nn.ModuleList(layers).to(device, case.dtype)
    frames = 50 * case.seconds + 1
    batch = torch.randn(frames, case.batch, inputs, device=device, dtype=case.dtype, requires_grad=True)
    gradient = torch.randn(frames, case.batch, case.hidden_size, device=device, dtype=case.dtype)

    def run() -> None:
        hidden = batch
        for layer in layers:
            hidden = layer(hidden)[0].unflatten(2, (2, -1)).sum(2)
        hidden.backward(gradient)
        batch.grad = None
        layers.zero_grad()

    return run


def kernel_seconds(run: Callable[[], None], device: torch.device) -> float:
    """Seconds of all kernels of a run, added up; NaN on a CPU."""
    if device.type != "cuda":
        return math.nan
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run()
        synchronize(device)
    return sum(each.self_device_time_total for each in profiler.key_averages()) / 1e6


def graph_seconds(run: Callable[[], None], device: torch.device, repeats: int) -> float:
    """Seconds of a run replayed as a CUDA graph; NaN on a CPU, or where it cannot be captured."""
    if device.type != "cuda":
        return math.nan
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            run()
    except RuntimeError as error:
        print(f"no CUDA graph: {str(error).splitlines()[0]}")
        return math.nan
    return fastest(graph.replay, device, repeats)


@functools.cache
def bare_seconds(case: Case, inputs: int, device: torch.device, repeats: int) -> tuple[float, float, float]:
    """Seconds of the recurrent layers alone, of their kernels, and of a CUDA graph of them."""
    use_tf32(case)
    run = make_bare(case, inputs, device)
    return fastest(run, device, repeats), kernel_seconds(run, device), graph_seconds(run, device, repeats)
