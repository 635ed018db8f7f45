"""Invariant: however the stream is cut, the same stanzas, none longer than the limit, and no more is held than that.

The input is the stream; its first octet says how it is cut.
"""

from __future__ import annotations

from proxy.errors import ProtocolError
from proxy.wire.stanzas import Stanzas

from . import demand

LIMIT = 64
TOKENS = [
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\r\n\r\n",
    b"\r",
    b"a=b\n",
    b"x" * 30,
    b"x" * 63 + b"\n",
    b"\0",
    b"QUERY 192.0.2.1\n\n",
]


def one_input(data: bytes) -> None:
    size = max(1, data[0] % 16) if data else 1
    stream = data[1:]
    whole, refused = _read([stream])
    pieces, refused_in_pieces = _read([stream[at : at + size] for at in range(0, len(stream), size)])
    demand(refused is refused_in_pieces, "refused in one way and not in the other", size, stream)
    demand(pieces[: len(whole)] == whole and (refused or pieces == whole), "cut otherwise", size, whole, pieces)
    for lines in pieces:
        demand(lines and all(line and b"\n" not in line for line in lines), "what are no lines", lines)
        demand(sum([len(line) + 1 for line in lines]) <= LIMIT, "too long", lines)


def _read(chunks: list[bytes]) -> tuple[list[list[bytes]], bool]:
    """The stanzas, and whether the stream was refused."""
    stanzas, found = Stanzas(LIMIT), list[list[bytes]]()
    try:
        for chunk in chunks:
            found += stanzas.feed(chunk)
            held = sum([len(line) for line in stanzas._lines]) + len(stanzas._rest)
            demand(held <= LIMIT + 1, "held", held)
    except ProtocolError:
        return found, True
    return found, False
