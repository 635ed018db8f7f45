"""What the self-test finds at a scripted old server.

`visited(legacy, ...)` visits it and returns topic -> ["level text", ...].  `smtp` and `pop3` make the scripts: a server
that answers by the longest matching beginning of the command.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from proxy.config.endpoint import Endpoint
from proxy.config.schema import MailProtocol, Upstream
from proxy.selftest.servers import Server, visit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .legacy import Call, Legacy, Play

PATIENCE = 5.0  # seconds of connect_timeout: no test that passes waits so long
EHLO = (
    b"250-old.example\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-AUTH PLAIN GSSAPI\r\n250-AUTH=LOGIN\r\n250 STARTTLS\r\n"
)

Found = dict[str, list[str]]


def upstream(legacy: Legacy, host: str = "", **settings: object) -> Upstream:
    settings = {"connect_timeout": PATIENCE, **settings}
    return Upstream("x", (Endpoint(host or legacy.address[0], legacy.address[1]),), **settings)  # type: ignore[arg-type]


def visited(
    legacy: Legacy,
    protocol: MailProtocol = "smtp",
    *,
    host: str = "",
    local: tuple[str, ...] = ("local.test",),
    auth: bool = False,
    ours: frozenset[tuple[str, int]] = frozenset(),
    checks: bool = False,
    **settings: object,
) -> Found:
    """What a visit found; `settings` are the upstream's."""
    up = upstream(legacy, host, **settings)
    findings = asyncio.run(visit(Server(up, up.servers[0], protocol, local, auth, ours, checks)))
    found: Found = {}
    for level, line in findings.lines():
        assert line.startswith(f"{level:<4}  upstream.x {up.servers[0]}  ")
        rest = line.removeprefix(f"{level:<4}  {findings.place}  ")
        found.setdefault(rest[:12].strip(), []).append(f"{level} {rest[12:].strip()}")
    return found


def smtp(answers: Mapping[bytes, bytes] | None = None, tls: ssl.SSLContext | None = None) -> Play:
    """An SMTP server.  answers: beginning of a command -> reply, b"" -> greeting; everything else gets 250."""
    known = {b"": b"220 old.example\r\n", b"EHLO": EHLO, b"QUIT": b"221 bye\r\n", **(answers or {})}
    return _server(known, b"250 ok\r\n", b"STARTTLS", tls)


def pop3(answers: Mapping[bytes, bytes] | None = None, tls: ssl.SSLContext | None = None) -> Play:
    """A POP3 server that refuses PASS and takes everything else."""
    capa = b"+OK\r\nUSER\r\nUIDL\r\nSASL PLAIN GSSAPI\r\n.\r\n"
    known = {b"": b"+OK ready <1.2@old.example>\r\n", b"CAPA": capa, b"PASS": b"-ERR no\r\n", **(answers or {})}
    return _server(known, b"+OK\r\n", b"STLS", tls)


def _server(answers: Mapping[bytes, bytes], other: bytes, upgrade: bytes, tls: ssl.SSLContext | None) -> Play:
    async def play(call: Call) -> None:
        await call.say(answers[b""])
        while line := await call.line():
            key = max((key for key in answers if key and line.startswith(key)), key=len, default=None)
            answer = other if key is None else answers[key]
            if not answer:  # hangs up
                return
            await call.say(answer)
            if tls is not None and line.startswith(upgrade):
                try:
                    await call.starttls(tls)
                except ssl.SSLError:  # the client does not trust us: that is what some tests are about
                    return

    return play
