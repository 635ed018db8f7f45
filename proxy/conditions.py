"""What the supervisor can say of the servers behind: for `popgate status`, and whether the node is of any use.

Read from the workers' table (net/scoreboard.py); nothing is asked here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .net.scoreboard import keys_of
from .runtime import forgiven, servers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .channel import Message
    from .config import Config
    from .config.schema import Upstream
    from .net.scoreboard import Scoreboard
    from .net.upstream import Server


def status(config: Config, board: Scoreboard, now: float) -> list[Message]:
    """One object a server, in the order of the configuration.  `now`: leases/clock.py."""
    found: list[Message] = []
    for upstream, server, slot in _servers(config, board):
        known = board.condition(slot)
        down = known.state == "down"
        found.append(
            {
                "upstream": upstream.name,
                "server": str(server),
                "state": known.state,
                "connections": board.connections(slot),
                "why": known.why if down else "",
                "seconds_ago": round(now - max(known.good, known.bad)) if known.state != "unknown" else None,
            }
        )
    return found


def healthy(config: Config, board: Scoreboard, now: float) -> bool:
    """Whether any server of any upstream that a listener has may be tried."""
    used = {listener.upstream for listener in config.listeners.values()}
    return any(
        board.is_up(slot, now, forgiven(upstream))
        for upstream, _, slot in _servers(config, board)
        if upstream.name in used
    )


def _servers(config: Config, board: Scoreboard) -> Iterator[tuple[Upstream, Server, int]]:
    for name, upstream in config.upstreams.items():
        servers = servers_of(upstream)
        _, keys = keys_of(name, servers)
        for server, key in zip(servers, keys, strict=True):
            yield upstream, server, board.slot(key)
