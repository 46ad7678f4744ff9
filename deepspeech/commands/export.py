"""Export a model to another runtime: `deepspeech export model.pth --to onnx`."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepspeech import cli, log
from deepspeech.atomic_file import write_atomic
from deepspeech.checkpoint import deepspeech_pytorch
from deepspeech.checkpoint.format import load_checkpoint, load_model
from deepspeech.errors import InputError
from deepspeech.options import Options, one_of, option

SUFFIXES = {"onnx": ".onnx", "v2": "-v2.pth"}  # what a target adds to the model's name


@dataclass(frozen=True)
class ExportConfig(Options):
    """Files"""

    model: str = option("", "model or checkpoint; a path or a URL", positional=True, metavar="MODEL")
    out: str = option("", "file to write; next to the model by default", positional=True, nargs="?")
    to: str = option(
        "onnx", "format: onnx, or v2 (a deepspeech.pytorch 2.x file)", one_of(*SUFFIXES), metavar="FORMAT"
    )
    features_outside: bool = option(
        False, "leave the spectrogram out of the ONNX graph, which takes features"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features_outside and self.to != "onnx":
            raise InputError(f"--features-outside: has no effect with --to {self.to}; leave it out")


def main(argv: Sequence[str] | None = None) -> None:
    config = cli.parse(argv, __doc__, ExportConfig).make(ExportConfig)
    target = config.out or str(Path(config.model).with_suffix("")) + SUFFIXES[config.to]
    if os.path.exists(target) and os.path.exists(config.model) and os.path.samefile(config.model, target):
        raise InputError(f"{target}: would overwrite the model itself; choose another file")
    if config.to == "v2":
        return export_v2(config.model, target)
    from deepspeech.export import onnx_file  # needs onnx

    network = load_model(config.model)
    onnx_file.write(network, target, config.features_outside)
    kind = "for streams and whole utterances" if onnx_file.streams(network) else "for whole utterances"
    print(f"{target}: an ONNX model {kind}, {os.path.getsize(target) / 1e6:.1f} MB")


def export_v2(path: str | Path, target: str | Path) -> None:
    """Write a file that deepspeech.pytorch 2.x loads, and report what it will do differently.

    Raises:
        InputError: The model cannot be read, or the file cannot be written.
    """
    import torch

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
