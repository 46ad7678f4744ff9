"""The device to compute on: its number format and random state."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from deepspeech import distributed, log
from deepspeech.errors import InputError

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def process_device(cuda: bool) -> torch.device:
    """The CPU, or with `cuda` the GPU of this process: the one of its local rank.

    Raises:
        InputError: This machine runs more processes than it has GPUs.
    """
    if not cuda:
        return torch.device("cpu")
    index, count = distributed.local_rank(), torch.cuda.device_count()
    if index >= count:
        raise InputError(f"torchrun started more processes here than there are GPUs: {count}; start {count}")
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks for the next training step; a no-op without glibc.

    By default it returns every large block to the system, which hands it out again page by page,
    zeroed: a fifth of the time of a small network's step.
    """
    mmap_max, trim_threshold = -4, -1  # <malloc.h>
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)


@functools.cache
def computes_bf16(device: torch.device) -> bool:
    """Whether the device has bfloat16 arithmetic; elsewhere it is emulated slowly, or missing."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return native and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # oneDNN obeys ONEDNN_MAX_CPU_ISA


def number_format(precision: str, device: torch.device) -> torch.dtype:
    """The dtype for autocast; float32 means no autocast.

    On a CPU bf16 is decided per layer: convolutions always use it, recurrent layers only where
    it is faster (see `RecurrentLayer`).

    Args:
        precision: "auto", "fp32", "bf16" or "fp16".
        device: Where the network runs.

    Raises:
        InputError: fp16 on a CPU.
    """
    if precision == "auto":
        precision = "bf16" if computes_bf16(device) else "fp32" if device.type == "cpu" else "fp16"
    if precision == "fp16" and device.type == "cpu":
        raise InputError("--precision fp16: the CPU computes in fp32 or bf16; choose one of them")
    if precision == "bf16" and not computes_bf16(device):
        log.warning(f"no native bf16 on this {'GPU' if device.type == 'cuda' else 'CPU'}; using fp32")
        precision = "fp32"
    return FORMATS[precision]


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The context in which a network computes in a format of `number_format`."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def autocast_format(device: torch.device) -> torch.dtype:
    """The format of the autocast in force; float32 without one, or on a CPU without native bfloat16."""
    if not torch.is_autocast_enabled(device.type) or (device.type == "cpu" and not computes_bf16(device)):
        return torch.float32
    return torch.get_autocast_dtype(device.type)


def random_state(device: torch.device) -> list[Tensor]:
    """Generator states of the CPU and, if it is the device, of the GPU."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_random_state(states: list[Tensor], device: torch.device) -> None:
    """The inverse of `random_state`; a GPU whose state is missing keeps its own."""
    if states:
        torch.set_rng_state(states[0])
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)
