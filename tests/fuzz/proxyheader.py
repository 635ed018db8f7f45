"""Invariant: what a prefix says stays said; no more is wanted than a header may have; what is read is made again.

The input is what a load balancer sends first.
"""

from __future__ import annotations

from proxy.errors import ProtocolError
from proxy.wire.proxyheader import MAX_V1, MAX_V2, SIGNATURE, ProxyHeader, crc32c, made_v1, made_v2, read

from . import demand

TOKENS = [SIGNATURE, b"\x20\x00\x00\x00", b"\x21\x11\x00\x0c", b"\x21\x21\x00\x24", b"\x21\x31\x00\xd8", b"\x21\x00"]
TOKENS += [b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"192.0.2.7 ", b"2001:db8::7 ", b"::ffff:192.0.2.7 ", b"25 "]
TOKENS += [b"\r\n", b"\r", b"\n", b"\x03\x00\x04", b"\x04\x00\x00", b"\x20\x00\x05\x01\x00\x00\x00\x01", b"65535"]


def one_input(data: bytes) -> None:
    _one(data)
    if data[:16] == SIGNATURE + b"\x21\x11\x00\x13":  # with the right checksum, which chance would never find
        start, end = 31, 35
        right = crc32c(data[:start] + bytes(4) + data[end:35])
        _one(data[:28] + b"\x03\x00\x04" + right.to_bytes(4) + data[end:])


def _one(data: bytes) -> None:
    at_last = _read(data)
    places = {len(data) // 2, len(data) - 1, 6, 12, 13, 15, 16, 28, MAX_V1} if len(data) > 150 else range(len(data))
    for at in places:
        before = _read(data[: max(at, 0)])
        demand(before is None or before == at_last, "said otherwise when more had come", at, before, at_last)
    if at_last is None:
        demand(len(data) < (MAX_V2 if data.startswith(SIGNATURE) else max(MAX_V1, 16)), "wants ever more")
    if isinstance(at_last, ProxyHeader):
        demand(at_last.size <= len(data), "more than there is")
        demand((at_last.source is None) is (at_last.destination is None), "half of the addresses")
        if at_last.source is not None and at_last.destination is not None:
            for again in (made_v1(at_last.source, at_last.destination), made_v2(at_last.source, at_last.destination)):
                found = read(again)
                demand(found is not None and found.source == at_last.source, "not the same when written again", again)


def _read(data: bytes) -> ProxyHeader | str | None:
    try:
        return read(data)
    except ProtocolError:
        return "refused"
