"""Invariant: what a prefix says stays said, whatever follows; only ProtocolError is raised; wants are bounded.

The input is what a TLS client sends first.
"""

from __future__ import annotations

from proxy.errors import ProtocolError
from proxy.wire.clienthello import LIMIT, RECORDS, ClientHello, read

from . import demand

TOKENS = [
    b"\x16\x03\x01",
    b"\x16\x03\x03\x00\x05",
    b"\x01\x00\x00\x40",
    b"\x00\x00",
    b"\x00\x10",
    b"\x02h2",
    b"\x80\x2e",
]
TOKENS += [b"\x00\x05\x00\x03\x02h2", b"\x00" * 32, b"\x00\x02\x13\x01\x01\x00", b"localhost"]


def one_input(data: bytes) -> None:
    at_last = _read(data)
    places = {len(data) // 2, len(data) - 1, 5, 9, 43, 60} if len(data) > 200 else range(len(data))
    for at in places:
        before = _read(data[: max(at, 0)])
        demand(before is None or before == at_last, "said otherwise when more had come", at, before, at_last)
    if len(data) > (LIMIT + 5) * RECORDS:
        demand(at_last is not None, "wants ever more")


def _read(data: bytes) -> ClientHello | str | None:
    try:
        return read(data)
    except ProtocolError:
        return "refused"
