"""The sockets where other servers ask popgate (`whoson.listen`, `postfix.policy`), inherited by all workers.

Ports are bound while popgate may still be root, unix sockets after `become`, so that they belong to `user` (unix.py).
systemd passes none of these: it starts popgate for clients, and whoever asks tries again.

Who answers there: neighbours/query_server.py.  The clients' sockets: sockets.py.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError
from ..runtime import POSTFIX, WHOSON
from .sockets import BACKLOG, cure, listening
from .unix import listen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..config import Config
    from ..config.endpoint import Endpoint

_MODES: Final = {WHOSON: 0o660, POSTFIX: 0o666}
"""Of unix sockets: a LOGIN opens the gate, while Postfix only learns for whom it is open."""


@dataclass(frozen=True, slots=True)
class ServiceSocket:
    """A socket, and what is served there: runtime's WHOSON or POSTFIX."""

    name: str
    """runtime.WHOSON or runtime.POSTFIX."""
    sock: socket.socket
    """Bound and non-blocking."""

    def __str__(self) -> str:
        if self.sock.family == socket.AF_UNIX:
            return f"unix:{self.sock.getsockname()}"
        host, port = self.sock.getsockname()[:2]
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return f"udp:{place}" if self.sock.type == socket.SOCK_DGRAM else place


def bind_ports(config: Config) -> list[ServiceSocket]:
    """Those with an address, non-blocking.  Raise ConfigError with all that can't be bound."""
    return _all([place for place in _places(config) if not place[1].path], _bound)


def bind_paths(config: Config) -> list[ServiceSocket]:
    """The unix sockets, to be made after `become`.  Raise ConfigError."""
    return _all([place for place in _places(config) if place[1].path], _made)


def _places(config: Config) -> Iterator[tuple[str, Endpoint]]:
    yield from ((WHOSON, endpoint) for endpoint in config.whoson.listen)
    if config.postfix.policy is not None:
        yield POSTFIX, config.postfix.policy


def _all(places: list[tuple[str, Endpoint]], bind: Callable[[str, Endpoint], socket.socket]) -> list[ServiceSocket]:
    found: list[ServiceSocket] = []
    problems: list[str] = []
    for name, endpoint in places:
        try:
            found.append(ServiceSocket(name, bind(name, endpoint)))
        except ConfigError as error:
            problems += error.problems
    if problems:
        for one in found:
            one.sock.close()
        raise ConfigError(problems)
    return found


def _made(name: str, endpoint: Endpoint) -> socket.socket:
    return listen(name, Path(endpoint.path), _MODES[name], BACKLOG)


def _bound(name: str, endpoint: Endpoint) -> socket.socket:
    if endpoint.transport != "udp":
        return listening(name, endpoint).sock
    sock = socket.socket(
        socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    )
    try:
        sock.bind((endpoint.host, endpoint.port))  # no SO_REUSEADDR: over UDP two programs could have one port
    except OSError as error:
        sock.close()
        raise ConfigError([f"{name}: can't listen on {endpoint}: {error.strerror}; {cure(error)}"]) from error
    return sock
