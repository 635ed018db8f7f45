"""What a start does while it may still be root: bind the ports, raise the limit on descriptors; and then `become`.

Everything else (log, store, control socket, reload, workers) is opened after `become`, as `user`.  So whatever popgate
makes belongs to that user, and no file is opened or given away as root in a folder where `user` could have put a link.

The command line becomes `user` too before it touches a store that no daemon has open (RULES N8).
"""

from __future__ import annotations

import errno
import os
import pwd
import resource
import socket
from typing import TYPE_CHECKING, Final

from .errors import ConfigError

if TYPE_CHECKING:
    from .config import Config
    from .config.schema import Endpoint

BACKLOG: Final = 4096
"""Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn."""


def bind_all(config: Config) -> list[tuple[str, socket.socket]]:
    """Listen on every address of every listener: (listener, socket) each, non-blocking (RULES N4).

    Raise ConfigError with all that can't be bound.
    """
    sockets: list[tuple[str, socket.socket]] = []
    problems: list[str] = []
    for name, listener in config.listeners.items():
        for endpoint in listener.bind:
            try:
                sockets.append((name, _listening(endpoint)))
            except OSError as error:
                problems.append(f"listener.{name}: can't listen on {endpoint}: {error.strerror}; {_cure(error)}")
    if problems:
        for _, sock in sockets:
            sock.close()
        raise ConfigError(problems)
    return sockets


def _listening(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted sockets inherit both on Linux
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((endpoint.host, endpoint.port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _cure(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "ports below 1024 need root (popgate drops to `user` afterwards) or CAP_NET_BIND_SERVICE"
    return "`ss -ltnp` shows who has it" if error.errno == errno.EADDRINUSE else "check the address"


def raise_descriptors() -> None:
    """As many descriptors as we may have: each connection takes two (`popgate selftest` says whether they suffice)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def known(user: str) -> pwd.struct_passwd:
    """The entry of `user`; raise ConfigError when there is none."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise ConfigError([f"user: there is no user {user!r}; `adduser --system {user}` makes one"]) from None


def become(user: str) -> None:
    """Become `user` for good; nothing to do for "".  Raise ConfigError where that can't be done."""
    if not user:
        return
    entry = known(user)
    if os.geteuid() == entry.pw_uid:
        return
    try:
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except PermissionError:
        raise ConfigError([f"user: only root can become {user!r}; start popgate as root or as {user}"]) from None
