"""What is answered by HTTP: routes, and what holds for every answer.

    GET /            the status page (page.html): all of it, without anything from elsewhere
    GET /events      what it shows, once a second, as server-sent events
    GET /history     what happened in each minute of the last day
    GET /why         ?address=A: may it relay, and why, as `popgate why`
    POST /revoke     {"address": A} or {"login": L}: ends leases
    POST /drain      {}: finishes what is under way, and stops
    GET /metrics     the node's figures for Prometheus
    GET /healthz     200 while the loops of all workers beat, else 503: for what would restart popgate
    GET /readyz      200 while it is of use, else 503 (no worker, no mail server, draining): for what would send clients

Whoever may look sees all; whoever acts shows the token (`popgate status --token`) as `Authorization: Bearer`, which no
form and no link of another site can do.  Nothing is logged of what is looked at.  A bug ends in a 500 and a line in the
log, without what the request said.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from ..net.link import journal as account
from ..queries.why import explain, places
from ..wire.address import cut, packed, shown
from .door import is_ours
from .exposition import exposition
from .facts import Kept, ill, unready
from .history import History
from .snapshot import Snapshots

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..config import Config
    from ..log import Log
    from ..shared_memory.connections import ConnectionCounters
    from ..shared_memory.figures import NodeFigures
    from .door import Door
    from .facts import Answer, Facts

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY: Final = 4096
"""Octets of a request's body; an action is a name or an address."""
WATCHERS: Final = 16
"""Pages that are looked at; more are told to come again."""
PACE: Final = 1.0
"""Seconds from one event to the next."""
SLOWEST: Final = 10.0
"""Seconds for a watcher to take an event."""
PAGE: Final = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
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


def _hash(element: str) -> str:
    """What Content-Security-Policy calls the page's own script or style."""
    found = re.search(f"<{element}>(.*?)</{element}>", PAGE, re.DOTALL)
    assert found is not None
    return base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()


