"""Ending a training in good order when SIGTERM or Ctrl-C comes."""

from __future__ import annotations

import os
import signal
from types import TracebackType
from typing import Self

NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """Training was asked to stop and saved its state."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class StopSignals:
    """Within `with`, remembers SIGTERM and the first Ctrl-C instead of dying of them.

    A second Ctrl-C ends the process at once.
    """

    def __init__(self) -> None:
        self.received = 0  # number of the signal that came last

    def __enter__(self) -> Self:
        self._old = {number: signal.signal(number, self._remember) for number in NUMBERS}
        self._process = os.getpid()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() == self._process:  # not in a worker that was forked meanwhile
            for number, handler in self._old.items():
                signal.signal(number, handler)

    def _remember(self, number: int, frame: object) -> None:
        self.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
