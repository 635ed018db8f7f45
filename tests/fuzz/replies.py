"""Invariant: SMTP replies come out whole, strictly formed, in one way however they were cut; held octets are bounded.

The input: one octet, the size of the pieces; then what an upstream sends.
"""

from __future__ import annotations

import re

from proxy.errors import ProtocolError
from proxy.wire.replies import MAX_LINES, MAX_OCTETS, ReplyBuffer, fold

from . import demand

TOKENS = [b"250", b"250-", b"250 ok\r\n", b"354 go\r\n", b"\r\n", b"\n", b"\r", b"\0", b"999 x\r\n", b"-", b" ", b"2"]
TOKENS += [b"250-x\r\n" * 60, b"x" * 5000]

_FORM = re.compile(rb"(?:([2-5][0-9][0-9])-[^\r\n\0]*\r\n)*([2-5][0-9][0-9])(?: [^\r\n\0]*)?\r\n")


def one_input(data: bytes) -> None:
    if not data:
        return
    size, text = data[0] or len(data), data[1:]
    whole, cut = _replies(text, len(text) or 1), _replies(text, size)
    demand(whole == cut, "cut otherwise, read otherwise", whole, cut)
    said, failed = whole
    demand(text.startswith(b"".join(said)), "octets were lost or made")
    for octets in said:
        match = _FORM.fullmatch(octets)
        demand(match is not None and octets.count(b"\n") <= MAX_LINES, "no reply", octets)
        demand({line[:3] for line in octets.split(b"\r\n")[:-1]} == {octets[:3]}, "codes differ", octets)
    left = text[len(b"".join(said)) :]
    demand(failed or not _FORM.match(left) or len(left) > MAX_OCTETS, "a whole reply was not given", left)


def _replies(text: bytes, size: int) -> tuple[list[bytes], bool]:
    buffer, found = ReplyBuffer(), list[bytes]()
    for at in range(0, len(text), size):
        buffer.feed(text[at : at + size])
        try:
            while (reply := buffer.take()) is not None:
                found.append(reply.octets)
                demand(reply.code == int(reply.octets[:3]), "another code")
                demand(fold(reply).count(b"\n") == 1, "not folded")
        except ProtocolError:
            return found, True
        demand(len(buffer) <= MAX_OCTETS, "too much is held")
    return found, False
