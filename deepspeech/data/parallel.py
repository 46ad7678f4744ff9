"""Work on many rows in threads or processes, with their faults as values."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

from tqdm import tqdm

from deepspeech import log
from deepspeech.errors import InputError

FAULTS_SHOWN = 200
THREADS = 8  # they mostly wait for the disk
BLOCK = 64  # rows that a thread takes at a time

Row = TypeVar("Row")
Result = TypeVar("Result")


class ValueOrFault(Generic[Row, Result]):
    """A function that returns its `InputError` instead of raising it.

    As a value, a fault can be collected with others, and keeps its type on the way from a worker process.
    For a `DataLoader` it is also a dataset, with the function's arguments as indices.
    """

    def __init__(self, function: Callable[[Row], Result]) -> None:
        self.function = function

    def __call__(self, row: Row) -> Result | InputError:
        try:
            return self.function(row)
        except InputError as fault:
            return fault

    __getitem__ = __call__


def ignore_signals(worker: int = 0) -> None:
    """Ctrl-C and `timeout` signal the whole process group: the main process decides when to stop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def map_checked(
    function: Callable[[Row], Result], rows: Sequence[Row], description: str
) -> tuple[list[Result], list[str]]:
    """Apply a function in threads; returns its results in order, and the messages of its InputErrors."""
    checked = ValueOrFault(function)

    def block(start: int) -> list[Result | InputError]:
        return [checked(row) for row in rows[start : start + BLOCK]]

    results: list[Result] = []
    faults: list[str] = []
    with (
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=len(rows), desc=description, unit="utterance", leave=False) as bar,
    ):
        for done in pool.map(block, range(0, len(rows), BLOCK)):
            results += [each for each in done if not isinstance(each, InputError)]
            faults += [str(each) for each in done if isinstance(each, InputError)]
            bar.update(len(done))
    return results, faults


def report_faults(path: str | Path, faults: Sequence[str], skip: bool = False) -> None:
    """Raise all faults as one error or, to skip them, log the number of rows left out.

    Raises:
        InputError: There are faults and `skip` is off.
    """
    if not faults:
        return
    if skip:
        log.warning(f"{path}: {len(faults)} faulty rows are left out, the first is {faults[0]}")
        return
    if len(faults) == 1:
        raise InputError(faults[0])
    shown = [f"{path}: {len(faults)} faulty rows; fix them or pass --skip-faulty:", *faults[:FAULTS_SHOWN]]
    if len(faults) > FAULTS_SHOWN:
        shown.append(f"... and {len(faults) - FAULTS_SHOWN} more")
    raise InputError("\n".join(shown))


def from_workers(loader: Iterable[Result]) -> Iterator[Result]:
    """The batches of torch's `DataLoader`; a worker that was killed is noticed where its batch is missing.

    torch's own handler of SIGCHLD raises wherever this process is at that moment, also within a step.

    Raises:
        InputError: A worker was killed.
    """
    number = getattr(signal, "SIGCHLD", None)  # Windows has none
    handler = signal.getsignal(number) if number else None
    batches = iter(loader)
    if number and threading.current_thread() is threading.main_thread():
        signal.signal(number, handler or signal.SIG_DFL)
    try:
        yield from batches
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(
            f"a process that loads data was killed ({error}), as happens when memory is used up; "
            "lower --num-workers or the size of batches, or make room in /dev/shm"
        ) from None
