"""What popgate needs of this machine: the lease store, certificates, free ports, descriptors.

Promises to change nothing: a store that exists is written to in a transaction that is rolled back; one that does not
exist is not made, only its folder is looked at; a port is bound for an instant and never listened on.  The store is
looked at as `user`, as the running popgate will do it (rule N8): a store that root can write proves nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import resource
import socket
import time
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError, PopgateError, StoreUnavailable
from ..leases.clock import Clock
from ..leases.file import StoreBusy
from ..leases.table import LeaseTable
from ..net.accept.listener import capacity, descriptors
from ..net.tls.contexts import ServerTls
from ..node import control
from ..node.privileges import as_user
from ..wire.address import packed, shown
from . import shared
from .findings import Findings
from .servers import SOON, days

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..config import Config
    from ..config.endpoint import Endpoint

_NOBODY: Final = packed("192.0.2.1")  # TEST-NET-1, RFC 5737: no client has this address
_DAY: Final = 86400.0


class _Undo(Exception):
    """Makes LeaseTable.transaction roll back."""


def inspect(config: Config) -> Iterator[Findings]:
    """One paragraph for each thing."""
    running = _running(config)
    yield running[0]
    yield _store(config)
    yield from _certificates(config)
    for name, listener in config.listeners.items():
        yield _ports(name, listener.bind, running[1])
    yield _descriptors(config)


def bound(config: Config) -> frozenset[tuple[str, int]]:
    """Every address and port at which popgate listens, as far as the configuration fixes it (rule N10)."""
    ends = [end for listener in config.listeners.values() for end in listener.bind if end.port]
    return frozenset((shown(packed(end.host)), end.port) for end in ends)


def _running(config: Config) -> tuple[Findings, bool]:
    found = Findings("popgate")
    found.about("running")
    try:
        answer = control.ask(config.admin.control, {"do": "status"})
    except control.NotRunning:
        found.ok("no")
        return found, False
    except PopgateError as error:
        found.warn(str(error))
        return found, True
    found.ok(f"yes, process {answer.get('pid', '?')}")
    return found, True


def _store(config: Config) -> Findings:
    found = Findings("store")
    path = config.store.path
    if config.store.redis is not None:
        found.about("redis")
        shared.inspect(config, found)
        return found
    found.about("memory" if path is None else "sqlite")
    if path is None:
        found.ok("leases are forgotten at every restart")
        return found
    try:
        with as_user(config.user):
            if path.exists():
                _write_and_undo(path, config.store.timeout)
                found.ok(f"{path}: can be read and written")
            elif os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
                found.ok(f"{path}: not there yet, and can be made")
            else:
                why = "can't be written" if path.parent.is_dir() else "does not exist"
                found.fail(f"{path}: its folder {why}{_by(config.user)}")
    except StoreBusy as error:
        found.warn(f"{error}: another process holds it longer than store.timeout")
    except (StoreUnavailable, ConfigError) as error:
        found.fail(f"{error}{_by(config.user)}")
    except OSError as error:  # path.exists: a folder that may not be entered
        found.fail(f"{path}: {error.strerror}{_by(config.user)}")
    return found


def _write_and_undo(path: Path, busy: float) -> None:
    table = LeaseTable(path, Clock(), busy=busy)
    try:
        with contextlib.suppress(_Undo), table.transaction():
            table.grant(_NOBODY, "popgate-selftest", "selftest", 1.0)
            raise _Undo
    finally:
        table.close()


def _by(user: str) -> str:
    """Who tried, where that may be the reason."""
    name = user if user and os.getuid() == 0 else ""
    if not name:
        with contextlib.suppress(KeyError):
            name = pwd.getpwuid(os.geteuid()).pw_name
    return f" (tried as {name or os.geteuid()})"


def _certificates(config: Config) -> Iterator[Findings]:
    protocols = {listener.protocol for listener in config.listeners.values() if listener.tls != "off"}
    for path in config.tls.certificates if protocols else ():
        found = Findings("tls")
        found.about("certificate")
        try:
            # as popgate loads it; which protocol makes no difference to the file
            (certificate,) = ServerTls(min(protocols), [path], config.tls.min_version).certificates
        except ConfigError as error:
            for problem in error.problems:
                found.fail(problem)
        else:
            left = (certificate.not_after - time.time()) / _DAY
            text = f"{path}: for {', '.join(certificate.names[:5]) or 'nobody'}, {days(left)}"
            if left < SOON:
                found.warn(text)
            else:
                found.ok(text)
        yield found


def _ports(name: str, binds: tuple[Endpoint, ...], running: bool) -> Findings:
    found = Findings(f"listener.{name}")
    for end in binds:
        found.about("port")
        if not end.port:
            found.ok(f"{end}: the system chooses one")
            continue
        problem = _bind(end)
        if problem == errno.EADDRINUSE and running:
            found.ok(f"{end}: served")
        elif problem == errno.EADDRINUSE:
            found.fail(f"{end}: taken, and not by popgate; `ss -ltnp` shows by whom")
        elif problem in (errno.EACCES, errno.EPERM):
            found.warn(f"{end}: can't be tried{_by('')}: root or CAP_NET_BIND_SERVICE may bind it")
        elif problem == errno.EADDRNOTAVAIL:
            found.fail(f"{end}: not an address of this machine")
        elif problem:
            found.fail(f"{end}: {os.strerror(problem)}")
        elif running:
            found.warn(f"{end}: free, though popgate runs: it needs a restart to serve this")
        else:
            found.ok(f"{end}: free")
    return found


def _bind(end: Endpoint) -> int:
    """The error number of an attempt, 0 for none; the same options as the supervisor's."""
    family = socket.AF_INET6 if ":" in end.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((end.host, end.port))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _descriptors(config: Config) -> Findings:
    """limits.connections is the node's, but one worker may get nearly all of them."""
    found = Findings("limits")
    found.about("descriptors")
    need = descriptors(config.limits.connections)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # the supervisor raises the soft limit to it
    if hard == resource.RLIM_INFINITY:
        found.ok(f"connections = {config.limits.connections} needs {need}, and no limit is set")
    elif hard >= need:
        found.ok(f"connections = {config.limits.connections} needs {need}, and {hard} are allowed")
    else:
        found.warn(
            f"connections = {config.limits.connections} needs {need}, and only {hard} are allowed here; raise it "
            f"(LimitNOFILE= in the unit, ulimit -Hn), or set connections to {capacity(hard)}"
        )
    return found
