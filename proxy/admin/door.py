"""Who gets in: limits on connections, and which requests are answered at all.

A connection carries one request and has `LASTS` seconds for all of it, whoever is slow; at most `MOST` are open, those
of watchers (SSE) among them.  aiohttp itself bounds lines, headers and bodies, not how long a head may take.

A web page that the administrator happens to visit must not reach the status page by his browser.  Another site's
scripts can't read our answers (no CORS header is ever sent); and a name that turns to our address when the page is
there (DNS rebinding) is refused, because Host must be an address, `localhost` or this machine's own name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.web_protocol import RequestHandler

MOST: Final = 64
"""Connections; more are closed unanswered."""
LASTS: Final = 15.0
"""Seconds of a connection; control.PATIENCE, which an answer may take, and some."""


class Door:
    """Makes the protocol of each connection that comes in."""

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server, self._loop = server, loop
        self._staying: set[RequestHandler] = set()

    def __call__(self) -> asyncio.Protocol:
        if len(self._server.connections) >= MOST:
            return _Closed()
        handler = self._server()
        self._loop.call_later(LASTS, self._expire, handler)
        return handler

    def stay(self, request: web.Request) -> None:
        """This one watches: its connection may last."""
        self._staying.add(request.protocol)

    def leave(self, request: web.Request) -> None:
        self._staying.discard(request.protocol)

    def _expire(self, handler: RequestHandler) -> None:
        if handler.transport is not None and handler not in self._staying:
            handler.transport.abort()


class _Closed(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def is_ours(host: str) -> bool:
    """Whether a Host header names us in a way that no stranger's DNS can."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.removeprefix("[").removesuffix("]").lower().rstrip(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in ("", "localhost", socket.gethostname().lower())
    return True
