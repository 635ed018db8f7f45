"""Invariant: the body ends at CRLF.CRLF, goes on as the reference says, and no lax reader finds another end.

The input: one octet of flags (reject: 128) and size of the pieces, then what a client sends behind 354.  Short pieces
are treated as long ones are, each.
"""

from __future__ import annotations

import re
from unittest.mock import patch

from proxy.wire import dots
from proxy.wire.dots import LINE_LIMIT, Body

from ..support.dots import reference
from ..support.lax import EXOTIC, PERSONALITIES, LaxServer
from . import demand

END = b"\r\n.\r\n"
TOKENS = [
    b"\r\n",
    b"\r",
    b"\n",
    b".",
    b"..",
    b"\0",
    b"\r\n.",
    b"\r\n.\r\n",
    b"x",
    b"x" * 998,
    b"\n.\n",
    b"\r\n\0.\0",
    b"\r\0\n",
]
_ENVELOPE = b"EHLO x\r\nMAIL FROM:<a@s.test>\r\nRCPT TO:<user@local.test>\r\nDATA\r\n"
_READERS = [how for how in PERSONALITIES if how is not EXOTIC and how.longest > 1 << 20]


def one_input(data: bytes) -> None:
    if not data:
        return
    reject, size = data[0] & 128, data[0] & 127 or len(data)
    text = data[1:] + END
    body, out, used = Body("reject" if reject else "normalize"), b"", 0
    for at in range(0, len(text), size):
        piece = text[at : at + size]
        with patch.multiple(dots, _EVEN_FROM=1, _EVEN_PERIOD=5):
            passed = body.passes(memoryview(piece))
        chunks, end = ([piece], None) if passed else body.feed(piece)
        out += b"".join(chunks)
        demand(len(body._held) <= LINE_LIMIT + 1, "too much is held")
        if end is not None:
            used = at + end
            break
    forwarded, ended, stray = reference(text)
    demand(used == ended == (b"\r\n" + text).index(END) + 3, "ended elsewhere", used, ended)
    if reject and stray:
        demand(forwarded.startswith(out) and END not in b"\r\n" + out, "forwarded in mode reject", out)
        return
    demand(out == forwarded, "not as the reference", out, forwarded)
    demand(not re.search(rb"\r(?!\n)|(?<!\r)\n", out), "a stray newline", out)
    for how in _READERS:
        server = LaxServer(how)
        server.feed(_ENVELOPE + out)
        demand(server.messages == 1 and len(server.lines) == 4, how.name, out)
