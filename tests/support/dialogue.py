"""A raw client: says exact octets, expects exact replies.  It knows where a reply ends, and nothing else of the
protocols.

Blocking sockets with a deadline.  Not a mail client: those in tests/e2e are real ones; this one is for what they
would never say (half a QUIT, bytes behind STLS, a body in one-octet pieces).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

TIMEOUT = 15.0  # seconds for one read; popgate's own time limits in tests are shorter


class Dialogue:
    """One connection to (host, port), from `source` if given; with `tls`, TLS from the first octet."""

    def __init__(
        self, address: tuple[str, int], source: str = "", tls: ssl.SSLContext | None = None, timeout: float = TIMEOUT
    ) -> None:
        self.socket = socket.create_connection(address, timeout, (source, 0) if source else None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""  # received and not yet handed out
        if tls is not None:
            self.starttls(tls)

    def __enter__(self) -> Dialogue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def abort(self) -> None:
        """Closes with a reset instead of an end of file."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def starttls(self, context: ssl.SSLContext, name: str = "mail.example.com") -> None:
        """TLS from here on.  Octets received in the clear and not yet read would be an injection: there must be
        none."""
        assert not self._read, self._read
        self.socket = context.wrap_socket(self.socket, server_hostname=name)

    def say(self, octets: bytes) -> None:
        """Sends exactly `octets`."""
        self.socket.sendall(octets)

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def line(self) -> bytes:
        """The next line, with its CRLF; what there was of it, possibly nothing, if the peer closed."""
        while b"\n" not in self._read:
            if not (more := self._receive()):
                rest, self._read = self._read, b""
                return rest
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line + b"\n"

    def reply(self) -> bytes:
        """A whole SMTP reply (RFC 5321 4.2.1: the last line has a space after the code)."""
        whole = b""
        while True:
            line = self.line()
            whole += line
            if line[3:4] != b"-" or not line:
                return whole

    def multiline(self) -> bytes:
        """What follows a POP3 +OK up to and with the line of one dot (RFC 1939 3)."""
        whole = b""
        while not (whole == b".\r\n" or whole.endswith(b"\r\n.\r\n")):
            line = self.line()
            assert line, f"the peer closed in mid-listing after {whole!r}"
            whole += line
        return whole

    def expect(self, start: bytes) -> bytes:
        """The next reply (SMTP) or line (POP3); it must start with `start`."""
        reply = self.reply()
        assert reply.startswith(start), f"expected {start!r}, got {reply!r}"
        return reply

    def ask(self, command: bytes, start: bytes) -> bytes:
        """`command` with CRLF, and the reply, which must start with `start`."""
        self.say(command + b"\r\n")
        return self.expect(start)

    def rest(self) -> bytes:
        """All that comes until the peer closes (or resets: the same to a client that only waits for the end)."""
        while True:
            try:
                more = self._receive()
            except ConnectionError:
                more = b""
            if not more:
                rest, self._read = self._read, b""
                return rest
            self._read += more

    def closed(self) -> bool:
        """Whether the peer closes now, without another word."""
        return self.rest() == b""

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except TimeoutError:
            raise AssertionError(f"the peer is silent; so far: {self._read!r}") from None


def pop_login(address: tuple[str, int], login: str = "alice", source: str = "", password: str = "secret") -> None:
    """Logs in by USER and PASS and leaves in order: what opens the gate for `source`."""
    with Dialogue(address, source) as pop:
        pop.expect(b"+OK")
        pop.ask(b"USER " + login.encode(), b"+OK")
        pop.ask(b"PASS " + password.encode(), b"+OK")
        pop.ask(b"QUIT", b"+OK")


def send(
    address: tuple[str, int], recipients: Iterable[bytes], source: str = "", body: bytes = b"Subject: a\r\n\r\nb\r\n"
) -> bytes:
    """Tries to send `body` (dots not yet doubled) from sender@example.com; the reply that decided: to RCPT or to the
    end."""
    with Dialogue(address, source) as smtp:
        smtp.expect(b"220")
        smtp.ask(b"EHLO client.example.net", b"250")
        smtp.ask(b"MAIL FROM:<sender@example.com>", b"250")
        for recipient in recipients:
            smtp.say(b"RCPT TO:<" + recipient + b">\r\n")
            reply = smtp.reply()
            if not reply.startswith(b"250"):
                return reply
        smtp.ask(b"DATA", b"354")
        smtp.say(stuffed(body))
        return smtp.reply()


def stuffed(body: bytes) -> bytes:
    """`body`, whose lines end in CRLF, as it goes over the wire: dots doubled, the end of data behind it."""
    doubled = body.replace(b"\r\n.", b"\r\n..")
    return (b"." if body.startswith(b".") else b"") + doubled + b".\r\n"
