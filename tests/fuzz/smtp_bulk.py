"""Invariant: a session that takes the usual commands the short way says and knows what one does that never takes it.

The input: one octet for the settings, one for the offer, then steps behind 0xFF: C client, U upstream, S the upstream
takes everything, and an octet for anything else that may happen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..support.twins import HOW, OFFERS, VERDICTS, Twins
from . import demand

if TYPE_CHECKING:
    import random

OTHERS = [*VERDICTS, "lapse", "moved", "stays", "eof"]
TOKENS = [b"\xffC", b"\xffU", b"\xffS", *[b"\xff%c" % number for number in range(len(OTHERS))]]
TOKENS += [b"\xffCMAIL FROM:<a@s.test>\r\n", b"MAIL FROM:<>", b" SIZE=1", b" BODY=8BITMIME", b"\r\n", b"RCPT TO:<"]
TOKENS += [b"u@local.test>\r\n", b"u@far.test>\r\n", b"RCPT TO:<u@local.test>\r\n" * 3, b"RCPT TO:<v@far.test>\r\n" * 3]
TOKENS += [b"NOOP\r\n", b"RSET\r\n", b"DATA\r\n", b"VRFY\r\n", b"250 ok\r\n" * 3, b"250 other\r\n", b"550 no\r\n"]


def generated(chance: random.Random) -> bytes:
    return chance.randbytes(2) + b"".join(chance.choices(TOKENS, k=chance.randrange(40)))


def one_input(data: bytes) -> None:
    if len(data) < 2:
        return
    twins = Twins(*HOW[data[0] % len(HOW)], offer=OFFERS[data[1] % len(OFFERS)])
    for step in data[2:].split(b"\xff")[1:]:
        kind, octets = step[:1], step[1:]
        if kind in (b"C", b"U"):
            twins.act("client" if kind == b"C" else "upstream", octets)
        else:
            twins.act("serve" if kind == b"S" else OTHERS[sum(kind) % len(OTHERS)])
        wrong = twins.differ()
        demand(not wrong, wrong)
