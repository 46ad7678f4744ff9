"""Where a training stands."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Progress:
    """The position of a training, and the sums of the epoch so far."""

    epoch: int = 0  # from 0
    batch: int = 0  # batches of the epoch that are done
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
        """Saved values may be damaged."""
        numbers = [value for name, value in vars(self).items() if name != "named"]
        if {int} != {type(each) for each in (self.epoch, self.batch, *self.named)}:
            raise TypeError("progress has values of a wrong type")
        if not all(isinstance(each, int | float) for each in numbers) or min(self.epoch, self.batch) < 0:
            raise ValueError("progress has values that are no counts")

    def __str__(self) -> str:
        loss = self.loss / max(self.utterances, 1)
        return f"loss {loss:.2f}, {self.audio_seconds / max(self.seconds, 1e-9):.0f} audio-s/s"
