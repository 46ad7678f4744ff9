"""Convert models: `python -m deepspeech.commands.export export-v2 MODEL OUT`."""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import torch

from deepspeech import cli
from deepspeech.atomic_file import write_atomic
from deepspeech.checkpoint import deepspeech_pytorch
from deepspeech.checkpoint.format import build_model, load_checkpoint
from deepspeech.errors import InputError


def export_v2(path: str | Path, target: str | Path) -> None:
    """Write a model as a file that deepspeech.pytorch 2.x loads; say what it will do differently.

    Raises:
        InputError: The model cannot be read, or the file cannot be written.
    """
    content = load_checkpoint(path)
    build_model(content, path)
    training = None if content["imported"] else content["training"]
    try:
        exported = deepspeech_pytorch.export(content["config"], content["state_dict"], training)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged checkpoint: its training state: {error}") from None
    buffer = io.BytesIO()
    torch.save(exported, buffer)
    write_atomic(target, buffer.getbuffer())
    print(f"{target}: a model of deepspeech.pytorch 2.x")
    for note in deepspeech_pytorch.caveats(content["config"]):
        print(f"Note: {note}")


def main(argv: Sequence[str] | None = None) -> None:
    """The command line `python -m deepspeech.commands.export export-v2 MODEL OUT`."""
    parser = argparse.ArgumentParser(
        prog="python -m deepspeech.commands.export", description="Convert models."
    )
    command = parser.add_subparsers(required=True).add_parser(
        "export-v2", help="write a model as a file of deepspeech.pytorch 2.x"
    )
    command.add_argument("model", metavar="MODEL", help="a model or checkpoint")
    command.add_argument("out", metavar="OUT", help="the file to write")
    arguments = parser.parse_args(argv)
    export_v2(arguments.model, arguments.out)


if __name__ == "__main__":
    cli.run(main)
