"""Export a model to another runtime: `deepspeech export model.pth --to onnx`."""

from __future__ import annotations

import io
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from deepspeech import cli, log
from deepspeech.atomic_file import write_atomic
from deepspeech.checkpoint import deepspeech_pytorch
from deepspeech.checkpoint.format import load_checkpoint, load_model
from deepspeech.commands.test import evaluate_singly, whole
from deepspeech.commands.train import make_loader
from deepspeech.data.loader import DataConfig
from deepspeech.errors import InputError
from deepspeech.inference.recognizer import Recognizer
from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.model.hub import CARD, CardConfig
from deepspeech.options import Options, one_of, option, shown
from deepspeech.training.state import ResumeState

# What a target adds to the model's name
SUFFIXES = {"onnx": ".onnx", "sherpa": "-sherpa", "v2": "-v2.pth", "huggingface": ""}
EXAMPLES = """
deepspeech export model.pth --to onnx
deepspeech export model.pth folder --to huggingface --license cc-by-4.0 --language en
"""


@dataclass(frozen=True)
class ExportConfig(Options):
    """Files"""

    model: str = option("", "model or checkpoint; a path or a URL", positional=True, metavar="MODEL")
    out: str = option("", "file or folder to write; next to the model by default", positional=True, nargs="?")
    to: str = option(
        "onnx",
        "format: onnx, sherpa (a folder for sherpa-onnx), huggingface (a folder for the Hub) or v2 (a "
        "deepspeech.pytorch 2.x file)",
        one_of(*SUFFIXES),
        metavar="FORMAT",
    )
    features_outside: bool = option(False, "leave the spectrogram out of the graph, which takes features")

    int8: bool = option(False, "store weights of the ONNX file as 8-bit integers: a quarter of the size")
    manifest: str | None = option(
        None, "compare error rates and speed with torch on the utterances of this manifest", metavar="FILE"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for entry in (each for each in fields(self) if each.name in ("int8", "manifest")):
            if self.to != "onnx" and (value := getattr(self, entry.name)):
                raise InputError(f"{shown(entry, value)}: has no effect with --to {self.to}; leave it out")
        if self.manifest and self.features_outside:
            raise InputError(f"--manifest {self.manifest}: needs waveforms; leave out --features-outside")
        if self.features_outside and self.to != "onnx":
            raise InputError(f"--features-outside: has no effect with --to {self.to}; leave it out")


def main(argv: Sequence[str] | None = None) -> None:
    arguments = cli.parse(argv, __doc__, ExportConfig, CardConfig, examples=EXAMPLES)
    config, card = arguments.make(ExportConfig), arguments.make(CardConfig)
    if config.to != "huggingface" and card != CardConfig():
        raise InputError(f"a model card: has no effect with --to {config.to}; leave its flags out")
    target = config.out or str(Path(config.model).with_suffix("")) + SUFFIXES[config.to]
    if os.path.exists(target) and os.path.exists(config.model) and os.path.samefile(config.model, target):
        raise InputError(f"{target}: would overwrite the model itself; choose another file")
    if config.to == "v2":
        return export_v2(config.model, target)
    if config.to == "huggingface":
        return export_huggingface(config.model, target, card)
    from deepspeech.export import onnx_file, sherpa  # need onnx

    if config.to == "sherpa":
        check_new(target)
        sherpa.write_folder(load_model(config.model), target)
        log.info(f"{target}: a folder for sherpa-onnx; its README.md says how to run it")
        return

    network = load_model(config.model)
    onnx_file.write(network, target, config.features_outside, config.int8)
    kind = "for streams and whole utterances" if network.config.streams else "for whole utterances"
    size, floats = os.path.getsize(target), sum(4 * each.numel() for each in network.parameters())
    log.info(f"{target}: an ONNX model {kind}, {size / 1e6:.1f} MB, {size / floats:.0%} of its float weights")
    if config.manifest:
        compare(network, target, config.manifest)


def compare(network: DeepSpeech, target: str, manifest: str) -> None:
    """Print error rates and speed on a manifest, of the file and of the network in torch.

    Raises:
        InputError: The manifest or its audio cannot be read, or it has no words.
    """
    dataset = make_loader(manifest, network, DataConfig(num_workers=0), torch.device("cpu")).dataset
    seconds = dataset.corpus.durations.sum()
    for name, recognizer in (("torch", Recognizer(network)), (target, Recognizer.load(target))):
        start = time.perf_counter()
        evaluation = evaluate_singly(whole(recognizer), dataset, False)
        speed = seconds / (time.perf_counter() - start)
        if not evaluation.words.length:
            raise InputError(f"{manifest}: no words in the references, so there is no rate; give transcripts")
        print(f"{name}: WER {evaluation.words}, {speed:.0f} times real time")


def check_new(folder: str) -> None:
    """Check that a folder is empty or does not exist.

    Raises:
        InputError: It has files.
    """
    if os.path.exists(folder) and not (os.path.isdir(folder) and not os.listdir(folder)):
        raise InputError(f"{folder}: exists; choose another folder")


def export_huggingface(path: str, folder: str, card: CardConfig) -> None:
    """Write a folder for the Hugging Face Hub; its card also says what the checkpoint knows of its training.

    Raises:
        InputError: The model cannot be read, the folder exists and is not empty or cannot be written, or a
            package is missing.
    """
    check_new(folder)
    checkpoint = load_checkpoint(path)
    state = None if checkpoint.imported else ResumeState.of(checkpoint)
    if state and state.history:
        best, hours = state.selection, state.history[-1].audio_seconds / 3600
        card = replace(card, training=f"{state.progress.epoch} epochs of {hours:.2g} hours.")
        if math.isfinite(best.wer):
            rates = [100 * rate for rate in (best.wer, best.cer) if math.isfinite(rate)]
            validation = "validation data=" + "/".join(f"{rate:.2f}" for rate in rates)
            card = replace(card, results=(validation, *card.results))
    checkpoint.build_model().save_pretrained(folder, card)
    log.info(f"{folder}: a folder for the Hugging Face Hub; edit its {CARD}, then: hf upload NAME {folder}")


def export_v2(path: str | Path, target: str | Path) -> None:
    """Write a file that deepspeech.pytorch 2.x loads, and report what it will do differently.

    Raises:
        InputError: The model cannot be read, or the file cannot be written.
    """
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