POLICY: Final = (
    f"default-src 'none'; script-src 'sha256-{_hash('script')}'; style-src 'sha256-{_hash('style')}'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Site:
    """The answers of one process."""

    def __init__(
        self, config: Config, figures: NodeFigures, counters: ConnectionCounters, facts: Facts, log: Log, token: str
    ) -> None:
        self._config, self._log = config, log
        self.history = History(figures)
        self._figures, self._facts, self._token = figures, facts, token
        snapshots = Snapshots(figures, counters, facts, self.history)
        self._snapshot = Kept(snapshots.take)
        self._door: Door | None = None  # where connections that watch are told to stay
        self.watchers = 0
        """Pages that are looked at now."""

    def adopt(self, config: Config) -> None:
        """Answer by another configuration from now on."""
        self._config = config

    def watch_through(self, door: Door) -> None:
        """Connections that watch are told there to stay."""
        self._door = door

    def application(self) -> web.Application:
        """For aiohttp to serve."""
        application = web.Application(middlewares=[self._guarded], client_max_size=MAX_BODY)
        application.on_response_prepare.append(_prepare)
        add = application.router.add_get
        add("/", self._page)
        add("/events", self._events)
        add("/history", self._history)
        add("/why", self._why)
        add("/metrics", self._metrics)
        add("/healthz", self._health)
        add("/readyz", self._readiness)
        application.router.add_post("/revoke", self._revoke)
        application.router.add_post("/drain", self._drain)
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
            self._log.line("error", "popgate", "bug", ("in", "admin"), *account.bug(error))
            self._log.flush()
            return web.Response(status=500, text="A bug in popgate; its log says more.\n")

    # For machines

    async def _metrics(self, request: web.Request) -> web.Response:
        body = exposition(self._figures, await self._facts.status(), await self._facts.leases())
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, request: web.Request) -> web.Response:
        return _verdict(ill(await self._facts.status()))

    async def _readiness(self, request: web.Request) -> web.Response:
        return _verdict(unready(await self._facts.status()))

    # For people

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html", headers={"Content-Security-Policy": POLICY})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self.watchers >= WATCHERS:
            return web.Response(status=503, text="Too many look already.\n")
        self.watchers += 1
        if self._door is not None:
            self._door.stay(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            while True:
                event = f"data: {json.dumps(await self._snapshot.answer())}\n\n".encode()
                async with asyncio.timeout(SLOWEST):
                    await response.write(event)
                await asyncio.sleep(PACE)
        except (ConnectionError, TimeoutError):
            return response
        finally:
            self.watchers -= 1
            if self._door is not None:
                self._door.leave(request)

    async def _history(self, request: web.Request) -> web.Response:
        return web.json_response(self.history.table())

    async def _why(self, request: web.Request) -> web.Response:
        text = request.query.get("address", "").strip()
        try:
            address = packed(text)
        except ValueError:
            return _wrong("an IP address is wanted: 192.0.2.7 or 2001:db8::7")
        question = {"do": "why", "address": shown(address), "places": places(self._config, address)}
        known = await self._facts.ask(question)
        found = explain(self._config, address, None, "", known.get("error", known))
        return web.json_response(
            {
                "address": shown(address),
                "verdicts": [
                    {"listener": one.listener, "verdict": one.verdict, "reasons": one.reasons} for one in found
                ],
            }
        )

    # Actions

    async def _revoke(self, request: web.Request) -> web.Response:
        wanted = await self._demanded(request)
        question: dict[str, Any] = {"do": "revoke"}
        if isinstance(wanted.get("address"), str):
            try:
                question["address"] = shown(cut(packed(wanted["address"]), self._config.gate.ipv6_prefix))
            except ValueError:
                return _wrong("that is no IP address")
        elif isinstance(wanted.get("login"), str) and wanted["login"]:
            question["login"] = wanted["login"]
        else:
            return _wrong("an address or a login is wanted")
        return await self._act(request, question)

    async def _drain(self, request: web.Request) -> web.Response:
        await self._demanded(request)
        return await self._act(request, {"do": "drain"})

    async def _act(self, request: web.Request, question: Answer) -> web.Response:
        answer = await self._facts.ask(question)
        words = [(key, str(value)) for key, value in question.items()]
        self._log.line("info", "popgate", "page-action", ("by", request.remote), *words, ("error", answer.get("error")))
        self._log.flush()
        self._facts.forget()
        return web.json_response(answer, status=502 if "error" in answer else 200)

    async def _demanded(self, request: web.Request) -> Answer:
        """What is to be done; raise the refusal if it is not the administrator who asks."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode("utf-8", "surrogateescape")
        if not secrets.compare_digest(given, self._token.encode()):
            if self._log.first_this_hour(("token", request.remote)):
                self._log.line("warning", "popgate", "token-refused", ("by", request.remote))
                self._log.flush()
            raise web.HTTPForbidden(text="The token is wrong; `popgate status --token` prints it.\n")
        origin = request.headers.get("Origin", "")
        if origin and origin.partition("://")[2] != request.headers.get("Host", ""):
            raise web.HTTPForbidden(text="Another site's page may not do that.\n")
        try:
            async with asyncio.timeout(SLOWEST):
                wanted = json.loads(await request.text())
        except (ValueError, RecursionError, TimeoutError):
            wanted = None
        if not isinstance(wanted, dict):
            raise web.HTTPBadRequest(text="A JSON object is wanted.\n")
        return wanted


def _verdict(why: str) -> web.Response:
    return web.Response(status=503 if why else 200, text=f"{why or 'ok'}\n")


def _wrong(why: str) -> web.Response:
    return web.json_response({"error": why}, status=400)


async def _prepare(request: web.Request, response: web.StreamResponse) -> None:
    """What every answer has; and it is the last on its connection (door.py)."""
    response.headers.update(HEADERS)
    response.force_close()
