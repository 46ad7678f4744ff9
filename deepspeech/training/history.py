"""The history of a training run: a table, a figure, samples of what it reads, TensorBoard events."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from deepspeech.atomic_file import check_writable, write_atomic, write_csv
from deepspeech.errors import InputError
from deepspeech.evaluation import figures

if TYPE_CHECKING:
    from torch.nn import Module

    from deepspeech.data.dataset import SpectrogramDataset
    from deepspeech.evaluation.evaluate import Result

TABLE, FIGURE = "metrics.csv", "curves.png"
SAMPLES = 3  # utterances that are shown


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
    epochs = [row.epoch for row in rows]
    losses = {"training": [row.train_loss for row in rows], "validation": [row.val_loss for row in rows]}
    wer, cer = (
        [100 * rate for rate in rates] for rates in zip(*((row.wer, row.cer) for row in rows), strict=True)
    )
    errors = {f"WER{_lowest(wer, epochs)}": wer, f"CER{_lowest(cer, epochs)}": cer}
    panels = {"CTC loss per utterance": losses, "validation errors, %": errors}
    with figures.new_figure(9, 3.6) as figure:
        figure.suptitle(title)
        for axes, (label, curves) in zip(figure.subplots(1, 2), panels.items(), strict=True):
            for name, values in curves.items():
                axes.plot(epochs, values, "o-", markersize=4, label=name)
            axes.set(xlabel="epoch", title=label, ylim=(0, None))
            axes.legend(loc="upper right")
            axes.xaxis.get_major_locator().set_params(integer=True)
        return figures.png(figure)


def _lowest(rates: Sequence[float], epochs: Sequence[int]) -> str:
    """Words for the legend: the lowest rate, and when."""
    rate, epoch = min(zip(rates, epochs, strict=True), key=lambda point: (math.isnan(point[0]), point[0]))
    return "" if math.isnan(rate) else f", lowest {rate:.1f} % after epoch {epoch}"


def samples(results: Sequence[Result]) -> list[Result]:
    """A few utterances, spread over the validation set: the same ones in every epoch."""
    places = {(len(results) - 1) * share // (SAMPLES - 1) for share in range(SAMPLES)}
    return [results[place] for place in sorted(places)] if results else []


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
        self.folder, self.name, self.log_params = folder, name, log_params
        show = threading.excepthook  # prints what ended a thread; TensorBoard's `add` raises it again
        threading.excepthook = lambda hook: "tensorboard" in type(hook.thread).__module__ or show(hook)

    def add_spectrogram(self, dataset: SpectrogramDataset) -> None:
        """Show what the network sees of the first utterance."""
        import matplotlib

        try:
            features = dataset[0].features
        except (IndexError, InputError):  # no utterance, or a fault that validation will name
            return
        low, high = features.min(), features.max()
        shades = ((features - low) / (high - low).clamp(min=1e-6)).flip(0).numpy()  # low frequencies below
        image = matplotlib.colormaps["magma"](shades)[:, :, :3]
        self.writer.add_image(f"{self.name}/spectrogram", image, dataformats="HWC")

    def add(self, row: EpochRow, model: Module, results: Sequence[Result] = ()) -> None:
        """Log an epoch: its row, samples of the validation's results, the weights if they were asked for.

        Raises:
            InputError: They cannot be written.
        """
        try:
            for entry in fields(row):
                if entry.name != "epoch":
                    self.writer.add_scalar(f"{self.name}/{entry.name}", getattr(row, entry.name), row.epoch)
            for number, each in enumerate(samples(results)):
                text = f"    {each.reference}\n    {each.hypothesis}"  # indented: Markdown leaves it as it is
                self.writer.add_text(f"{self.name}/sample {number + 1}", text, row.epoch)
            if self.log_params:
                for name, weights in model.named_parameters():
                    self.writer.add_histogram(name, weights.detach().float(), row.epoch)
                    if weights.grad is not None:
                        self.writer.add_histogram(f"{name}/gradient", weights.grad.float(), row.epoch)
            self.writer.flush()
        except OSError as error:
            raise InputError(f"--log-dir {self.folder}: cannot write: {error.strerror}; make room") from None
