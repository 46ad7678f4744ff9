"""Messages for the user, from the first process only, and the standard streams.

The commands call `configure`. A program that uses the package as a library does not: it gets warnings and
errors as Python's `logging` shows them, and may attach handlers to the logger "deepspeech" as to any other.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import io
import logging
import os
import sys
from typing import Any, TextIO

from tqdm import tqdm

from deepspeech import distributed
from deepspeech.errors import InputError

_logger = logging.getLogger("deepspeech")
info, warning, error = _logger.info, _logger.warning, _logger.error


class _StandardError(logging.Handler):
    """Writes above progress bars, whatever standard error is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)
        sys.stderr.flush()


def _from_first_process(record: logging.LogRecord) -> bool:
    return distributed.is_rank_zero()


def configure() -> None:
    """Show messages on standard error, from the first process only. Calling it again changes nothing."""
    if not _logger.handlers:
        _logger.addHandler(_StandardError())
        _logger.addFilter(_from_first_process)
        _logger.setLevel(logging.INFO)


def secure_standard_streams() -> None:
    """Keep closed, full and narrow standard streams from losing more than what is written to them.

    Standard output escapes what its encoding lacks, and raises an `InputError` where it cannot be written to;
    standard error drops what it cannot write. Streams that a program has put in their place stay.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):  # so that output is refused
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest number that is free, this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # lives as long as the process
    if sys.stdout is sys.__stdout__:
        codecs.register_error("escape", _escape)
        sys.stdout = _writer(_StandardOutput(1, "w", closefd=False), sys.stdout, "escape")
    if sys.stderr is sys.__stderr__:
        sys.stderr = _writer(_StandardErrorOrNothing(2, "w", closefd=False), sys.stderr, "backslashreplace")


class _StandardOutput(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise InputError(
                f"standard output: {error.strerror}; let it go to a terminal, a pipe or a file with room"
            ) from None


class _StandardErrorOrNothing(io.FileIO):  # messages must not end a run
    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            super().write(data)
        return len(data)


def _writer(raw: io.FileIO, replaced: TextIO | None, errors: str) -> TextIO:
    """Text on a descriptor, with the encoding and buffering of the stream that it replaces."""
    encoding = replaced.encoding if replaced else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors, line_buffering=raw.isatty() or raw.fileno() == 2
    )


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError):
        _warn_of_escapes(sys.stdout.encoding)
    return codecs.backslashreplace_errors(error)


@functools.cache
def _warn_of_escapes(encoding: str) -> None:
    warning(f"standard output takes {encoding} only, the rest is escaped; set PYTHONIOENCODING=utf-8")


def end_output() -> None:
    """Write what is buffered; where that fails, drop it, or Python would try again when the process ends."""
    try:
        sys.stdout.flush()
    except (OSError, InputError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
