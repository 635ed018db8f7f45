"""Invariant: a password is right behind three +OK, each to its own command, and nothing but USER and PASS is ever said.

The input is what the server says, in chunks behind 0xFE; the first octet says whether a session of the login is open.
"""

from __future__ import annotations

from proxy.errors import UpstreamUnavailable
from proxy.gate.verdict import Password
from proxy.session.upstream.pop3_login import PopLogin

from . import demand

TOKENS = [
    b"+OK\r\n",
    b"\xfe",
    b"-ERR\r\n",
    b"-ERR [IN-USE] no\r\n",
    b"-ERR [AUTH] no\r\n",
    b"-ERR [SYS/TEMP]\r\n",
    b"+ ",
]
TOKENS += [
    b"+OK hello\r\n\xfe+OK\r\n\xfe+OK in\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b"+O",
    b"K",
    b"+OKAY\r\n",
    b"x" * 9000,
    b"\0",
]

_COMMANDS = [b"USER anna\r\n", b"PASS secret\r\n"]


def one_input(data: bytes) -> None:
    is_open = bool(data[:1] and data[0] & 1)
    login = PopLogin(b"anna", b"secret", lambda: is_open)
    said: list[bytes] = []
    positive = 0  # replies, each of which came behind what it answers
    for chunk in data[1:].split(b"\xfe"):
        before = len(said)
        try:
            login.upstream_bytes(chunk)
        except UpstreamUnavailable:
            demand(login.result is None, "a result out of nonsense", login.result)
            return
        said += login.to_upstream
        login.to_upstream.clear()
        demand(said == _COMMANDS[: len(said)], "said", said)
        demand(len(said) - before <= 1, "two commands for one reply", chunk)
        positive += len(said) - before
        if login.result is not None:
            break
    if login.result is Password.RIGHT:
        lines = data[1:].replace(b"\xfe", b"").split(b"\r\n")[:3]
        demand(positive == 2 and all(line[:4] in (b"+OK", b"+OK ") for line in lines), "right, behind what?", data)
    if login.result is Password.WRONG:
        demand(said and not (is_open and b"[" not in data), "wrong, and nobody said so", data)
