"""Stop training cleanly: on SIGTERM or Ctrl-C, and at errors."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import torch

from deepspeech import distributed, log
from deepspeech.errors import InputError

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


@contextmanager
def at_errors(save_position: Callable[[bool], str], device: torch.device) -> Iterator[None]:
    """Save the position of a run that an error ends.

    Args:
        save_position: Returns words for the user; its argument says whether all ranks call it.
        device: Where the network is.

    Raises:
        InputError: It came within `with`, on all ranks, or memory is used up.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}; {save_position(True)}") from None
    except (torch.OutOfMemoryError, MemoryError):
        raise InputError(
            f"{device}: out of memory; use the --batch-seconds that --find-batch prints; "
            f"{save_position(distributed.world_size() == 1)}"
        ) from None
    except Interrupted:
        raise
    except Exception:  # not foreseen, or another rank is gone
        log.error(save_position(distributed.world_size() == 1))
        raise
