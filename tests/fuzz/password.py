"""Invariant: only what can't end a POP3 command is tried at a server, and nothing but refusals is raised.

The input: one octet for the mechanism, then the client's responses, LF between them.
"""

from __future__ import annotations

from proxy.session.upstream.pop3_login import PopLogin
from proxy.wire.sasl import BadResponse, PasswordExchange

from . import demand

TOKENS = [
    b"\n",
    b"=",
    b"*",
    b"AGFubmEAcHc=",
    b"YW5uYQ==",
    b"AAAA",
    b"YQ1iAGEAcA==",
    b"AGEgYgBw",
    b"DQo=",
    b"fw==",
    b"A",
]
TOKENS += [b"YQ" * 200 + b"==", b"AA" * 200]

_NAMES = sorted(PasswordExchange.MECHANISMS)


def one_input(data: bytes) -> None:
    if not data:
        return
    exchange = PasswordExchange(_NAMES[data[0] % 2])
    challenges = 0
    try:
        for line in data[1:].split(b"\n"):
            challenge = exchange.answer(line)
            if challenge is None:
                break
            demand(challenge in (b"Username:", b"Password:"), "challenge", challenge)
            challenges += 1
            demand(challenges <= 2, "no end")
        else:
            return
    except BadResponse:
        return
    if exchange.plausible:
        demand(0 < len(exchange.login) <= 255 and 0 < len(exchange.password) <= 255, "lengths")
        commands = PopLogin(exchange.login, exchange.password, lambda: False)._commands
        demand(len(commands) == 2, "commands")
        for command in commands:
            demand(command[-2:] == b"\r\n" and not any(octet < 32 or octet == 127 for octet in command[:-2]), "command")
