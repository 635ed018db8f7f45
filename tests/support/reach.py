"""What an object of popgate holds on to: for tests of what stays (secrets) and of how much (memory)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def reachable(start: object) -> Iterator[object]:
    """All that `start` holds on to: objects of proxy, containers, texts.  Not what tests and libraries own."""
    seen: set[int] = set()
    waiting = [start]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset | deque):
            waiting += one
        elif type(one).__module__.startswith("proxy."):
            names = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
            waiting += [getattr(one, name) for name in names if hasattr(one, name)]
            waiting += list(getattr(one, "__dict__", {}).values())


def octets_held(start: object) -> int:
    """How many octets of peers it holds, and of its own texts."""
    return sum(len(one) for one in reachable(start) if isinstance(one, bytes | bytearray))
