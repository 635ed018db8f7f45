"""Where to listen or to connect, and the texts that stand for something else than a place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Transport = Literal["", "tcp", "udp"]

CLIENT: Final = "client"
"""The `source` that stands for the client's own address."""
SQLITE: Final = "sqlite:"
"""What a store's URL begins with: leases in a file."""
MEMORY: Final = "memory:"
"""The whole of a store's URL: leases in the memory of one process."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port, or, with `path` set, a unix socket."""

    host: str
    """As written, an IPv6 address without its brackets; "" for a unix socket."""
    port: int
    """0 in a bind: the system chooses one."""
    path: str = ""
    """Of a unix socket; "" for an address and port."""
    transport: Transport = ""
    """Where there is a choice, it is written in front: "udp:127.0.0.1:9876"."""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        place = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return f"{self.transport}:{place}" if self.transport else place
