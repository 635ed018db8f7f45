"""What popgate itself says to an upstream before the client's session begins: STARTTLS or STLS (RFC 3207, RFC 2595),
and behind that, to SMTP servers, a *speech* (session/upstream/handshake.py).

An opening takes the upstream's greeting, keeps it for the client, asks for TLS, and reports when TLS may start.  What
the upstream sends behind its consent in the clear ends the connection: believed after the handshake it would be an
injected reply (rule S11's counterpart; "NO STARTTLS" paper).  An upstream that does not offer TLS is not used without
it.

Sans-IO: octets in by `upstream_bytes`, out by `to_upstream`.  Where there is nothing to be said no opening is needed.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

from ...errors import ProtocolError, UpstreamUnavailable
from ...wire.pop3 import ReplyLines, Status, status
from ...wire.replies import Reply, ReplyBuffer

Handshake: TypeAlias = Generator[bytes, Reply, bytes]
"""Yields command lines, is sent the reply to each, and returns what the session gets in the place of the greeting.
Raises UpstreamUnavailable when the upstream is not fit for it."""


class SmtpOpening:
    """Greeting; EHLO, STARTTLS, 220; the speech."""

    __slots__ = ("_asked", "_handshake", "_name", "_replies", "_starttls", "done", "greeting", "ready", "to_upstream")

    def __init__(self, name: str, *, starttls: bool = False, handshake: Handshake | None = None) -> None:
        """`name`: what we call ourselves in EHLO."""
        self.to_upstream: list[bytes] = []
        self.greeting = b""
        """For the session, once all is said: the upstream's greeting, or what the speech has in its place."""
        self.ready = False
        """TLS may start; call `tls_started` when it has."""
        self.done = False
        """All is said."""
        self._name = name
        self._starttls, self._handshake = starttls, handshake
        self._asked = ""  # EHLO or STARTTLS; empty: the greeting is awaited, or the speech goes on
        self._replies = ReplyBuffer()

    def upstream_bytes(self, data: bytes) -> None:
        """Raise UpstreamUnavailable when this upstream can't be used."""
        self._replies.feed(data)
        try:
            while (reply := self._replies.take()) is not None:
                self._step(reply)
        except ProtocolError as error:
            raise UpstreamUnavailable(str(error)) from error

    def tls_started(self) -> None:
        self.ready = self._starttls = False
        self._asked = ""
        self._begin()

    def take_to_upstream(self) -> bytes:
        """Take the octets for the upstream."""
        octets = b"".join(self.to_upstream)
        self.to_upstream.clear()
        return octets

    def _step(self, reply: Reply) -> None:
        if not self.greeting:
            check(reply.code == 220, "greeting", reply)
            self.greeting = reply.octets
            self._begin()
        elif self._asked == "EHLO":
            offered = any(text.upper().split() == [b"STARTTLS"] for text in reply.texts())
            check(reply.code == 250 and offered, "EHLO (no STARTTLS)", reply)
            self._asked = "STARTTLS"
            self._ask(b"STARTTLS\r\n")
        elif self._asked == "STARTTLS":
            check(reply.code == 220, "STARTTLS", reply)
            if len(self._replies):
                raise UpstreamUnavailable("STARTTLS: more behind it in the clear")
            self.ready = True
        else:
            self._speak(reply)

    def _begin(self) -> None:
        """The connection is as good as it is now: ask for TLS, or begin the speech."""
        if self._starttls:
            self._asked = "EHLO"
            self._ask(b"EHLO %b\r\n" % self._name.encode("ascii"))
        else:
            self._speak(None)

    def _speak(self, reply: Reply | None) -> None:
        if self._handshake is None or self.done:
            self._end(self.greeting)
            return
        try:
            self._ask(next(self._handshake) if reply is None else self._handshake.send(reply))
        except StopIteration as end:
            self._end(end.value)

    def _end(self, greeting: bytes) -> None:
        if self.done or len(self._replies):
            raise ProtocolError("a reply that answers nothing")
        self.done = True
        self.greeting = greeting

    def _ask(self, line: bytes) -> None:
        if len(self._replies):
            raise ProtocolError("a reply that answers nothing")
        self.to_upstream.append(line)


class PopOpening:
    """Greeting, STLS, +OK."""

    __slots__ = ("_lines", "done", "greeting", "ready", "to_upstream")

    def __init__(self) -> None:
        self.to_upstream: list[bytes] = []
        self.greeting = b""
        self.ready = self.done = False
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

    def tls_started(self) -> None:
        self.ready, self.done = False, True

    def take_to_upstream(self) -> bytes:
        """Take the octets for the upstream."""
        octets = b"".join(self.to_upstream)
        self.to_upstream.clear()
        return octets


Opening: TypeAlias = SmtpOpening | PopOpening


def check(good: bool, what: str, reply: Reply) -> None:
    """Raise UpstreamUnavailable unless the upstream's reply to `what` is good."""
    _check(good, what, reply.octets)


def _check(good: bool, what: str, reply: bytes) -> None:
    if not good:
        text = reply[:200].decode("ascii", "backslashreplace").strip()
        raise UpstreamUnavailable(f"reply to {what}: {text}" if text else what)
