"""What the process that answers HTTP is given by its supervisor, all of it made before the fork."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from ..config import Config
    from ..shared_memory.connections import ConnectionCounters
    from ..shared_memory.figures import NodeFigures


@dataclass(frozen=True, slots=True)
class AdminContext:
    """See the module."""

    config: Config
    """Of the start; a reload sends another."""
    sock: socket.socket
    """Listening."""
    figures: NodeFigures
    """What the workers count."""
    counters: ConnectionCounters
    """Connections, and the last refusals."""
    token: str
    """Whoever knows it may act."""
    channel: socket.socket
    """To the supervisor."""
