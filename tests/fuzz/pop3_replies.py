"""Invariant: POP3 reply lines come out in one way however they were cut, without CR, LF or NUL inside, and are bounded.

The input: one octet, the size of the pieces; then what an upstream sends.  The lines also go through the capability
list's editor, which must let no mechanism and no tag through that popgate can't carry.
"""

from __future__ import annotations

from proxy.errors import ProtocolError
from proxy.wire.pop3 import MAX_REPLY_LINE, ReplyLines, Status, edited_capabilities, status

from . import demand

TOKENS = [b"+OK", b"-ERR", b"+ ", b"\r\n", b"\n", b"\r", b"\0", b".", b"SASL PLAIN ANONYMOUS", b"STLS", b"USER", b" "]
TOKENS += [b"sasl external plain\r\n", b"XCLIENT", b"+OKAY\r\n", b"+ok\r\n", b"x" * 5000]


def one_input(data: bytes) -> None:
    if not data:
        return
    text = data[1:]
    whole, cut = _lines(text, len(text) or 1), _lines(text, data[0] or len(data))
    demand(whole == cut, "cut otherwise, read otherwise", whole, cut)
    for line in whole[0]:
        demand(not set(line) & set(b"\r\n\0") and len(line) <= MAX_REPLY_LINE, "no line", line)
        try:
            said = status(line)
        except ProtocolError:
            demand(not line.startswith((b"+OK ", b"-ERR ", b"+ ")) and line not in (b"+OK", b"-ERR", b"+"), line)
        else:
            demand((said is Status.OK) == (line == b"+OK" or line[:4] == b"+OK "), "taken for +OK", line)
    for tls in (False, True):
        for line in edited_capabilities(whole[0], False, tls):
            tag, *words = line.upper().split(b" ")
            demand(tag not in (b"STLS", b"XCLIENT") and (tls or tag not in (b"USER", b"SASL")), "offered", line)
            demand(tag != b"SASL" or not {b"ANONYMOUS", b"EXTERNAL", b"GSSAPI"} & set(words), "offered", line)


def _lines(text: bytes, size: int) -> tuple[list[bytes], bool]:
    buffer, found = ReplyLines(), list[bytes]()
    for at in range(0, len(text), size):
        buffer.feed(text[at : at + size])
        try:
            while (line := buffer.take()) is not None:
                found.append(line)
        except ProtocolError:
            return found, True
        demand(len(buffer) <= MAX_REPLY_LINE, "too much is held")
    return found, False
