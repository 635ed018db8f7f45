"""A private Redis server, and its clock in a test's hand.

`RedisServer()` runs Debian's redis-server on an address of its own, without persistence; `kill`, `start`, `freeze` and
`thaw` are what happens to servers.  `client()` is redis-py, for looking and for doing harm.

`ServerClock` makes the lease store's scripts read their time from a key (`turn_by_hand`), so that leases end without
waiting.  Keys have ends of their own by the real clock; they are days ahead, and no part of what a test compares.
"""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any

import redis

from proxy.leases.redis import scripts as redis_scripts
from proxy.leases.redis.connection import Server
from proxy.leases.redis.scripts import SERVER_TIME, Script

from .clocks import FakeClock
from .folder import Folder
from .needs import need
from .ports import free, server_host
from .process import Process

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_DAY = 86400
_NAMES = [name for name, value in vars(redis_scripts).items() if isinstance(value, Script)]


class RedisServer:
    """A context manager.  certificate: TLS, and nothing else, on `port`.  host: an address of `server_host`.  options:
    more of its configuration."""

    def __init__(self, *options: str, password: str = "", certificate: Path | None = None, host: str = "") -> None:
        (self._program,) = need("redis-server")
        self._folder = Folder("redis")
        self.host = host or server_host()
        self.port = free(self.host)
        self.password = password
        self._certificate = certificate
        tls = str(certificate)
        self._options = [
            *("--bind", self.host, "--dir", str(self._folder.path), "--save", "", "--daemonize", "no"),
            *(("--port", "0", "--tls-port", str(self.port)) if certificate else ("--port", str(self.port))),
            *(("--tls-cert-file", tls, "--tls-key-file", tls, "--tls-auth-clients", "no") if certificate else ()),
            *(("--requirepass", password) if password else ()),
            *options,
        ]
        self.start()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Again, after `kill`: on the same port, with what it kept (nothing, unless `options` say otherwise)."""
        self.process = Process([self._program, *self._options])
        self.process.expect("Ready to accept connections")

    def kill(self) -> None:
        self.process.stop(signal.SIGKILL)

    def freeze(self) -> None:
        self.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.signal(signal.SIGCONT)

    def close(self) -> None:
        self.thaw()
        self.process.stop()
        self._folder.cleanup()

    @property
    def server(self) -> Server:
        return Server(self.host, self.port, password=self.password)

    def url(self, database: int = 0) -> str:
        login = f":{self.password}@" if self.password else ""
        scheme, query = ("rediss", f"?ssl_ca_certs={self._certificate}") if self._certificate else ("redis", "")
        return f"{scheme}://{login}{self.host}:{self.port}/{database}{query}"

    def client(self) -> Any:  # Any: redis-py's own types differ between its versions
        tls = {"ssl": True, "ssl_cert_reqs": "none"} if self._certificate else {}
        return redis.Redis(self.host, self.port, password=self.password or None, **tls)


class ServerClock(FakeClock):
    """The clock of a node, and that of the server, which goes along but for steps of the node's wall clock."""

    def __init__(self, server: RedisServer) -> None:
        self._server_wall = float(int(time.time()) + _DAY)
        super().__init__(wall=self._server_wall)
        self._client = server.client()
        self._show()

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._server_wall += seconds
        self._show()

    def close(self) -> None:
        self._client.close()

    def _show(self) -> None:
        self._client.set("test:now", int(self._server_wall * 1_000_000))


def turn_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's scripts believe `ServerClock`."""
    changed = []
    for name in _NAMES:
        script = getattr(redis_scripts, name)
        assert SERVER_TIME in script.text
        by_hand = "local now = tonumber(redis.call('GET', 'test:now'))"
        changed.append(Script(script.text.replace(SERVER_TIME, by_hand)))
        monkeypatch.setattr(redis_scripts, name, changed[-1])
    monkeypatch.setattr(redis_scripts, "ALL", changed)


def let_go(loop: asyncio.AbstractEventLoop) -> None:
    """Let the loop do away with what a closed store left."""
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))
