"""Which device computes, and in which number format."""

from __future__ import annotations

import ctypes

import torch

from deepspeech import distributed, log
from deepspeech.errors import InputError

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def training_device(cuda: bool) -> torch.device:
    """The GPU where there is one and `cuda` allows it, else the CPU."""
    return process_device(cuda and torch.cuda.is_available())


def process_device(cuda: bool) -> torch.device:
    """The CPU, or of the GPUs here the one for this process.

    Raises:
        InputError: There are more processes than GPUs.
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
    """Let glibc keep freed blocks for the next training step instead of returning them.

    By default every large block goes back to the system when it is freed and comes again page
    by page, zeroed: a fifth of the time of a small network's step. Elsewhere this does nothing.
    """
    mmap_max, trim_threshold = -4, -1  # <malloc.h>
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)


def computes_bf16(device: torch.device) -> bool:
    """Whether the hardware has bfloat16 arithmetic; without it bfloat16 is emulated, slowly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def number_format(precision: str, device: torch.device) -> torch.dtype:
    """The dtype for autocast; float32 means no autocast.

    On a CPU mixed precision is a rule a layer: convolutions always run in bfloat16, recurrent
    layers where that is faster (see `RecurrentLayer`).

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
        log.warning("no native bf16 on this CPU; using fp32")
        precision = "fp32"
    return FORMATS[precision]


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The context in which a network computes in a format of `number_format`."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
