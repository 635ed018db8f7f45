"""All that the status page shows at a moment, as one object: what it gets each second while somebody looks.

Bounded whatever goes on: `facts.SHOWN` leases, `refusals.KEPT` refusals, and how many there are in all.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from .. import __version__
from ..metrics import NODE, SESSIONS_NOW, STORE_DOWN, WAITING
from ..wire.address import packed
from .facts import ill, unready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..shared_memory.connections import ConnectionCounters
    from ..shared_memory.figures import NodeFigures
    from .facts import Answer, Facts
    from .history import History

SOON: Final = 14.0
"""Days before its end that a certificate is a trouble."""


class Snapshots:
    """Takes them."""

    def __init__(self, figures: NodeFigures, counters: ConnectionCounters, facts: Facts, history: History) -> None:
        self._figures, self._counters = figures, counters
        self._facts, self._history = facts, history

    async def take(self) -> Answer:
        status, leases = await self._facts.status(), await self._facts.leases()
        figures = self._figures
        store = not figures.total(STORE_DOWN, NODE)
        troubles = list(_troubles(status, store=store))
        return {
            "time": time.time(),
            "version": __version__,
            "open": not unready(status),
            "troubles": troubles,
            "draining": status.get("draining", False),
            "workers": len(status.get("workers", [])),
            "ready": sum([worker["ready"] for worker in status.get("workers", [])]),
            "restarts": status.get("restarts", 0),
            "listeners": [
                {"name": name, "protocol": protocol, "sessions": figures.total(SESSIONS_NOW, name)}
                for name, protocol in figures.listeners.items()
            ],
            "hour": self._history.hour(),
            "upstreams": status.get("upstreams", []),
            "certificates": status.get("certificates", []),
            "store": store,
            "waiting": figures.total(WAITING, NODE),
            "leases": [self._lease(lease, leases["age"]) for lease in leases.get("leases", [])],
            "lease_count": leases.get("count"),
            "lease_trouble": leases.get("error", ""),
            "refusals": self._counters.refusals.newest(),
        }

    def _lease(self, lease: Answer, age: float) -> dict[str, Any]:
        """A lease as it is now, with the sessions of its address; the answer is `age` seconds old."""
        return {
            "address": lease["address"],
            "login": lease["login"],
            "source": lease["source"],
            "left": max(0.0, lease["left"] - age),
            "sessions": self._counters.of(packed(lease["address"])),
        }


def _troubles(status: Answer, *, store: bool) -> Iterator[str]:
    """What an administrator should look at, in words; nothing where all is well."""
    if why := unready(status) or ill(status):
        yield why
    if not store:
        yield "the lease store does not answer: relaying is deferred, mail can be read"
    for one in status.get("upstreams", []):
        if one["state"] == "down":
            yield f"{one['upstream']} {one['server']} is down: {one['why']}"
    for one in status.get("certificates", []):
        days = (one["expires"] - time.time()) / 86400
        if days < 0:
            yield f"the certificate {one['path']} has expired"
        elif days < SOON:
            yield f"the certificate {one['path']} ends in {days:.0f} days"
