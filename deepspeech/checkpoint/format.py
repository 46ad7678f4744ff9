"""Model files: atomic to write, safe to read.

A file holds plain data and tensors only, so that it loads without running code:

    {"format": 1, "config": ModelConfig as a dict, "state_dict": ..., "training": ... or None}

Files of deepspeech.pytorch are recognised and read as well.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from deepspeech import cli
from deepspeech.checkpoint import deepspeech_pytorch, remote, safe_load
from deepspeech.checkpoint.validation import check_config, check_tensors
from deepspeech.errors import InputError
from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.training.config import ModelConfig

FORMAT = 1
NAME = re.compile(r"deepspeech_checkpoint_epoch_(\d+)(?:_iter_(\d+))?\.pth")


def save_checkpoint(path: str | Path, model: DeepSpeech, training: dict[str, Any] | None = None) -> None:
    """Write a model, all or nothing: a file of that name is replaced only by a complete one.

    Args:
        path: Where to; its folder is made.
        model: Weights, architecture, labels and features.
        training: Plain data and tensors that training needs to go on.

    Raises:
        InputError: The file cannot be written.
    """
    content = {
        "format": FORMAT,
        "config": model.config.to_dict(),
        "state_dict": model.state_dict(),
        "training": training,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getbuffer())


def write_atomic(path: str | Path, data: bytes | memoryview) -> None:
    """Write a temporary file beside `path`, flush it to the disk, and rename it.

    Raises:
        InputError: The file cannot be written; one that was there is as it was.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise InputError(
            f"{path}: cannot write: {error.strerror}; make room or choose another folder "
            "(files written before are intact)"
        ) from None


def check_writable(folder: str | Path, flag: str) -> None:
    """Make a folder if need be and see, before any work is done, whether files can be written there.

    Raises:
        InputError: They cannot; names the flag that gave the folder.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{flag} {folder}: cannot write there: {error.strerror}; choose another folder"
        ) from None


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file of `save_checkpoint` or of deepspeech.pytorch onto the CPU, and check it.

    Returns:
        `config` (a `ModelConfig`), `state_dict`, `training` (what `Trainer.load_state_dict` takes,
        or None) and `imported` (whether deepspeech.pytorch wrote it: then `training` is what
        `deepspeech.checkpoint.deepspeech_pytorch.Imported` says).

    Raises:
        InputError: No such file, or not a whole and sound checkpoint.
    """
    with remote.local_copy(path) as file:
        content = safe_load.read(file, name=path)
    if not isinstance(content, dict) or "state_dict" not in content:
        raise InputError(f"{path}: not a checkpoint of train.py or of deepspeech.pytorch; give one")
    try:
        if "format" not in content and "config" not in content:
            return _imported(path, content)
        if content["format"] != FORMAT:
            raise InputError(f"its format is {content['format']!r}, this version reads {FORMAT}")
        content["config"] = ModelConfig.from_dict(content["config"])
        content["state_dict"] = dict(content["state_dict"])
        check_tensors(content["state_dict"])
        check_config(content["config"], content["state_dict"])
        content.setdefault("training", None)
        if not isinstance(content["training"], dict | None):
            raise InputError("its training state is no dictionary")
        return content | {"imported": False}
    except Exception as error:  # anything may stand where something else belongs
        reason = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:300]
        raise InputError(f"{path}: damaged checkpoint: {reason}; take another one") from None


def _imported(path: str | Path, content: dict[str, Any]) -> dict[str, Any]:
    model = deepspeech_pytorch.convert(content)
    for note in model.notes:
        tqdm.write(f"{path}: {note}", file=sys.stderr)
    return {
        "config": model.config,
        "state_dict": model.state_dict,
        "training": model.training,
        "imported": True,
    }


def build_model(content: dict[str, Any], path: str | Path) -> DeepSpeech:
    """The network of a loaded checkpoint.

    Raises:
        InputError: Its architecture is none, or its weights do not fit it.
    """
    try:
        model = DeepSpeech(content["config"])
        model.load_state_dict(content["state_dict"])
    except (InputError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: damaged checkpoint: {reason}; take another one") from None
    return model


def load_model(path: str | Path, device: str | torch.device = "cpu") -> DeepSpeech:
    """A network ready for inference.

    Args:
        path: A model or checkpoint; a path or a URL.
        device: Where to put it.

    Raises:
        InputError: The file is missing, damaged or no model.
    """
    return build_model(load_checkpoint(path), path).to(device).eval()


def checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoints of a folder, oldest first by the epoch and iteration in their names."""
    folder = Path(folder)
    return [folder / name for name in in_order(path.name for path in folder.glob("*.pth"))]


def in_order(names: Iterable[str]) -> list[str]:
    """Those of the file names that checkpoints have, oldest first."""

    def position(name: str) -> tuple[int, float]:
        epoch, iteration = NAME.fullmatch(name).groups()
        return int(epoch), float(iteration) if iteration else float("inf")

    return sorted(filter(NAME.fullmatch, names), key=position)


def checkpoint_name(epoch: int, iteration: int | None = None) -> str:
    """File name after an epoch, or within it; both count from 1."""
    middle = "" if iteration is None else f"_iter_{iteration}"
    return f"deepspeech_checkpoint_epoch_{epoch}{middle}.pth"


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
    """The command line `python -m deepspeech.checkpoint.format export-v2 MODEL OUT`."""
    parser = argparse.ArgumentParser(
        prog="python -m deepspeech.checkpoint.format", description="Convert models."
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
