"""Many short rows of numbers or text in two arrays.

A Python object per row costs hundreds of bytes, and its reference count makes every worker process copy its
memory page. Arrays avoid both.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np


class RaggedArray:
    """An immutable sequence of rows of numbers of one type, each of its own length.

    Args:
        rows: Arrays of that type, read once.
        dtype: Type of the numbers.
    """

    def __init__(self, rows: Iterable[array[Any] | np.ndarray], dtype: np.typing.DTypeLike) -> None:
        values, ends = bytearray(), array("q", [0])
        for row in rows:
            values += row.tobytes()
            ends.append(len(values))
        self.values = np.frombuffer(values, dtype)
        self.ends = np.frombuffer(ends, np.int64) // np.dtype(dtype).itemsize

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        index = range(len(self))[index]  # negative ones count from the end
        return self.values[self.ends[index] : self.ends[index + 1]]


class Strings:
    """An immutable sequence of strings, held as UTF-8 in one array.

    Args:
        strings: Read once.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        self.rows = RaggedArray((np.frombuffer(each.encode(), np.uint8) for each in strings), np.uint8)

    def __getitem__(self, index: int) -> str:
        return self.rows[index].tobytes().decode()
