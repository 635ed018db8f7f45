"""What popgate itself says to an upstream before the client's session begins: STARTTLS or STLS (RFC 3207, RFC 2595).

An opening takes the upstream's greeting, keeps it for the client, asks for TLS, and reports when TLS may start.  What
the upstream sends behind its consent in the clear ends the connection: believed after the handshake it would be an
injected reply (RULES S11's counterpart; "NO STARTTLS" paper).  An upstream that does not offer TLS is not used without
it.

Sans-IO: octets in by `upstream_bytes`, out by `to_upstream`.  Upstreams in the clear or under implicit TLS need no
opening.
"""

from __future__ import annotations

from ..errors import ProtocolError, UpstreamUnavailable
from ..wire.pop3 import ReplyLines, Status, status
from ..wire.replies import Reply, ReplyBuffer


class SmtpOpening:
    """Greeting, EHLO, STARTTLS, 220."""

    __slots__ = ("_asked", "_name", "_replies", "greeting", "ready", "to_upstream")

    def __init__(self, name: str) -> None:
        """`name`: what we call ourselves in EHLO."""
        self.to_upstream: list[bytes] = []
        self.greeting = b""
        """The upstream's greeting, for the client once TLS is up."""
        self.ready = False
        """TLS may start."""
        self._name = name
        self._asked = ""
        self._replies = ReplyBuffer()

    def upstream_bytes(self, data: bytes) -> None:
        """Raise UpstreamUnavailable when there will be no TLS."""
        self._replies.feed(data)
        try:
            while (reply := self._replies.take()) is not None:
                self._step(reply)
        except ProtocolError as error:
            raise UpstreamUnavailable(str(error)) from error

    def _step(self, reply: Reply) -> None:
        if not self.greeting:
            _check(reply.code == 220, "greeting", reply.octets)
            self.greeting = reply.octets
            self._ask("EHLO " + self._name)
        elif self._asked.startswith("EHLO"):
            offered = any(text.upper() == b"STARTTLS" for text in reply.texts())
            _check(reply.code == 250 and offered, "EHLO (no STARTTLS)", reply.octets)
            self._ask("STARTTLS")
        else:
            _check(reply.code == 220, "STARTTLS", reply.octets)
            _check(not len(self._replies), "STARTTLS: more behind it in the clear", b"")
            self.ready = True

    def _ask(self, command: str) -> None:
        if len(self._replies):
            raise ProtocolError("a reply that answers nothing")
        self._asked = command
        self.to_upstream.append(command.encode("ascii") + b"\r\n")


class PopOpening:
    """Greeting, STLS, +OK."""

    __slots__ = ("_lines", "greeting", "ready", "to_upstream")

    def __init__(self) -> None:
        self.to_upstream: list[bytes] = []
        self.greeting = b""
        self.ready = False
        self._lines = ReplyLines()

    def upstream_bytes(self, data: bytes) -> None:
        """Raise UpstreamUnavailable when there will be no TLS."""
        self._lines.feed(data)
        try:
            while (line := self._lines.take()) is not None:
                ok = status(line) is Status.OK
                if not self.greeting:
                    _check(ok and not len(self._lines), "greeting", line)
                    self.greeting = line + b"\r\n"
                    self.to_upstream.append(b"STLS\r\n")
                else:
                    _check(ok, "STLS", line)
                    _check(not len(self._lines), "STLS: more behind it in the clear", b"")
                    self.ready = True
        except ProtocolError as error:
            raise UpstreamUnavailable(str(error)) from error


Opening = SmtpOpening | PopOpening


def _check(good: bool, what: str, reply: bytes) -> None:
    if not good:
        text = reply[:200].decode("ascii", "backslashreplace").strip()
        raise UpstreamUnavailable(f"reply to {what}: {text}" if text else what)
