"""What a worker is given by its supervisor, all of it made before the fork."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from ..config import Config
    from ..net.tls.contexts import ServerTls
    from ..runtime import Bound
    from ..shared_memory.connections import ConnectionCounters
    from ..shared_memory.failed_logins import FailedLogins
    from ..shared_memory.figures import NodeFigures
    from .service_sockets import ServiceSocket
    from .sockets import ListeningSocket


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """See the module."""

    number: int
    """From 0; its slot in the memory that all share."""
    config: Config
    """Of its start; a reload sends another."""
    sockets: Sequence[ListeningSocket]
    """Where clients connect."""
    service_sockets: Sequence[ServiceSocket]
    """Where other servers ask."""
    bound: Bound
    """The addresses of `sockets`: an upstream there would be popgate itself (rule N10)."""
    tls: Mapping[str, ServerTls]
    """By protocol; made before the fork, so that all workers have one set of ticket keys."""
    counters: ConnectionCounters
    """Connections of the node."""
    failures: FailedLogins
    """Failed logins of the node."""
    figures: NodeFigures
    """Metrics of the node."""
    channel: socket.socket
    """To the supervisor (node/channel.py)."""
