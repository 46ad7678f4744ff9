"""Flags of deepspeech.pytorch's train.py that something else has replaced.

They are still accepted, so that old command lines run: each says what replaces it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from deepspeech import log

AUTOCAST = "mixed precision is built in: --precision auto, fp32, bf16 or fp16"
TORCHRUN = "torchrun tells each process its place: torchrun --nproc_per_node=N train.py ..."
FLAGS = {
    "--visdom": "metrics.csv and curves.png are always written, --tensorboard writes events",
    "--opt-level": AUTOCAST,
    "--keep-batchnorm-fp32": AUTOCAST + "; normalisation is always in float32",
    "--loss-scale": AUTOCAST + "; fp16 finds its loss scale by itself",
    "--static-loss-scale": AUTOCAST + "; fp16 finds its loss scale by itself",
    "--dynamic-loss-scale": AUTOCAST + "; fp16 finds its loss scale by itself",
    "--mixed-precision": AUTOCAST,
    "--dist-backend": TORCHRUN + "; GPUs talk over nccl, CPUs over gloo",
    "--dist-url": TORCHRUN,
    "--world-size": TORCHRUN,
    "--rank": TORCHRUN,
    "--gpu-rank": TORCHRUN,
    "--local_rank": TORCHRUN,
    "--local-rank": TORCHRUN,
    "--silent": "progress is one line on standard error; 2> /dev/null hides it",
    "--no-shuffle": "epochs after the first are always shuffled",
    "--model-path": "the best model goes to --save-folder under --best-val-model-name",
    "--augment": "--speed-volume-perturb changes tempo and volume",
}


class _Retired(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        log.warning(f"{option_string} has no effect: {FLAGS[self.option_strings[0]]}")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Accept the retired flags of train.py, with or without a value."""
    for flag in FLAGS:
        parser.add_argument(flag, action=_Retired, nargs="?", help=argparse.SUPPRESS)
