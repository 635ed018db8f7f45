"""What is said to an SMTP server between its greeting and the client's session (driven by session/upstream/opening.py).

`introduction` says by XCLIENT who the client is (rule S12): our own EHLO first, to see what may be named; the second
greeting, the 220, is the client's.  A server that does not offer XCLIENT is not used: it would take every client for
popgate, whom it trusts.

`replay` brings a new connection to where a session has come with another one: EHLO or HELO and MAIL, as they were
written for that one.  It succeeds only where the server says yes to them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...errors import UpstreamUnavailable
from ...wire import xclient
from ..smtp.hello import NO_EHLO
from .opening import check

if TYPE_CHECKING:
    from ...wire.proxyheader import Endpoint
    from .opening import Handshake


QUIT: Final = b"QUIT\r\n"
"""Said on a connection that is given up; its reply is not waited for, it only keeps the server's log clean."""


def introduction(name: str, client: Endpoint, destination: Endpoint, login: str) -> Handshake:
    """EHLO, XCLIENT; returns the second greeting.  `login`: whose lease the client has, if that is to be told."""
    reply = yield b"EHLO %b\r\n" % name.encode("ascii")
    check(reply.code == 250, "EHLO", reply)
    offered = xclient.attributes(reply)
    if b"ADDR" not in offered:
        raise UpstreamUnavailable("it offers popgate no XCLIENT with ADDR (Postfix: smtpd_authorized_xclient_hosts)")
    reply = yield xclient.command(offered, client, destination, login)
    check(reply.code == 220, "XCLIENT", reply)
    return reply.octets


def replay(hello: bytes, mail: bytes) -> Handshake:
    """Say `hello` (EHLO or HELO, with its CRLF; or empty) and `mail` again; returns the reply to EHLO, or nothing."""
    offer = b""
    if hello:
        reply = yield hello
        if hello.startswith(b"EHLO") and reply.code in NO_EHLO:
            reply = yield b"HELO" + hello[4:]
        elif hello.startswith(b"EHLO"):
            offer = reply.octets
        check(reply.code == 250, "EHLO", reply)
    reply = yield mail
    check(reply.code == 250, "MAIL", reply)
    return offer
