"""The `compiled` decorator: machine code by numba, without the GIL, cached where a folder can be written."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache, NullCache

from deepspeech import log

Function = TypeVar("Function", bound=Callable[..., Any])


# Division by zero, which never happens, as in numpy: no function can fail, so none needs to check others
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def compiled(function: Function) -> Function:
    """Compile a function at its first call; it may call other compiled functions.

    The machine code is kept in `NUMBA_CACHE_DIR`, `__pycache__`, or the user's cache folder,
    whichever can be written first, else only in memory.
    """
    dispatcher: Any = njit(**OPTIONS)(function)
    try:
        dispatcher._cache = _FolderCache(function)
    except RuntimeError:  # numba: "no locator available", no folder can be written
        dispatcher._cache = _NoCache()
    return cast(Function, dispatcher)


def compiled_part(function: Function) -> Function:
    """Compile a function that only compiled ones call and that creates no arrays.

    Without an entry for Python it compiles faster. It does not count references to arrays, which
    its callers hold, and which would take most of its time.
    """
    options = OPTIONS | {"_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return cast(Function, njit(**options)(function))


class _Announcing:
    """A cache that says what takes so long when it has nothing to load."""

    def load_overload(self, *arguments: Any) -> Any:
        found = super().load_overload(*arguments)  # type: ignore[misc]  # of a cache
        if found is None:
            _announce()
        return found


@lru_cache(maxsize=1)
def _announce() -> None:
    log.info("compiling beam search for this machine, once: up to 15 seconds")


class _NoCache(_Announcing, NullCache):
    pass


class _FolderCache(_Announcing, FunctionCache):
    """Numba's cache of a function, valid until any file of this folder changes.

    Numba itself only looks at the function's own file, and would keep running old code of
    the functions that it calls in other files.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]  # numba's caching has no types
        self._cache_file._source_stamp = _sources()

    def save_overload(self, signature: Any, result: Any) -> None:
        with contextlib.suppress(OSError):  # the disk is full, or the folder can no longer be written
            super().save_overload(signature, result)  # type: ignore[no-untyped-call]


@lru_cache(maxsize=1)
def _sources() -> str:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
