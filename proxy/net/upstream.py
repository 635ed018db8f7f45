"""The servers behind popgate: their addresses, and how a connection to one begins.

`Upstream.addresses` gives the addresses to try, in the configured order; `dial` begins a connection without waiting
for it. A server that is named is looked up when the first client wants it and then remembered for `REMEMBER` seconds;
a look-up never blocks the loop.  An address at which popgate itself listens is left out: a loop would eat all
descriptors (RULES N10).

The dialogue before the session (STARTTLS) is session/opening.py, driven by net/link.py, which also tries the next
address.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..errors import UpstreamUnavailable
from ..session.opening import Opening, PopOpening, SmtpOpening

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .tls import UpstreamTls

FOREVER: Final = float("inf")
REMEMBER: Final = 60.0
"""Seconds that a looked-up name is believed: mail servers move by hand, and the old address lives on for a while."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a connection goes."""

    family: int
    target: tuple[str, int] | tuple[str, int, int, int] | str
    host: str
    """The name that TLS compares with the certificate."""
    shown: str
    """As in the configuration, for the log."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server as configured: a host and port, or the path of a unix socket."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Upstream:
    """The servers of one [upstream.NAME]."""

    def __init__(
        self,
        name: str,
        protocol: str,
        servers: Sequence[Server],
        *,
        tls: UpstreamTls | None,
        implicit: bool,
        connect_timeout: float,
        is_ours: Callable[[str, int], bool],
    ) -> None:
        """`is_ours(host address, port)`: whether popgate listens there."""
        self.name, self.protocol = name, protocol
        self.tls, self.implicit = tls, implicit
        self.connect_timeout = connect_timeout
        self._servers = servers
        self._is_ours = is_ours
        self._addresses: list[Address] | None = None
        self._until = FOREVER
        if all(server.path or _is_literal(server.host) for server in servers):
            self._addresses = [address for server in servers for address in self._resolve(server)]

    def __str__(self) -> str:
        return self.name

    def addresses(self, then: Callable[[list[Address]], None]) -> None:
        """Call `then` with the addresses to try: at once when they are known, else from the loop; none if all fails."""
        if self._addresses is not None and self._until == FOREVER:
            then(self._addresses)
            return
        loop = asyncio.get_running_loop()
        if self._addresses is not None and loop.time() < self._until:
            then(self._addresses)
            return
        looking = loop.run_in_executor(None, self._look_up)
        looking.add_done_callback(lambda done: then(self._found(done.result(), loop.time())))

    def opening(self) -> Opening | None:
        """What must be said to a fresh connection before the session, or None."""
        if self.tls is None or self.implicit:
            return None
        return SmtpOpening(_our_name()) if self.protocol == "smtp" else PopOpening()

    def _look_up(self) -> list[Address]:
        """Resolve all names; in a thread."""
        found = []
        for server in self._servers:
            try:
                found += self._resolve(server)
            except OSError:
                continue
        return found

    def _found(self, addresses: list[Address], now: float) -> list[Address]:
        if addresses:
            self._until = now + REMEMBER
            self._addresses = addresses
        return addresses or self._addresses or []

    def _resolve(self, server: Server) -> list[Address]:
        if server.path:
            return [Address(socket.AF_UNIX, server.path, "", str(server))]
        infos = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
        return [
            Address(family, target, server.host, str(server))  # type: ignore[arg-type]
            for family, _, _, _, target in infos
            if not self._is_ours(str(target[0]), server.port)
        ]


def dial(address: Address) -> socket.socket:
    """Begin a connection; raise UpstreamUnavailable if that fails at once."""
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:  # no descriptor is left
        raise UpstreamUnavailable(error.strerror or str(error)) from error
    try:
        if address.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.connect(address.target)
    except BlockingIOError:
        pass
    except OSError as error:
        sock.close()
        raise UpstreamUnavailable(error.strerror or str(error)) from error
    return sock


def _our_name() -> str:
    """What popgate calls itself in EHLO."""
    name = socket.gethostname()
    return name if name.isascii() and name.isprintable() and " " not in name else "localhost"


def _is_literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
