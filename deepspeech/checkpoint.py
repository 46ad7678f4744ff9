"""Model files: atomic to write, safe to read.

A file holds plain data and tensors only, so that it loads without running code:

    {"format": 1, "config": ModelConfig as a dict, "state_dict": ..., "training": ... or None}
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

from deepspeech.config import ModelConfig
from deepspeech.errors import InputError
from deepspeech.model import DeepSpeech

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
    """Read a file of `save_checkpoint` onto the CPU; its config comes back as a `ModelConfig`.

    Raises:
        InputError: No such file, or not a whole checkpoint.
    """
    content = _read(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: not a deepspeech checkpoint (format {FORMAT}); give one train.py wrote")
    try:
        content["config"] = ModelConfig.from_dict(content["config"])
        content["state_dict"] = dict(content["state_dict"])
        content.setdefault("training", None)
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged checkpoint: {error}; take another one") from None
    return content


def _read(path: str | Path) -> Any:
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such model file; correct the path")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    raise InputError(f"checksum of {damaged} is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in the reader
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a checkpoint that can be read: {reason}; take another file") from None


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
        path: A model or checkpoint.
        device: Where to put it.

    Raises:
        InputError: The file is missing, damaged or no model.
    """
    return build_model(load_checkpoint(path), path).to(device).eval()


def checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoints of a folder, oldest first by the epoch and iteration in their names."""

    def position(path: Path) -> tuple[int, float]:
        epoch, iteration = NAME.fullmatch(path.name).groups()
        return int(epoch), float(iteration) if iteration else float("inf")

    found = [path for path in Path(folder).glob("*.pth") if NAME.fullmatch(path.name)]
    return sorted(found, key=position)


def checkpoint_name(epoch: int, iteration: int | None = None) -> str:
    """File name after an epoch, or within it; both count from 1."""
    middle = "" if iteration is None else f"_iter_{iteration}"
    return f"deepspeech_checkpoint_epoch_{epoch}{middle}.pth"
