"""`popgate selftest`: finds out, before the users do, whether everything popgate needs is there and fit.

It asks every server of every upstream what it is (servers.py, with smtp.py and pop3.py) and looks at this machine:
store, certificates, ports, descriptors (machine.py).  Each finding is one line that begins with `ok`, `warn` or
`FAIL` (findings.py); the last one sums up.

Promises: no message is sent, no lease made, no file written; no secret is shown or used (the one password that is
tried is random, for a user that can't exist).  A server may hang, flood, close or talk nonsense: each answer is
awaited for at most `connect_timeout` in all, a whole server for at most six times that, and what is kept of it is
bounded.

Every server is asked at the same time, and told in the order of the configuration.

Not here: the configuration itself (`popgate check`); the probe that `mode = "shadow"` repeats at each start (rule
G12), which can use `smtp.Smtp` when it comes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TextIO

from .findings import Findings, Sheet
from .machine import bound, inspect
from .servers import Server, place, visit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config import Config

__all__ = ["run", "servers_of"]


def run(config: Config, out: TextIO) -> int:
    """Write the findings to `out`, line by line; 0 when everything that is needed works, 1 when something failed."""
    servers = list(servers_of(config))
    places = [*map(place, servers), *(f"listener.{name}" for name in config.listeners)]
    sheet = Sheet(out, max(map(len, places), default=0))
    for found in (*inspect(config), *_unused(config)):
        sheet.write(found)
    asyncio.run(_visits(servers, sheet))
    sheet.sum_up()
    return 1 if sheet.failed else 0


async def _visits(servers: list[Server], sheet: Sheet) -> None:
    tasks = [asyncio.ensure_future(visit(server)) for server in servers]
    try:
        for task in tasks:
            sheet.write(await task)
    finally:  # where nobody reads any more; no TaskGroup, which would wrap up the BrokenPipeError
        for task in tasks:
            task.cancel()


def servers_of(config: Config) -> Iterator[Server]:
    """All servers that listeners use, with what a visit has to know."""
    ours = bound(config)
    for upstream in config.upstreams.values():
        users = [one for one in config.listeners.values() if one.upstream == upstream.name]
        checks = upstream.name in _checking(config)
        if not users and not checks:
            continue
        domains = dict.fromkeys(domain for one in users for domain in one.gate.local_domains)
        for endpoint in upstream.servers:
            yield Server(
                upstream=upstream,
                endpoint=endpoint,
                protocol=users[0].protocol if users else "pop3",  # `load` takes no upstream for two
                local_domains=tuple(domains),
                auth=any(one.gate.auth == "upstream" for one in users),
                ours=ours,
                checks=checks,
            )


def _checking(config: Config) -> set[str]:
    """Upstreams that check passwords (rule G15)."""
    listeners = config.listeners.values()
    return {one.gate.auth_upstream for one in listeners if one.protocol == "smtp" and one.gate.auth == "pop3"}


def _unused(config: Config) -> Iterator[Findings]:
    used = {one.upstream for one in config.listeners.values()} | _checking(config)
    for name in sorted(config.upstreams.keys() - used):
        found = Findings(f"upstream.{name}")
        found.about("used by")
        found.warn("no listener: not asked")
        yield found
