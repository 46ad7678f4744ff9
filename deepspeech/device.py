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
    """Whether the device has bfloat16 arithmetic; elsewhere it is emulated slowly, or missing.

    Before cuDNN 9.13 torch runs recurrent layers in bfloat16 frame by frame, without a word.
    """
    if device.type == "cuda":
        cudnn = torch.backends.cudnn.version() or 0  # type: ignore[no-untyped-call]  # untyped in torch
        return torch.cuda.get_device_capability(device) >= (8, 0) and cudnn >= 91300
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return native and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # oneDNN obeys ONEDNN_MAX_CPU_ISA


def format_name(dtype: torch.dtype, device: torch.device) -> str:
    """A format as messages name it. By default cuDNN rounds the inputs of float32 layers to TF32."""
    rounded = dtype == torch.float32 and device.type == "cuda" and torch.backends.cudnn.allow_tf32
    return f"{dtype}{' (TF32 in convolutions and recurrent layers)' if rounded else ''}"


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
        here = "CPU" if device.type == "cpu" else "GPU, or cuDNN is older than 9.13"
        log.warning(f"no native bf16 on this {here}; using fp32")
        precision = "fp32"
    return FORMATS[precision]


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The context in which a network computes in a format of `number_format`."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def autocast_format(device: torch.device) -> torch.dtype:
    """The format of the autocast in force; float32 without one, or for bfloat16 that is not native."""
    enabled = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type) if enabled else torch.float32
    return torch.float32 if dtype == torch.bfloat16 and not computes_bf16(device) else dtype


def random_state(device: torch.device) -> list[Tensor]:
    """Generator states of the CPU and, if it is the device, of the GPU."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_random_state(states: list[Tensor], device: torch.device) -> None:
    """The inverse of `random_state`; a GPU whose state is missing keeps its own."""
    if states:
        torch.set_rng_state(states[0])
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)
