"""Checkpoints: atomic to write, safe to read.

A file holds plain data and tensors only, so that it loads without running code:

    {"format": 1, "config": ModelConfig as a dict, "state_dict": ..., "training": ... or None}

Files of deepspeech.pytorch are recognised and converted.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepspeech.atomic_file import write_atomic
from deepspeech.checkpoint import deepspeech_pytorch, remote, safe_load
from deepspeech.errors import InputError
from deepspeech.model.config import ModelConfig
from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.model.hub import is_folder, read_folder
from deepspeech.model.integrity import check_config, check_tensors

FORMAT = 1
NAME = re.compile(r"deepspeech_checkpoint_epoch_(\d+)(?:_iter_(\d+))?\.pth")


@dataclass(frozen=True)
class Checkpoint:
    """A model, and the state of its training run if there is one."""

    source: str  # path or URL, for messages
    config: ModelConfig
    state_dict: dict[str, Tensor]
    training: dict[str, Any] | None  # plain data
    imported: bool = False  # from deepspeech.pytorch

    def build_model(self) -> DeepSpeech:
        """Build the network and load its weights.

        Raises:
            InputError: The configuration is invalid, or the weights do not fit it.
        """
        try:
            model = DeepSpeech(self.config)
            model.load_state_dict(self.state_dict)
        except (InputError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(self.source, error) from None
        return model


def save_checkpoint(path: str | Path, model: DeepSpeech, training: Mapping[str, Any] | None = None) -> None:
    """Write a checkpoint atomically; the folder is created if need be.

    Args:
        path: Target file; an existing one is replaced.
        model: Weights, architecture, labels and features.
        training: Plain data and tensors from which training resumes.

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
    write_atomic(path, buffer.getvalue())


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Load a file of `save_checkpoint` or of deepspeech.pytorch onto the CPU, and check it.

    A folder of `DeepSpeech.save_pretrained` is read, too.

    Raises:
        InputError: The file is missing, damaged or not a checkpoint.
    """
    if is_folder(path):
        return Checkpoint(str(path), *read_folder(path), training=None)
    with remote.local_copy(path) as file:
        content = safe_load.read(file, name=path)
    if not isinstance(content, dict) or "state_dict" not in content:
        raise InputError(f"{path}: not a checkpoint of train.py or of deepspeech.pytorch; give one")
    try:
        if "format" not in content and "config" not in content:
            return Checkpoint(str(path), *deepspeech_pytorch.convert(content, path), imported=True)
        if content["format"] != FORMAT:
            raise InputError(f"its format is {content['format']!r}, this version reads {FORMAT}")
        config, state_dict = ModelConfig.from_dict(content["config"]), dict(content["state_dict"])
        check_tensors(state_dict)
        check_config(vars(config), state_dict)
        training = content.get("training")
        if not isinstance(training, dict | None):
            raise InputError("its training state is not a dictionary")
        return Checkpoint(str(path), config, state_dict, training)
    except Exception as error:  # a damaged file may hold anything
        raise _damaged(path, error) from None


def _damaged(path: str | Path, error: Exception) -> InputError:
    reason = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:300]
    return InputError(f"{path}: damaged checkpoint: {reason}; take another one")


def load_model(path: str | Path, device: str | torch.device = "cpu") -> DeepSpeech:
    """Load a network for inference.

    Args:
        path: Path or URL of a model or checkpoint.
        device: Where to put it.

    Raises:
        InputError: The file is missing, damaged or not a model.
    """
    return load_checkpoint(path).build_model().to(device).eval()


def in_order(names: Iterable[str]) -> list[str]:
    """Those file names that are names of checkpoints, oldest first: after an epoch comes after within it."""
    found = {name: match.groups() for name in names if (match := NAME.fullmatch(name))}
    return sorted(found, key=lambda name: (int(found[name][0]), float(found[name][1] or "inf")))


def checkpoint_name(epoch: int, iteration: int | None = None) -> str:
    """File name after an epoch, or within it; both count from 1."""
    middle = "" if iteration is None else f"_iter_{iteration}"
    return f"deepspeech_checkpoint_epoch_{epoch}{middle}.pth"
