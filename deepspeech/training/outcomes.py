"""What came of training steps, left on the device until somebody wants to know."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchOutcome:
    """A batch that went through the network."""

    loss: float | Tensor  # summed over its utterances; a tensor until it is read
    utterances: int  # that have a loss
    indices: list[int]  # of its utterances in the corpus


@dataclass(frozen=True)
class StepOutcome:
    """An update of the weights, or one that was skipped."""

    batches: list[BatchOutcome]  # since the step before
    finite: bool | Tensor  # whether the gradients were; a tensor until it is read


class Outcomes:
    """Collects outcomes. Reading them makes the host wait for a GPU, so that is done now and then only."""

    def __init__(self) -> None:
        self.batches: list[BatchOutcome] = []  # since the last step
        self.steps: list[StepOutcome] = []  # since the last reading

    def add_batch(self, loss: Tensor, utterances: int, indices: list[int]) -> None:
        self.batches.append(BatchOutcome(loss, utterances, indices))

    def add_step(self, finite: Tensor) -> None:
        self.steps.append(StepOutcome(self.batches, finite))
        self.batches = []

    def read(self) -> list[StepOutcome]:
        """The steps since the last reading, with numbers instead of tensors."""
        steps, self.steps = self.steps, []
        tensors = [each for step in steps for each in (*(batch.loss for batch in step.batches), step.finite)]
        if not tensors:
            return []
        numbers = iter(torch.stack([each.float() for each in tensors]).tolist())  # the only transfer
        return [
            StepOutcome([replace(each, loss=next(numbers)) for each in step.batches], bool(next(numbers)))
            for step in steps
        ]
