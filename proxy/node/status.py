"""What the supervisor can say of the servers behind, of certificates and files: for `popgate status`, for the log, and
whether the node is of any use.

Of servers it reads the workers' table (shared_memory/server_health.py); nothing is asked here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..config.redis_url import masked
from ..metrics import NODE, STORE_DOWN
from ..net.accept.listener import capacity, descriptors
from ..runtime import forgiven, servers_of
from ..shared_memory.server_health import keys_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..config import Config
    from ..config.schema import Upstream
    from ..log import Log
    from ..net.tls.contexts import ServerTls
    from ..net.upstream.upstream import Server
    from ..shared_memory.figures import NodeFigures
    from ..shared_memory.server_health import ServerHealth
    from .channel import Message


def status(config: Config, health: ServerHealth, now: float) -> list[Message]:
    """One object a server, in the order of the configuration.  `now`: leases/clock.py."""
    found: list[Message] = []
    for upstream, server, slot in _servers(config, health):
        known = health.condition(slot)
        down = known.state == "down"
        found.append(
            {
                "upstream": upstream.name,
                "server": str(server),
                "state": known.state,
                "connections": health.connections(slot),
                "failures": health.failures(slot),
                "why": known.why if down else "",
                "seconds_ago": round(now - max(known.good, known.bad)) if known.state != "unknown" else None,
            }
        )
    return found


def healthy(config: Config, health: ServerHealth, now: float) -> bool:
    """Whether any server of any upstream that a listener has may be tried."""
    used = {listener.upstream for listener in config.listeners.values()}
    return any(
        health.is_up(slot, now, forgiven(upstream))
        for upstream, _, slot in _servers(config, health)
        if upstream.name in used
    )


def certificates(tls: Iterable[ServerTls]) -> list[Message]:
    """What clients are shown, each once; `expires`: epoch seconds."""
    shown = {certificate.path: certificate for side in tls for certificate in side.certificates}
    return [{"path": str(path), "names": list(one.names), "expires": one.not_after} for path, one in shown.items()]


def store(config: Config, figures: NodeFigures) -> Message:
    """ "down" where a worker's last question to the store got no answer (store_watch.py)."""
    return {"url": masked(config.store.url), "state": "down" if figures.total(STORE_DOWN, NODE) else "up"}


def warn(config: Config, tls: Iterable[ServerTls], log: Log) -> None:
    """Say at the start what will be missed later: descriptors, and what `user` may not touch.

    No reason not to start: mail can be read without a store (the workers try again each second), and certificates have
    been read.  Call after node/privileges.py has raised the limit.
    """
    wanted, places = config.limits.connections, capacity()
    if places < wanted:  # limits.connections is the node's, but one worker may get nearly all of them
        cure = f"set LimitNOFILE={descriptors(wanted)} in the unit, or ulimit -n, or limits.connections = {places}"
        why = f"a worker has descriptors for {places} sessions of limits.connections = {wanted}; {cure}"
        log.line("warning", "popgate", "few-descriptors", ("why", why))
    path, who = config.store.path, f"uid {os.geteuid()}"
    if path is not None:
        folder = os.access(path.parent, os.W_OK | os.X_OK)  # SQLite keeps its -wal beside the file
        if not folder or (os.path.exists(path) and not os.access(path, os.R_OK | os.W_OK)):
            why = f"{who} can't write {'it' if folder else 'in its folder'}"
            log.line("error", "popgate", "store-down", ("path", str(path)), ("why", why))
    for key in sorted({certificate.key for side in tls for certificate in side.certificates}):
        if not os.access(key, os.R_OK):
            why = f"{who} can't read it: every reload will be refused"
            log.line("warning", "popgate", "key-closed", ("path", str(key)), ("why", why))


def _servers(config: Config, health: ServerHealth) -> Iterator[tuple[Upstream, Server, int]]:
    for name, upstream in config.upstreams.items():
        servers = servers_of(upstream)
        _, keys = keys_of(name, servers)
        for server, key in zip(servers, keys, strict=True):
            yield upstream, server, health.slot(key)
