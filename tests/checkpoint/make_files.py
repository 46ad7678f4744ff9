"""Make the checkpoints in `files/`, and record what each of them computes and how its training run ends.

They come from the last version that had all modules in one folder. To make them again, check out its commit,
f987221, copy this file to `tests/make_files.py` there and run

    OMP_NUM_THREADS=1 python -m tests.make_files FOLDER

In both convolutions all channels but two have zero weights. Training leaves these at zero, so that a file of
a megabyte compresses to a few kilobytes.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import deepspeech
from tests.conftest import ROOT, make_corpus

ALIVE = 2  # channels
BINS = 33
COMMON = ["--num-workers", "0", "--batch-size", "4", "--no-cuda", "--precision", "fp32", "--checkpoint"]
COMMON += ["--checkpoint-per-iteration", "2"]
SMALL = ["--hidden-size", "8", "--sample-rate", "8000", "--window-size", "0.008"]
LAST = "deepspeech_checkpoint_epoch_3.pth"


@dataclass(frozen=True)
class Kind:
    """A kind of checkpoint: how its training run goes, and which of the files it leaves is kept."""

    model: str  # flags of the model
    training: str  # flags of the whole run and of the resumed one
    file: str = "deepspeech_checkpoint_epoch_1.pth"
    finetune: str = ""  # flags of the whole run only


KINDS = {
    "final": Kind("--rnn-type lstm --hidden-layers 2", "--lr 1e-3", "deepspeech_final.pth"),
    "within_epoch": Kind(
        "--rnn-type gru --hidden-layers 1", "--lr 1e-3", "deepspeech_checkpoint_epoch_2_iter_2.pth"
    ),
    "adam": Kind("--rnn-type lstm --hidden-layers 1", "--adam --lr 2e-3 --schedule cosine"),
    "streaming": Kind(
        "--rnn-type gru --hidden-layers 1 --no-bidirectional --lookahead-context 5 --normalize running",
        "--lr 1e-3",
    ),
    "rnn": Kind("--rnn-type rnn --hidden-layers 1", "--lr 1e-3"),
    "finetuned": Kind(
        "--rnn-type gru --hidden-layers 1", "--lr 1e-3 --freeze-epochs 2", finetune="--finetune"
    ),
    "v2": Kind("--rnn-type gru --hidden-layers 1", "--lr 1e-3"),
}


def main(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(Path(folder, "corpus"))
        for name, kind in KINDS.items():
            make(name, kind, [*corpus.flags(), *COMMON], Path(folder, name), target)


def make(name: str, kind: Kind, common: list[str], folder: Path, target: Path) -> None:
    run("train.py", *common, *SMALL, *kind.model.split(), "--epochs", "1", "--save-folder", folder / "first")
    prune(folder / "first" / "deepspeech_final.pth", folder / "start.pth")
    flags = [*common, *kind.training.split(), "--epochs", "3"]
    labels = json.loads((ROOT / "labels.json").read_text(encoding="utf-8"))
    (folder / "labels.json").write_text(json.dumps(labels[::-1]), encoding="utf-8")
    finetune = [*kind.finetune.split(), "--labels-path", folder / "labels.json"] if kind.finetune else []
    start = ["--continue-from", folder / "start.pth"]
    run("train.py", *flags, *start, *finetune, "--save-folder", folder / "whole")
    file = folder / "whole" / kind.file
    if name == "v2":
        run("-m", "deepspeech.checkpoint", "export-v2", file, folder / "v2.pth")
        file = folder / "v2.pth"
    run("train.py", *flags, "--continue-from", file, "--save-folder", folder / "resumed")
    final = weights(folder / "whole" / LAST)
    resumed = weights(folder / "resumed" / LAST)
    assert all(np.array_equal(final[key], resumed[key]) for key in final)
    generator = torch.Generator().manual_seed(0)
    features, lengths = torch.randn(2, BINS, 60, generator=generator), torch.tensor([60, 41])
    with torch.inference_mode():
        log_probs, frames = deepspeech.load_model(file)(features, lengths)
    outputs = {"features": features, "lengths": lengths, "log_probs": log_probs, "frames": frames}
    arrays = {key: value.numpy() for key, value in outputs.items()}
    np.savez_compressed(target / f"{name}.npz", **arrays, **{f"final/{key}": final[key] for key in final})
    (target / f"{name}.pth.gz").write_bytes(gzip.compress(file.read_bytes(), mtime=0))


def run(*command: object) -> None:
    subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True)


def weights(path: Path) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in torch.load(path)["state_dict"].items()}


def prune(source: Path, target: Path) -> None:
    """Zero all channels but two, so exactly that no gradient reaches them; drop the training state."""
    content = torch.load(source)
    for key, value in content["state_dict"].items():
        if key.startswith("conv.") and value.dim():
            value[ALIVE:] = 1 if key.endswith("running_var") else 0
            if value.dim() == 4 and value.shape[1] > 1:
                value[:, ALIVE:] = 0
        elif key.startswith("rnns.0.rnn.weight_ih"):
            value.view(len(value), 32, -1)[:, ALIVE:] = 0
    torch.save(content | {"training": None}, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
