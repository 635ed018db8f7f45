"""What is answered by HTTP: routes, and what holds for every answer.

    GET /metrics     the node's figures for Prometheus
    GET /healthz     200 while the loops of all workers beat, else 503: for who would restart popgate
    GET /readyz      200 while it is of use, else 503 (no worker, no mail server, draining): for who would send clients

Nothing is logged of what is asked.  A bug ends in a 500 and a line in the log, without what the request said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from ..net import account
from .door import is_ours
from .exposition import exposition
from .facts import ill, unready

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..log import Log
    from ..metrics import Board
    from .facts import Facts

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY: Final = 4096
"""Octets of a request's body; an action is a name or an address."""
HEADERS: Final = {
    "Server": "popgate",
    "Connection": "close",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Site:
    """The answers of one process."""

    def __init__(self, board: Board, facts: Facts, log: Log) -> None:
        self.log = log
        self._board, self._facts = board, facts

    def application(self) -> web.Application:
        """For aiohttp to serve."""
        application = web.Application(middlewares=[self._guarded], client_max_size=MAX_BODY)
        application.on_response_prepare.append(_prepare)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/healthz", self._health)
        application.router.add_get("/readyz", self._readiness)
        return application

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_ours(request.headers.get("Host", "")):
            text = "Ask by the address of this machine, by localhost, or by its own name.\n"
            return web.Response(status=421, text=text)
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception as error:
            self.log.line("error", "popgate", "bug", ("in", "admin"), *account.bug(error))
            self.log.flush()
            return web.Response(status=500, text="A bug in popgate; its log says more.\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        body = exposition(self._board, await self._facts.status(), await self._facts.leases())
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, request: web.Request) -> web.Response:
        return _verdict(ill(await self._facts.status()))

    async def _readiness(self, request: web.Request) -> web.Response:
        return _verdict(unready(await self._facts.status()))


def _verdict(why: str) -> web.Response:
    return web.Response(status=503 if why else 200, text=f"{why or 'ok'}\n")


async def _prepare(request: web.Request, response: web.StreamResponse) -> None:
    """What every answer has; and it is the last on its connection (door.py)."""
    response.headers.update(HEADERS)
    response.force_close()
