"""Files at URLs (s3://, gs://, file://, ...), through fsspec."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fsspec

from deepspeech.errors import InputError

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


def is_url(path: str | Path) -> bool:
    """Whether a path is a URL."""
    return "://" in str(path)


def open_url(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of a URL, and the path in it.

    Raises:
        InputError: No installed package handles such URLs.
    """
    try:
        filesystem, path = fsspec.url_to_fs(url)
        return filesystem, str(path)
    except (ImportError, ValueError) as error:
        package = PACKAGES.get(url.partition("://")[0])
        remedy = f"pip install {package}" if package else "give another one"
        raise InputError(f"{url}: no way to open such a URL: {error}; {remedy}") from None


@contextlib.contextmanager
def local_copy(path: str | Path) -> Iterator[str | Path]:
    """The file itself or, within `with`, a copy of what a URL names.

    Raises:
        InputError: It cannot be fetched.
    """
    if not is_url(path):
        yield path
        return
    filesystem, source = open_url(str(path))
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "file")
        try:
            filesystem.get_file(source, copy)
        except Exception as error:  # every filesystem has its own
            raise InputError(f"{path}: cannot fetch it: {reason(error)}; correct the URL") from None
        yield copy


def reason(error: Exception) -> str:
    """The error of a filesystem in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
