"""Invariant: lines are what stands between CRLFs, however it was cut; one over the limit is told once, not executed.
Each bare LF is told, and nothing around it is a line.

The input: one octet for the limit, one for the size of the pieces, then what a client sends.
"""

from __future__ import annotations

from proxy.wire.lines import BARE_LF, TOO_LONG, LineBuffer

from . import demand

TOKENS = [b"\r\n", b"\r", b"\n", b"\0", b"NOOP", b"x" * 30, b"x" * 300, b"RCPT TO:<v@far.test>\r\n", b" "]


def one_input(data: bytes) -> None:
    if len(data) < 2:
        return
    limit, size, text = data[0], data[1] or len(data), data[2:]
    buffer, found = LineBuffer(limit), list[bytes]()
    for at in range(0, len(text), size):
        buffer.feed(text[at : at + size])
        while (line := buffer.take()) is not None:
            found.append(line)
        demand(len(buffer) <= limit + 1, "too much is held", len(buffer))
    *lines, rest = text.split(b"\r\n")
    expected: list[bytes] = []
    for line in lines:
        expected += told(line, limit) or [TOO_LONG if len(line) > limit else line]
    expected += told(rest, limit)
    demand(found == expected, "other lines", found, expected)


def told(line: bytes, limit: int) -> list[bytes]:
    """What is told of the bare LFs in what stands between two CRLFs."""
    first, *others = line.split(b"\n")
    return [TOO_LONG if len(first) > limit else BARE_LF, *[BARE_LF] * (len(others) - 1)] if others else []
