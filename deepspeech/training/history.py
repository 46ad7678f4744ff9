"""The history of a training run: a table, a figure, TensorBoard events."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from deepspeech.atomic_file import check_writable, write_atomic, write_csv
from deepspeech.errors import InputError

if TYPE_CHECKING:
    from torch.nn import Module

TABLE, FIGURE = "metrics.csv", "curves.png"


@dataclass(frozen=True)
class EpochRow:
    """One epoch; rates are fractions of 1."""

    epoch: int  # from 1
    train_loss: float  # CTC loss, mean over the utterances
    val_loss: float
    wer: float
    cer: float
    learning_rate: float
    seconds: float  # without validation
    audio_seconds: float
    data_wait: float  # fraction of `seconds` spent waiting for data
    skipped_steps: int  # whose loss or gradient is not finite
    too_short: int  # utterances with fewer output frames than CTC needs
    unreadable: int  # utterances left out because they cannot be read

    def __str__(self) -> str:
        known = not math.isnan(self.wer)
        rates = f"WER {100 * self.wer:.2f} %, CER {100 * self.cer:.2f} %" if known else "no references"
        text = (
            f"epoch {self.epoch}: train loss {self.train_loss:.2f}, val loss {self.val_loss:.2f}, "
            f"{rates}, lr {self.learning_rate:.2e}, "
            f"{self.seconds:.0f} s, {self.audio_seconds / max(self.seconds, 1e-9):.0f} audio-s/s, "
            f"data wait {100 * self.data_wait:.1f} %"
        )
        counts = {
            "steps skipped": self.skipped_steps,
            "too short for their transcript": self.too_short,
            "unreadable": self.unreadable,
        }
        return text + "".join(f", {number} {name}" for name, number in counts.items() if number)


def write_history(folder: Path, title: str, rows: Sequence[EpochRow]) -> None:
    """Write one row per epoch to a folder, as a table and a figure.

    Raises:
        InputError: They cannot be written.
    """
    names = [entry.name for entry in fields(EpochRow)]
    write_csv(folder / TABLE, [names, *map(astuple, rows)])
    write_atomic(folder / FIGURE, _figure(title, rows))


def _figure(title: str, rows: Sequence[EpochRow]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(title)
    losses = {"training": [row.train_loss for row in rows], "validation": [row.val_loss for row in rows]}
    errors = {"WER": [100 * row.wer for row in rows], "CER": [100 * row.cer for row in rows]}
    panels = {"CTC loss per utterance": losses, "validation errors, %": errors}
    for axes, (label, curves) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for name, values in curves.items():
            axes.plot([row.epoch for row in rows], values, "o-", label=name)
        axes.set(xlabel="epoch", ylabel=label, ylim=(0, None))
        axes.legend()
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    best = min(rows, key=lambda row: (math.isnan(row.wer), row.wer))
    axes.annotate(
        f"{100 * best.wer:.1f} %", (best.epoch, 100 * best.wer), xytext=(0, 8),
        textcoords="offset points", ha="center",
    )  # fmt: skip
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120)
    return data.getvalue()


class TensorBoard:
    """Epoch rows as TensorBoard events.

    Raises:
        InputError: The tensorboard package is missing, or the folder cannot be written.
    """

    def __init__(self, folder: str, name: str, log_params: bool) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InputError("--tensorboard: install it with `pip install tensorboard`") from None
        check_writable(folder, "--log-dir")
        self.writer = SummaryWriter(folder)
        self.name, self.log_params = name, log_params

    def add(self, row: EpochRow, model: Module) -> None:
        for entry in fields(row):
            if entry.name != "epoch":
                self.writer.add_scalar(f"{self.name}/{entry.name}", getattr(row, entry.name), row.epoch)
        if self.log_params:
            for name, weights in model.named_parameters():
                self.writer.add_histogram(name, weights.detach().float(), row.epoch)
                if weights.grad is not None:
                    self.writer.add_histogram(f"{name}/gradient", weights.grad.float(), row.epoch)
        self.writer.flush()
