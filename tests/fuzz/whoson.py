"""Invariant: what is read is written again the same; what is written is one short clean line; only refusals are raised.

The input is a request or a reply.
"""

from __future__ import annotations

import re

from proxy.errors import ProtocolError
from proxy.wire.whoson import (
    END,
    MAX_NAME,
    MAX_NAME_WRITTEN,
    MAX_WRITTEN,
    QUIT,
    Request,
    error,
    first_line,
    found,
    parse,
    parse_reply,
    request,
)

from . import demand

TOKENS = [b"LOGIN ", b"LOGOUT ", b"QUERY ", b"QUIT", b"192.0.2.1", b"2001:db8::1", b"::ffff:192.0.2.1", b"fe80::1%eth0"]
TOKENS += [b" anna", b"\t", b" ", b"\r\n", b"\n", b"\r", b"\0", b"+", b"-", b"*", b"x" * 128, b"\xff", b"j\xc3\xb6rg"]

_CLEAN = re.compile(rb"[^\x00-\x1f\x7f]*\r\n\r\n")


def one_input(data: bytes) -> None:
    line = first_line(data)
    demand(b"\n" not in line, "more than a line", line)
    meaning, text = parse_reply(data)
    demand(meaning in (True, False, None) and len(text.encode("utf-8", "surrogateescape")) <= MAX_NAME, "reply", text)
    _written(found(text))
    demand(parse_reply(found(text))[0] is True, "a yes that is none", text)
    try:
        asked = parse(line)
    except ProtocolError as refused:
        _written(error(str(refused)))
        return
    demand(len(asked.name.encode("utf-8", "surrogateescape")) <= MAX_NAME, "a long name", asked)
    if asked.verb == QUIT:
        demand(asked == Request(QUIT), "QUIT", asked)
        return
    demand(len(asked.address) in (4, 16) and asked.address[:12] != bytes(10) + b"\xff\xff", "address", asked)
    again = request(asked.verb, asked.address, asked.name)
    _written(again)
    if len(asked.name.encode("utf-8", "surrogateescape")) <= MAX_NAME_WRITTEN:
        demand(parse(first_line(again)) == asked, "not the same when written again", asked, again)


def _written(octets: bytes) -> None:
    demand(_CLEAN.fullmatch(octets), "no clean line", octets)
    demand(len(octets) <= MAX_WRITTEN and octets.endswith(END), "too long", octets)
