"""Mode `shadow` is only for a server that decides for itself (rule G12): here it is asked.

In shadow the gate refuses nothing.  A server that relays for popgate's address would then be an open relay, so each
server behind a listener in shadow is asked at the start and at every reload, at each of its addresses, by the
selftest's question (MAIL, RCPT to a reserved domain, RSET; selftest/smtp.py).  Only a clear "no" of all of them permits
shadow; otherwise `enforced` gives a configuration in which that listener enforces, and says why.  Nor is it permitted
where there is nobody to ask: each client of a transparent listener names its own server.

The question takes time and an event loop, and the supervisor has none (rule N5): a child asks, and answers through a
pipe within `PATIENCE` seconds.  Rejected: asking in each worker, which would serve before it knows.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from .errors import PopgateError
from .selftest import servers_of
from .selftest.servers import visit
from .upstream_client.talk import addresses

if TYPE_CHECKING:
    from .config import Config
    from .log import Log
    from .selftest.servers import Server

PATIENCE: Final = 20.0
"""Seconds for all servers; a reload waits for them, and workers serve on meanwhile."""
_MAX_ANSWER: Final = 65536


def judged(config: Config, log: Log) -> Config:
    """The configuration to serve by; what it says otherwise than `config` is said to the log."""
    config, refused = enforced(config)
    for listener, why in refused.items():
        log.line("error", "popgate", "no-shadow", ("listener", listener), ("why", why))
    return config


def enforced(config: Config) -> tuple[Config, dict[str, str]]:
    """The configuration to serve by, and, for each listener that must enforce instead, why."""
    wanting = {name: one for name, one in config.listeners.items() if one.gate.mode == "shadow"}
    wanting = {name: one for name, one in wanting.items() if one.protocol == "smtp"}
    if not wanting:
        return config, {}
    reasons = _asked(config, {one.upstream for one in wanting.values()})
    refused = {name: reasons[one.upstream] for name, one in wanting.items() if reasons[one.upstream]}
    listeners = {
        name: replace(one, gate=replace(one.gate, mode="enforce")) if name in refused else one
        for name, one in config.listeners.items()
    }
    return replace(config, listeners=listeners), refused


def _asked(config: Config, upstreams: set[str]) -> dict[str, str]:
    """For each upstream why shadow is not permitted; empty where it is."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, json.dumps(asyncio.run(_visits(config, upstreams))).encode())
        finally:
            os._exit(0)
    os.close(writing)
    try:
        answer = _read(reading)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    found: dict[str, str] = json.loads(answer) if answer else {}
    return {name: found.get(name, "its servers were not asked to the end in time") for name in upstreams}


def _read(pipe: int) -> bytes:
    answer, until = b"", time.monotonic() + PATIENCE
    while len(answer) < _MAX_ANSWER and select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
        data = os.read(pipe, _MAX_ANSWER)
        if not data:
            return answer
        answer += data
    return b""


async def _visits(config: Config, upstreams: set[str]) -> dict[str, str]:
    reasons = dict.fromkeys(upstreams, "its clients choose its servers, and nobody can ask those: set servers")
    named = [server for server in servers_of(config) if server.upstream.name in upstreams]
    reasons |= dict.fromkeys([server.upstream.name for server in named], "")
    servers: list[Server] = []
    for server in named:
        try:
            servers += await _each_address(server)
        except PopgateError as error:
            reasons[server.upstream.name] = f"{server.endpoint} can't be asked: {error}"
    for server, found in zip(servers, await asyncio.gather(*map(visit, servers)), strict=True):
        if found.relays is not False:
            what = "relays for our address" if found.relays else "does not say whether it relays for our address"
            reasons[server.upstream.name] = f"{server.endpoint} {what}: everyone could send through it"
    return reasons


async def _each_address(server: Server) -> list[Server]:
    """The server, once for each address of its name: sessions may come by any, and it may judge them apart."""
    endpoint, upstream = server.endpoint, server.upstream
    if endpoint.path:
        return [server]
    if upstream.tls != "off" and not upstream.tls_name:
        upstream = replace(upstream, tls_name=endpoint.host)
    return [
        replace(server, upstream=upstream, endpoint=replace(endpoint, host=address.host))
        for address in await addresses(endpoint, upstream.connect_timeout)
    ]
