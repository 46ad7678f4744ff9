"""Many short rows in two arrays.

A Python object a row costs hundreds of bytes, and its reference count makes every worker
process copy the page it lies on. Arrays cost neither.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np


class RaggedArray(Sequence[np.ndarray]):
    """Rows of numbers of one type, each of its own length; unchangeable.

    Args:
        rows: Buffers of numbers of that type; they are read once, one after the other.
        dtype: Type of the numbers.
    """

    def __init__(self, rows: Iterable[bytes | array | np.ndarray], dtype: np.typing.DTypeLike) -> None:
        values, ends = bytearray(), array("q", [0])
        for row in rows:
            values += memoryview(row).cast("B")
            ends.append(len(values))
        self.values = np.frombuffer(values, dtype)
        self.ends = np.frombuffer(ends, np.int64) // np.dtype(dtype).itemsize

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        index = range(len(self))[index]  # negative ones count from the end
        return self.values[self.ends[index] : self.ends[index + 1]]


class Strings(Sequence[str]):
    """Strings as UTF-8 in one array; unchangeable.

    Args:
        strings: They are read once, one after the other.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        self.rows = RaggedArray((each.encode() for each in strings), np.uint8)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [row.tobytes().decode() for row in self.rows[index]]
        return self.rows[index].tobytes().decode()
