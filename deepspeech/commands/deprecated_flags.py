"""Flags of deepspeech.pytorch's train.py that have no effect here; each warns and names its replacement."""

from __future__ import annotations

import argparse

from deepspeech import log

AUTOCAST = "mixed precision is built in: --precision auto, fp32, bf16 or fp16"
LOSS_SCALE = AUTOCAST + "; fp16 scales the loss automatically"
TORCHRUN = "torchrun sets the ranks: torchrun --nproc_per_node=N train.py ..."
FLAGS = {
    "--visdom": "metrics.csv and curves.png are always written, --tensorboard writes events",
    "--opt-level": AUTOCAST,
    "--keep-batchnorm-fp32": AUTOCAST + "; batch norm is always in fp32",
    "--loss-scale": LOSS_SCALE,
    "--static-loss-scale": LOSS_SCALE,
    "--dynamic-loss-scale": LOSS_SCALE,
    "--mixed-precision": AUTOCAST,
    "--dist-backend": TORCHRUN + "; GPUs use nccl, CPUs gloo",
    "--dist-url": TORCHRUN,
    "--world-size": TORCHRUN,
    "--rank": TORCHRUN,
    "--gpu-rank": TORCHRUN,
    "--local_rank": TORCHRUN,
    "--local-rank": TORCHRUN,
    "--silent": "progress is one line on standard error; hide it with 2> /dev/null",
    "--no-shuffle": "epochs after the first are always shuffled",
    "--model-path": "the best model is saved in --save-folder as --best-val-model-name",
    "--augment": "--speed-volume-perturb changes tempo and volume",
}


class _Deprecated(argparse.Action):
    def __call__(
        self, parser: object, namespace: object, values: object, option_string: str | None = None
    ) -> None:
        log.warning(f"{option_string} has no effect: {FLAGS[self.option_strings[0]]}")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Accept the deprecated flags, with or without a value."""
    for flag in FLAGS:
        parser.add_argument(flag, action=_Deprecated, nargs="?", help=argparse.SUPPRESS)
