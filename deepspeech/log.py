"""Messages for the user: one logger, standard error, first process only.

The commands call `configure`. A program that uses the package as a library does not: it gets warnings and
errors as Python's `logging` shows them, and may attach handlers to the logger "deepspeech" as to any other.
"""

from __future__ import annotations

import logging
import sys

from tqdm import tqdm

from deepspeech import distributed

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
