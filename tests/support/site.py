"""The answers of the status page's process, without popgate behind it: what that would say is the test's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp.test_utils import TestClient, TestServer

from proxy.admin.facts import Facts
from proxy.admin.site import Site
from proxy.config import Config
from proxy.shared_memory.connections import ConnectionCounters
from proxy.shared_memory.figures import NodeFigures

from .workshop import KeptLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

T = TypeVar("T")

TOKEN = "the-token"
SERVER = {
    "upstream": "smtp", "server": "192.0.2.10:25", "state": "up", "connections": 3, "failures": 2, "why": "",
    "seconds_ago": 1,
}  # fmt: skip
STATUS: dict[str, Any] = {
    "pid": 1,
    "workers": [{"number": 0, "pid": 2, "ready": True, "stalled": False}],
    "alive": True,
    "restarts": 4,
    "agent": "ready up 100%",
    "connections": 5,
    "draining": False,
    "upstreams": [SERVER],
    "certificates": [{"path": "/certs/mail.pem", "names": ["mail.example.com"], "expires": 1_800_000_000.0}],
}


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str


class Desk:
    """A Site; `asked` are its questions, `answers` what they get."""

    def __init__(self, config: Config | None = None, listeners: dict[str, str] | None = None) -> None:
        self.answers: dict[str, Any] = {"status": STATUS, "leases": {"leases": [], "count": 7}}
        """By what is asked; an exception is raised."""
        self.asked: list[dict[str, Any]] = []
        self.log = KeptLog()
        self.board = NodeFigures(1, listeners or {"in": "smtp"})
        self.row = self.board.row(0)
        self.counters = ConnectionCounters(1)
        self.site = Site(config or Config(), self.board, self.counters, Facts(self._ask), self.log, TOKEN)

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(question)
        answer = self.answers[question["do"]]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    def get(self, path: str, **options: Any) -> Answer:
        return self.request("GET", path, **options)

    def request(self, method: str, path: str, **options: Any) -> Answer:
        """One request, on a connection and a loop of its own."""

        async def asked(client: TestClient[Any, Any]) -> Answer:
            response = await client.request(method, path, **options)
            return Answer(response.status, response.headers, await response.text())

        return self.visited(asked)

    def act(self, path: str, wanted: Any, token: str = TOKEN, **headers: str) -> Answer:
        """An action, as the page orders it."""
        return self.request("POST", path, json=wanted, headers={"Authorization": f"Bearer {token}", **headers})

    def visited(self, visit: Callable[[TestClient[Any, Any]], Awaitable[T]]) -> T:
        async def whole() -> T:
            async with TestClient(TestServer(self.site.application())) as client:
                return await visit(client)

        return asyncio.run(whole())
