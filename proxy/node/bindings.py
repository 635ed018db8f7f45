"""All sockets at which the node listens, bound in an order that rights allow: ports first, then `user`, then paths.

Made by the supervisor before the first fork.  A failure leaves nothing open.  How a port is bound or taken over from
systemd is sockets.py and activation.py; where other servers ask, service_sockets.py.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..runtime import spoofing_keys
from .activation import inherited
from .privileges import become, demand_net_raw, raise_descriptors
from .service_sockets import ServiceSocket, bind_paths, bind_ports
from .sockets import ListeningSocket, bind_all, listening

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from ..config import Config
    from ..runtime import Bound


@dataclass(slots=True)
class Bindings:
    """See the module."""

    listeners: list[ListeningSocket]
    """Where clients connect."""
    bound: Bound
    """Their addresses, also when they are closed: an upstream there would be popgate itself (rule N10)."""
    services: list[ServiceSocket] = field(default_factory=list)
    """Where other servers ask."""
    agent: ListeningSocket | None = None
    """Where a balancer asks."""
    http: ListeningSocket | None = None
    """Of the status page."""

    def close_workers(self) -> None:
        """Those that the workers serve."""
        for sock in [one.sock for one in self.listeners] + [one.sock for one in self.services]:
            sock.close()

    def close(self) -> None:
        """All of them."""
        self.close_workers()
        for one in (self.agent, self.http):
            if one is not None:
                one.sock.close()


def bind(config: Config, environ: MutableMapping[str, str]) -> Bindings:
    """Bind what the configuration names, and become its `user`; raise ConfigError."""
    listeners = bind_all(config, inherited(environ))
    made = Bindings(listeners, frozenset([one.address() for one in listeners]))
    with contextlib.ExitStack() as undo:
        undo.callback(made.close)
        made.agent = listening("admin.agent", config.admin.agent) if config.admin.agent else None
        made.services += bind_ports(config)
        made.http = listening("admin.http", config.admin.http) if config.admin.http else None
        spoofing = spoofing_keys(config)
        become(config.user, keep_net_raw=bool(spoofing))  # nothing below runs as root
        demand_net_raw(spoofing)
        made.services += bind_paths(config)
        raise_descriptors()
        undo.pop_all()
    return made
