"""Write a model as a deepspeech.pytorch 2.x file."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from deepspeech import cli, log
from deepspeech.atomic_file import write_atomic
from deepspeech.checkpoint import deepspeech_pytorch
from deepspeech.checkpoint.format import load_checkpoint
from deepspeech.errors import InputError
from deepspeech.options import Options, option


@dataclass(frozen=True)
class ExportConfig(Options):
    """Files"""

    model: str = option("", "model or checkpoint; a path or a URL", positional=True, metavar="MODEL")
    out: str = option("", "file to write", positional=True, metavar="OUT")


def main(argv: Sequence[str] | None = None) -> None:
    config = cli.parse(argv, __doc__, ExportConfig).make(ExportConfig)
    export_v2(config.model, config.out)


def export_v2(path: str | Path, target: str | Path) -> None:
    """Write a file that deepspeech.pytorch 2.x loads, and report what it will do differently.

    Raises:
        InputError: The model cannot be read, or the file cannot be written.
    """
    if os.path.exists(target) and os.path.exists(path) and os.path.samefile(path, target):
        raise InputError(f"{target}: would overwrite the model itself; choose another file")
    checkpoint = load_checkpoint(path)
    checkpoint.build_model()  # to check that the weights fit
    training = None if checkpoint.imported else checkpoint.training
    try:
        exported = deepspeech_pytorch.export(checkpoint.config, checkpoint.state_dict, training)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged checkpoint: its training state: {error}") from None
    buffer = io.BytesIO()
    torch.save(exported, buffer)
    write_atomic(target, buffer.getvalue())
    print(f"{target}: a deepspeech.pytorch 2.x model")
    for caveat in deepspeech_pytorch.caveats(checkpoint.config):
        log.warning(f"{target}: {caveat}")
