"""A pool as we ship it: scripts/haproxy/haproxy.cfg, two nodes with scripts/haproxy/pool.toml on top of the shipped
conf.d, and a Redis with what docs/pool.md puts into its redis.conf.

Only addresses, ports, password and upstreams are put in place of others' (and what is said in `haproxy.shipped`).  A
lease question may take longer than by default: the machine that runs the tests does much at a time.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .haproxy import LISTENERS, HAProxy, seen_as, shipped
from .popgate import Config, Popgate, merged
from .ports import free, server_host
from .redis import RedisServer

if TYPE_CHECKING:
    from .load import Attempt
    from .process import Process

ROOT = Path(__file__).parents[2]
FRAGMENT = ROOT / "scripts" / "haproxy" / "pool.toml"
BALANCER = "127.0.0.1"  # where the kernel lets HAProxy come from
_PASSWORD = "PASSWORD"  # in docs/pool.md and in pool.toml
_TCPLOG = re.compile(r"(?:^|\s)([\d.]+):(\d+) \[[^]]+\] (\w+) \w+/(\S+) ")


def redis_options() -> list[str]:
    """The lines of redis.conf in docs/pool.md, as redis-server takes them from its command line."""
    text = (ROOT / "docs" / "pool.md").read_text("utf-8")
    lines = re.findall(r"^((?:maxmemory-policy|appendonly|user popgate) .*)$", text, re.MULTILINE)
    assert len(lines) == 3, lines
    return [word for line in lines for word in f"--{line}".split()]


class Pool:
    """A context manager; `nodes` may be killed and started again, each keeps its ports."""

    def __init__(self, pop3: str, smtp: str, certificate: Path) -> None:
        """`pop3`, `smtp`: the upstreams as the configuration writes them."""
        self._life = contextlib.ExitStack()
        self.said: list[Process] = []
        """All popgates there were."""
        with contextlib.ExitStack() as life:
            self.redis = life.enter_context(RedisServer(*redis_options()))
            self.settings = [self._node(pop3, smtp, certificate) for _ in range(2)]
            self.nodes = [life.enter_context(Popgate(settings)) for settings in self.settings]
            self.said += [node.process for node in self.nodes]
            text = shipped(*({name: node.address(name) for name in (*LISTENERS, "admin.agent")} for node in self.nodes))
            self.haproxy = life.enter_context(HAProxy(text))
            for name in LISTENERS:
                self.haproxy.process.expect(f"Health check for server {name}/node2 succeeded")
            self._life = life.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.process.kill()  # else each would announce its end to the balancer, for five seconds
        self._life.close()

    def start_again(self, number: int, since: int) -> None:
        """A node that has ended, since so many lines of the balancer's log.  Waits until the balancer has noticed it,
        and is back once the balancer uses the node again."""
        for name in LISTENERS:
            self.haproxy.process.expect(rf"Server {name}/node{number + 1} is DOWN", since=since)
        before = len(self.haproxy.process.lines)
        self.nodes[number].restart()
        self.said.append(self.nodes[number].process)
        for name in LISTENERS:
            self.haproxy.process.expect(rf"Server {name}/node{number + 1} is UP", since=before)

    def places(self) -> dict[tuple[str, int], str]:
        """Which server had the connection of which client, by the balancer's log, which knows it at its end."""
        found = {}
        for line in list(self.haproxy.process.lines):
            if match := _TCPLOG.search(line):
                found[match[1], int(match[2])] = match[4]
        return found

    @staticmethod
    def key(attempt: Attempt) -> tuple[str, int]:
        """For `places`."""
        return seen_as(attempt.source), attempt.port

    def _node(self, pop3: str, smtp: str, certificate: Path) -> Config:
        host = server_host()
        text = FRAGMENT.read_text("utf-8").replace("192.0.2.50", BALANCER)
        text = text.replace("192.0.2.30:6379", f"{self.redis.host}:{self.redis.port}")
        assert _PASSWORD in text
        whole: Config = {}
        for file in sorted((ROOT / "conf.d").glob("*.toml")):
            whole = merged(whole, tomllib.loads(file.read_text("utf-8")))
        here: Config = {
            "workers": 2,
            "drain_timeout": "10s",
            "gate": {"local_domains": ["example.com"]},
            "store": {"timeout": "5s"},
            "listener": {name: {"bind": [f"{host}:{free(host)}"]} for name in LISTENERS},
            "upstream": {"pop3": {"servers": [pop3]}, "smtp": {"servers": [smtp]}},
            "tls": {"certificates": [str(certificate)]},
            "admin": {"agent": f"{host}:{free(host)}"},
            "log": {"level": "debug"},
        }
        return merged(merged(whole, tomllib.loads(text)), here)
