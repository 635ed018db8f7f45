"""Memory that the processes of a node share: rows of numbers, made before the supervisor forks (rule N5).

Its users give each worker a row, or a cell, that this worker alone writes, so nothing is locked; what is the node's
is a sum, or a latest time, over the rows.  A dead worker's rows are cleared by the supervisor.
"""

from __future__ import annotations

import mmap
from struct import calcsize
from typing import Any, Literal, overload

Integer = Literal["B", "H", "I", "Q", "q"]


@overload
def rows(form: Integer, cells: int, count: int) -> list[memoryview[int]]: ...
@overload
def rows(form: Literal["d"], cells: int, count: int) -> list[memoryview[float]]: ...
def rows(form: Integer | Literal["d"], cells: int, count: int) -> list[memoryview[Any]]:
    """`count` rows of `cells` numbers, all 0; `form` is that of the struct module."""
    size = calcsize(form) * cells
    memory = memoryview(mmap.mmap(-1, size * count))
    return [memory[start : start + size].cast(form) for start in range(0, size * count, size)]
