"""Work on many rows in threads, collecting the faults of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from deepspeech import log
from deepspeech.errors import InputError

FAULTS_SHOWN = 200
THREADS = 8  # most of the time they wait for the disk
BLOCK = 64  # rows that a thread takes at a time

Row = TypeVar("Row")
Result = TypeVar("Result")


def map_checked(
    function: Callable[[Row], Result], rows: Sequence[Row], description: str
) -> tuple[list[Result], list[str]]:
    """Apply a function in threads: its results in order, and the texts of its InputErrors."""

    def block(start: int) -> list[Result | InputError]:
        results = []
        for row in rows[start : start + BLOCK]:
            try:
                results.append(function(row))
            except InputError as fault:
                results.append(fault)
        return results

    results, faults = [], []
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
    """Raise all faults as one error or, to skip them, log how many rows are left out.

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
