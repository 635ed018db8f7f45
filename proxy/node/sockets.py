"""The listening sockets of this node, one for each bind, inherited by all workers (rule N4).

Some may come from systemd (activation.py).  A listener that has sockets of its name (FileDescriptorName=) gets these,
whatever their addresses, and binds nothing itself.  A socket whose name is no listener's takes the place of the bind
with its address.  All other binds are made here.  A socket that no listener wants is an error: its clients would wait
in a queue that nobody serves.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError
from ..net.upstream.transparent import make_transparent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config import Config
    from ..config.endpoint import Endpoint
    from ..config.schema import Listener
    from .activation import Inherited

BACKLOG: Final = 4096
"""Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn."""


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """A socket, and whose it is."""

    listener: str
    """The listener's name, or a key."""
    sock: socket.socket
    """Bound and non-blocking."""
    kept: bool = False
    """Whether systemd keeps it open when we end: then the clients that wait in its queue are our successor's (rule
    N6)."""

    def address(self) -> tuple[str, int]:
        """Host and port, as the kernel has them."""
        host, port = self.sock.getsockname()[:2]
        return str(host), int(port)

    def __str__(self) -> str:
        host, port = self.address()
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind_all(config: Config, given: Sequence[Inherited] = ()) -> list[ListeningSocket]:
    """Listen on every address of every listener, in the configuration's order; the sockets are non-blocking.

    `given`: what systemd made.  Raise ConfigError with all that can't be bound, and all that is given for nothing.
    """
    left = list(given)
    found: list[ListeningSocket] = []
    problems: list[str] = []
    for name, listener in config.listeners.items():
        named = [one for one in left if one.name == name]
        if named:
            found += [_taken(name, one, left) for one in named]
            continue
        for endpoint in listener.bind:
            at = next((one for one in left if one.name not in config.listeners and _is_at(one, endpoint)), None)
            try:
                found.append(
                    ListeningSocket(name, _listening(endpoint, transparent=listener.transparent))
                    if at is None
                    else _taken(name, at, left)
                )
            except OSError as error:
                problems.append(f"listener.{name}: can't listen on {endpoint}: {error.strerror}; {cure(error)}")
    problems += _not_transparent(config, found)
    problems += [_unwanted(one, config.listeners) for one in left]
    if problems:
        for sock in [one.sock for one in found] + [one.sock for one in left]:
            sock.close()
        raise ConfigError(problems)
    return found


def listening(name: str, endpoint: Endpoint) -> ListeningSocket:
    """Listen for something that is no listener (`name`: its key); raise ConfigError where that can't be."""
    try:
        return ListeningSocket(name, _listening(endpoint))
    except OSError as error:
        raise ConfigError([f"{name}: can't listen on {endpoint}: {error.strerror}; {cure(error)}"]) from error


def _taken(listener: str, one: Inherited, left: list[Inherited]) -> ListeningSocket:
    left.remove(one)
    _set_options(one.sock)
    return ListeningSocket(listener, one.sock, kept=True)


def _is_at(one: Inherited, endpoint: Endpoint) -> bool:
    host, port = one.sock.getsockname()[:2]
    return port == endpoint.port and ip_address(host) == ip_address(endpoint.host)


def _unwanted(one: Inherited, listeners: dict[str, Listener]) -> str:
    place = ListeningSocket("", one.sock)
    return (
        f"systemd passes a socket on {place} (named {one.name}), and no listener wants it; give it "
        f'FileDescriptorName= {" or ".join(listeners)}, or a listener bind = ["{place}"]'
    )


def _not_transparent(config: Config, sockets: list[ListeningSocket]) -> list[str]:
    """Make transparent what must be and was given; say of what can't be."""
    for one in sockets:
        if config.listeners[one.listener].transparent:
            try:
                make_transparent(one.sock)
            except PermissionError:
                return [f"listener.{one.listener}: transparent = true needs Transparent=yes in systemd's socket unit"]
    return []


def _listening(endpoint: Endpoint, *, transparent: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _set_options(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if transparent:
            make_transparent(sock)
        sock.bind((endpoint.host, endpoint.port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _set_options(sock: socket.socket) -> None:
    """What accepted sockets inherit on Linux."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def cure(error: OSError) -> str:
    """What to do about a port that can't be bound."""
    if isinstance(error, PermissionError):
        return (
            "it takes root (popgate drops to `user` afterwards), or, for ports below 1024, CAP_NET_BIND_SERVICE, for "
            "transparent = true CAP_NET_RAW"
        )
    return "`ss -lntup` shows who has it" if error.errno == errno.EADDRINUSE else "check the address"
