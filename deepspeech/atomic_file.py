"""Write files atomically; check that a folder is writable."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from deepspeech.errors import InputError


def write_atomic(path: str | Path, data: bytes | memoryview) -> None:
    """Write a file beside `path`, flush it to the disk, and rename it; to devices directly. Links stay.

    Raises:
        InputError: The file cannot be written; an existing one is unchanged.
    """
    path = Path(os.path.realpath(path) if os.path.islink(path) else path)
    temporary = None
    try:
        if path.exists() and not path.is_file():  # /dev/null, a pipe: a file must not take its place
            path.write_bytes(data)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise InputError(
            f"{path}: cannot write: {error.strerror}; make room or choose another folder "
            "(files written before are intact)"
        ) from None


def write_csv(path: str | Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a table as `write_atomic` does; the first row holds the names of the columns."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomic(path, text.getvalue().encode())


def check_writable(folder: str | Path, flag: str) -> None:
    """Create a folder if need be and check, before any work is done, that it is writable.

    Raises:
        InputError: It is not; names the flag that sets the folder.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{flag} {folder}: cannot write there: {error.strerror}; choose another folder"
        ) from None
