"""The look of all figures, and how they become files."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from deepspeech.atomic_file import check_writable, write_atomic
from deepspeech.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ".png", ".svg", ".pdf"
STYLE = Path(__file__).parents[1] / "figures.mplstyle"


@contextlib.contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """An empty figure in the common style, which holds within the `with` block.

    Args:
        width: Inches.
        height: Inches.
    """
    import matplotlib.style  # only where something is drawn: it takes a while to import
    from matplotlib.figure import Figure

    with matplotlib.style.context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def png(figure: Figure) -> bytes:
    """The contents of a PNG file."""
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()


def check_path(path: str, flag: str) -> None:
    """Check, before any work is done, that a figure can be written.

    Raises:
        InputError: It cannot; names the flag that sets the path.
    """
    if Path(path).suffix not in FORMATS:
        raise InputError(f"{flag} {path}: give a file name that ends in {', '.join(FORMATS)}")
    check_writable(os.path.dirname(path) or ".", flag)


def save(figure: Figure, path: str) -> None:
    """Write a figure in the format of the file's suffix.

    Raises:
        InputError: The file cannot be written.
    """
    data = io.BytesIO()
    figure.savefig(data, format=Path(path).suffix[1:])
    write_atomic(path, data.getvalue())
