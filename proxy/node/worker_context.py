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
    config: Config
    sockets: Sequence[ListeningSocket]
    service_sockets: Sequence[ServiceSocket]
    bound: Bound
    tls: Mapping[str, ServerTls]
    counters: ConnectionCounters
    failures: FailedLogins
    figures: NodeFigures
    channel: socket.socket
