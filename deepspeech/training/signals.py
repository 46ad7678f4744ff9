"""Stop training cleanly on SIGTERM or Ctrl-C."""

from __future__ import annotations

import signal
from typing import Self

NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """Training stopped because of a signal; its state is saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class StopSignals:
    """Within `with`, records SIGTERM and the first Ctrl-C; a second Ctrl-C ends the process at once."""

    def __init__(self) -> None:
        self.received = 0  # number of the last signal of this process, or 0

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._record) for number in NUMBERS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _record(self, number: int, frame: object) -> None:
        self.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
