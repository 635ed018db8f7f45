"""Careless proxies: the positive control of the guard's tests.  A suite that spares them proves nothing.

They are how one would write it in an afternoon: look at each line, drop what is not wanted, pass the rest on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .lax import LOCAL, LaxServer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .lax import Personality


class CarelessSmtp:
    """Passes on each line but a RCPT whose domain is not local."""

    def __init__(self) -> None:
        self.messages = 0
        self._rest = b""
        self._in_message = False

    def client_bytes(self, data: bytes) -> bytes:
        """What goes up for these octets of the client."""
        out = b""
        self._rest += data
        while b"\r\n" in self._rest:
            line, _, self._rest = self._rest.partition(b"\r\n")
            if self._in_message:
                self._in_message = line != b"."
                self.messages += not self._in_message
            elif line.upper().startswith(b"RCPT"):
                address = re.search(rb"<([^>]*)>", line)
                domain = address[1].rpartition(b"@")[2] if address else b""
                if domain.decode("latin-1").lower() not in LOCAL:
                    continue
            elif line.upper().startswith(b"DATA"):
                self._in_message = True
            out += line + b"\r\n"
        return out


class CarelessPop:
    """Takes any line that begins with +OK, and that comes while PASS is the last verb it saw, for the login."""

    def __init__(self) -> None:
        self.logged_in = False
        self._verb = b""

    def client_bytes(self, data: bytes) -> bytes:
        for line in data.splitlines():
            self._verb = line[:4].upper()
        return data

    def upstream_bytes(self, data: bytes) -> bytes:
        if self._verb in (b"PASS", b"APOP", b"AUTH") and any(line.startswith(b"+OK") for line in data.splitlines()):
            self.logged_in = True
        return data


def breach_of_careless(packets: Iterable[bytes], how: Personality) -> str:
    """What goes wrong behind `CarelessSmtp` when the client sends these, or nothing."""
    careless, server = CarelessSmtp(), LaxServer(how)
    for packet in packets:
        server.feed(careless.client_bytes(packet))
    if server.messages > careless.messages:
        return f"{server.messages} messages there, {careless.messages} here"
    if server.foreign or server.dangerous:
        return f"foreign {server.foreign!r}, dangerous {server.dangerous!r}"
    return ""
