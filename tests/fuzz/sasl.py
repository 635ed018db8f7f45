"""Invariant: an exchange sends on base64, `=` or `*` only, ends, keeps nothing but a bounded login, and never raises.

The input: one octet for the mechanism, then the client's lines, LF between them.
"""

from __future__ import annotations

import base64

from proxy.wire.sasl import MAX_LOGIN, MAX_ROUNDS, MECHANISMS, Exchange, decoded

from . import demand

NAMES = sorted(MECHANISMS)
TOKENS = [b"\n", b"=", b"*", b"AGFubmEAcHc=", b"YW5uYQ==", b"AAAA", b"bixhPWEsbj1i", b"dXNlcj1hAWF1dGg9", b"\0", b"A"]


def one_input(data: bytes) -> None:
    if not data:
        return
    exchange = Exchange(NAMES[data[0] % len(NAMES)])
    for number, line in enumerate(data[1:].split(b"\n"), 1):
        sent = exchange.response(line)
        demand(sent == b"*" or base64.b64encode(base64.b64decode(sent)) in (sent, b""), "sent on", sent)
        demand(sent == b"*" or decoded(sent) == decoded(line), "another response", sent)
        demand(sent == b"*" or number <= MAX_ROUNDS, "no end")
        demand(len(exchange.login) <= MAX_LOGIN and exchange.login, "login", exchange.login)
        if number == 1 and NAMES[data[0] % len(NAMES)] == b"PLAIN" and sent not in (b"*", b"="):
            parts = base64.b64decode(sent).split(b"\0")
            demand(len(parts) == 3 or exchange.login == "?PLAIN", "a login out of no PLAIN response", sent)
