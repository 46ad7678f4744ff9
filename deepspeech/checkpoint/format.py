"""Model files: atomic to write, safe to read.

A file holds plain data and tensors only, so that it loads without running code:

    {"format": 1, "config": ModelConfig as a dict, "state_dict": ..., "training": ... or None}

Files of deepspeech.pytorch are recognised and read as well.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from deepspeech import log
from deepspeech.atomic_file import write_atomic
from deepspeech.checkpoint import deepspeech_pytorch, remote, safe_load
from deepspeech.checkpoint.validation import check_config, check_tensors
from deepspeech.errors import InputError
from deepspeech.model.deepspeech2 import DeepSpeech, ModelConfig

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
        log.info(f"{path}: {note}")
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
