"""The conversation with a load balancer that only wants to know whether we serve, without I/O.

It is greeted according to the health of the upstream, which somebody else knows (net/upstream/upstream.py): no upstream
connection is made for it, so that an appliance is not asked by every balancer and every node every few seconds.  What
health checks say is answered by fixed texts; anything else is no health check and ends it, so nobody can log in, send
or relay here (rule N1).  A server that is not healthy says so in its greeting and closes: a check that waits for
`+OK` would otherwise wait until its own time is up.

TLS is not offered within: who wants it checks the port with implicit TLS.
"""

from __future__ import annotations

from typing import Final

from ..wire.lines import LineBuffer
from .pop3 import texts as pop3_texts
from .smtp import texts as smtp_texts

MAX_LINE: Final = 512
"""Octets of a command; RFC 5321 4.5.3.1.4 allows as many, and no health check says more than a name."""

_GREETINGS: Final = {"smtp": b"220 popgate ESMTP\r\n", "pop3": b"+OK popgate\r\n"}
_UNHEALTHY: Final = {"smtp": smtp_texts.UNAVAILABLE, "pop3": pop3_texts.UNAVAILABLE}
_DRAINING: Final = {"smtp": smtp_texts.DRAINING, "pop3": pop3_texts.DRAINING}
_NOT_HERE: Final = {"smtp": smtp_texts.PROBES_ONLY, "pop3": pop3_texts.PROBES_ONLY}
_REPLIES: Final = {
    "smtp": {
        b"HELO": b"250 popgate\r\n",
        b"EHLO": b"250 popgate\r\n",
        b"NOOP": smtp_texts.OK,
        b"RSET": smtp_texts.OK,
        b"QUIT": smtp_texts.BYE,
    },
    "pop3": {
        b"CAPA": b"+OK\r\nUSER\r\n.\r\n",  # RFC 2449 5: a list may be short, not absent
        b"NOOP": b"+OK\r\n",
        b"QUIT": b"+OK Bye\r\n",
    },
}


class BalancerCheckSession:
    """One health check."""

    __slots__ = ("_lines", "_protocol", "done", "to_client")

    def __init__(self, protocol: str, healthy: bool) -> None:
        self._protocol = protocol
        self._lines = LineBuffer(MAX_LINE)
        self.to_client = [_GREETINGS[protocol] if healthy else _UNHEALTHY[protocol]]
        """Octets for the client; take them after every call."""
        self.done = not healthy
        """Over, once these have gone out."""

    def client_bytes(self, data: bytes) -> None:
        replies = _REPLIES[self._protocol]
        self._lines.feed(data)
        while not self.done and (line := self._lines.take()) is not None:
            verb = line.partition(b" ")[0].upper()
            self.done = verb == b"QUIT" or verb not in replies
            self.to_client.append(replies.get(verb, _NOT_HERE[self._protocol]))

    def take_to_client(self) -> bytes:
        """Take the octets for the client."""
        octets = b"".join(self.to_client)
        self.to_client.clear()
        return octets

    def drain(self) -> None:
        if not self.done:
            self.done = True
            self.to_client.append(_DRAINING[self._protocol])
