"""Who looks on while a session talks: `popgate trace` (transcript.py).

A session that is observed calls these methods; one that is not pays a comparison for each.  They say what the parser
sees, each line as it is used as a command or as a part of AUTH, each whole reply, so what an observer hides does not
depend on how octets came in pieces.  The session says what is secret; an observer must not keep or show it.
"""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """What an observer is told."""

    def command(self, line: bytes, *, secret: bool) -> None:
        """The client's line, without CRLF; `secret`: it is a part of AUTH."""

    def forwarded(self, line: bytes, *, secret: bool) -> None:
        """What is sent to the upstream, with CRLF."""

    def upstream_reply(self, octets: bytes, *, secret: bool) -> None:
        """A whole reply of the upstream, or a line of a list; `secret`: it may quote a password that was refused."""

    def client_reply(self, octets: bytes) -> None:
        """One or several whole replies, as the client gets them."""

    def message(self, octets: bytes) -> None:
        """Text of a message, from the client."""

    def mailbox_commands(self, octets: bytes) -> None:
        """What the client says to an open mailbox."""

    def mailbox_octets(self, octets: bytes) -> None:
        """What the client gets of an open mailbox."""

    def tls_started(self) -> None:
        """The client speaks TLS from here on."""

    def finished(self) -> None:
        """The session is over."""
