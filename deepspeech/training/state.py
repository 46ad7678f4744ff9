"""The state of a training run: its position, losses still on the device, and what a checkpoint stores."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from deepspeech import distributed
from deepspeech.checkpoint.format import Checkpoint
from deepspeech.data.corpus import Corpus
from deepspeech.device import set_random_state
from deepspeech.errors import InputError
from deepspeech.evaluation.evaluate import Evaluation
from deepspeech.training.history import EpochRow
from deepspeech.training.optimizer import load_optimizer_state
from deepspeech.training.selection import Selection
from deepspeech.training.train_step import TrainStep

FILES_NAMED = 20  # of the batches that stop training


class Share(NamedTuple):
    """What all ranks need to know about the batch of one."""

    utterances: int
    unreadable: list[str]  # why utterances cannot be read
    seconds: float  # of audio
    too_short: list[int]  # corpus indices of utterances that CTC cannot train on
    signal: int  # see `StopSignals.received`


@dataclass
class Progress:
    """The position of a training run, and the sums of the current epoch."""

    epoch: int = 0  # from 0
    batch: int = 0  # finished batches of the epoch
    loss: float = 0.0  # summed over utterances
    utterances: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    wait: float = 0.0  # seconds
    skipped_steps: int = 0
    too_short: int = 0
    unreadable: int = 0
    named: list[int] = field(default_factory=list)  # utterances already reported as too short

    def __post_init__(self) -> None:
        """Check the values, which may come from a damaged file."""
        numbers = [value for name, value in vars(self).items() if name != "named"]
        if {int} != {type(each) for each in (self.epoch, self.batch, *self.named)}:
            raise TypeError("progress has values of a wrong type")
        if not all(isinstance(each, int | float) for each in numbers) or min(self.epoch, self.batch) < 0:
            raise ValueError("progress has negative or non-numeric counts")

    def row(self, evaluation: Evaluation, learning_rate: float) -> EpochRow:
        """The finished epoch in the history."""
        return EpochRow(
            epoch=self.epoch + 1,
            train_loss=self.loss / max(self.utterances, 1),
            val_loss=evaluation.loss,
            wer=evaluation.words.rate,
            cer=evaluation.characters.rate,
            learning_rate=learning_rate,
            seconds=self.seconds,
            audio_seconds=self.audio_seconds,
            data_wait=self.wait / max(self.seconds, 1e-9),
            skipped_steps=self.skipped_steps,
            too_short=self.too_short,
            unreadable=self.unreadable,
        )

    def __str__(self) -> str:
        loss = self.loss / max(self.utterances, 1)
        return f"loss {loss:.2f}, {self.audio_seconds / max(self.seconds, 1e-9):.0f} audio-s/s"


class PendingLosses:
    """Losses kept on the device and read in batches, to avoid a sync every step.

    Args:
        corpus: Training data, to name the files of diverging steps.
        max_bad_steps: Stop after this many steps in a row without a finite loss or gradient.
    """

    def __init__(self, corpus: Corpus, max_bad_steps: int) -> None:
        self.corpus, self.max_bad_steps = corpus, max_bad_steps
        self.bad_steps = 0  # in a row
        self.batches: list[tuple[Tensor, int, list[int]]] = []  # since the last step
        self.steps: list[tuple[list[tuple[Tensor, int, list[int]]], Tensor]] = []  # since the last flush

    def add_batch(self, loss: Tensor, utterances: int, indices: list[int]) -> None:
        """Add a scalar loss, the number of utterances it sums, and the corpus indices of the batch."""
        self.batches.append((loss, utterances, indices))

    def add_step(self, finite: Tensor) -> None:
        """Add a step of the optimiser: whether its gradients are finite, a scalar."""
        self.steps.append((self.batches, finite))
        self.batches = []

    def flush(self, progress: Progress) -> None:
        """Copy pending losses to the host, merge them across ranks and add them to the progress.

        Raises:
            InputError: Too many steps in a row have no finite loss or gradient.
        """
        steps, self.steps = self.steps, []
        scalars = [
            each.float() for batches, finite in steps for each in (*(loss for loss, *_ in batches), finite)
        ]
        numbers = iter(torch.stack(scalars).tolist() if scalars else ())  # the only transfer
        own = [
            ([(next(numbers), *batch[1:]) for batch in batches], next(numbers) > 0) for batches, _ in steps
        ]
        for ranks in zip(*distributed.gather(own), strict=True):
            batches, finite = list(chain(*(batches for batches, _ in ranks))), ranks[0][1]
            for loss, utterances, _ in batches:
                if math.isfinite(loss):
                    progress.loss += loss
                    progress.utterances += utterances
            progress.skipped_steps += not finite
            self.bad_steps = 0 if finite else self.bad_steps + 1
            if self.bad_steps >= self.max_bad_steps:
                suspects = [indices for loss, _, indices in batches if not math.isfinite(loss)]
                suspects = suspects or [indices for *_, indices in batches]
                files = [self.corpus[index].audio_path for index in chain(*suspects)]
                more = f" and {len(files) - FILES_NAMED} more" if len(files) > FILES_NAMED else ""
                raise InputError(
                    f"no finite loss or gradient in {self.bad_steps} steps in a row, last with "
                    f"{', '.join(files[:FILES_NAMED])}{more}; listen to these files, or lower --learning-rate"
                )


@dataclass(frozen=True)
class ResumeState:
    """What training resumes from, beside the weights."""

    progress: Progress
    selection: Selection
    optimizer: dict[str, Any]  # state dict
    plan: list[int | float] = field(default_factory=list)  # `BucketingSampler.plan`
    history: list[EpochRow] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)  # state dict of the gradient scaler
    new_layers: list[str] = field(default_factory=list)  # see `Trainer`
    random: list[Tensor] = field(default_factory=list)  # generator states of the CPU and of the GPU, if used
    run: str = ""  # torchrun's id
    source: str = ""  # the checkpoint, for messages; not stored
    imported: bool = False  # from deepspeech.pytorch; not stored

    def load_into(self, step: TrainStep) -> str:
        """Load the optimiser's, scaler's and generators' states; returns words on the optimiser.

        Raises:
            InputError: The state does not fit; one from deepspeech.pytorch leaves the optimiser new instead.
        """
        try:
            load_optimizer_state(step.optimizer, self.optimizer, complete=self.imported)
            if self.scaler:
                step.scaler.load_state_dict(self.scaler)
            set_random_state(self.random, step.device)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            if not self.imported:
                raise InputError(
                    f"{self.source}: its training state does not fit: {reason}; "
                    "train with its optimiser, or pass --finetune to take only its weights"
                ) from None
            return f"with a new optimiser: {reason}"
        return "with its optimiser state"

    def to_dict(self) -> dict[str, Any]:
        """Plain data and tensors for a checkpoint."""
        stored = {name: value for name, value in vars(self).items() if name not in ("source", "imported")}
        history = [asdict(row) for row in self.history]
        plain = {"progress": asdict(self.progress), "selection": asdict(self.selection), "history": history}
        return stored | plain | {"best_wer": self.selection.wer}

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self | None:
        """The state in a checkpoint, if it has one.

        Raises:
            InputError: It is damaged.
        """
        values, source = checkpoint.training, checkpoint.source
        if values is None:
            return None
        try:
            rows = values["history"]
            if not all(isinstance(value, int | float) for row in rows for value in row.values()):
                raise TypeError("its history has non-numeric values")
            best_wer = float(values["best_wer"])  # older checkpoints have no more of the best model
            selection = values.get("selection", {"wer": best_wer, "lowest": (best_wer, math.inf)})
            typed = {
                "progress": Progress(**values["progress"]),
                "selection": Selection(**selection),
                "history": [EpochRow(**row) for row in rows],
                "new_layers": [str(each) for each in values.get("new_layers", [])],
            }
            others = {name: value for name, value in values.items() if name != "best_wer"}
            return cls(**others | typed, source=source, imported=checkpoint.imported)
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise InputError(
                f"{source}: damaged training state: {reason}; take another checkpoint, "
                "or pass --finetune to use only its weights"
            ) from None
