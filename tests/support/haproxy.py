"""A private HAProxy in front of popgate: the configuration that we ship, or any other.

`shipped(node, ...)` is scripts/haproxy/haproxy.cfg with nothing changed but what follows, so that a test which is green
has run what administrators run:

- `server nodeN "${NODEN}:25"` names the address that the test's node has for that listener; sections and servers that
  the test does not have are left out, the agent where a node has none (`agent-port` is the node's own otherwise);
- `bind :25` is a free port of a private address (`HAProxy`);
- results of health checks are logged, and connections on which nothing was said;
- clients at 127.0.0.7 and 127.1.2.3 appear as 192.0.2.7 and 198.18.2.3 (`set-src`), because popgate refuses headers
  that claim loopback;
- it has one thread: of two that log at the same time one gives its line up if the other, which the kernel may have
  stopped in the middle of it, is not done soon; and the tests wait for lines;
- it takes as many connections as this machine's limit of descriptors allows, and started by anyone but root it does not
  become another user.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from .folder import Folder
from .needs import need
from .ports import free, server_host
from .process import Process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Node = Mapping[str, tuple[str, int]]

SHIPPED = Path(__file__).parents[2] / "scripts" / "haproxy" / "haproxy.cfg"
LISTENERS = ("smtp", "submission", "smtps", "pop3", "pop3s")
SEEN_AS = {r"127\.0\.0\.": "192.0.2.", r"127\.1\.": "198.18."}
_GLOBAL = "global\n    log stdout format raw daemon\n"
_NOT_HERE = re.compile(rf"^    (maxconn{'' if os.geteuid() == 0 else '|user|group'}) .*\n", re.MULTILINE)
_ASKS = re.compile(r" agent-check agent-port \d+ agent-inter \w+")
_UP = "Health check for server {}/node1 succeeded"


def shipped(*nodes: Node) -> str:
    """The shipped configuration for these nodes, each of which is the addresses of its LISTENERS, and of "admin.agent"
    if it has one."""
    text = SHIPPED.read_text("utf-8").replace("option dontlognull", "option log-health-checks")
    if "admin.agent" not in nodes[0]:
        text = _ASKS.sub("", text)
    first, *sections = re.split(r"^(?=listen )", text, flags=re.MULTILINE)
    return first + "".join([_section(section, nodes) for section in sections])


def _section(text: str, nodes: Sequence[Node]) -> str:
    """A `listen` section for these nodes; "" if they don't have that listener."""
    name = text.split()[1]

    def server(match: re.Match[str]) -> str:
        if int(match[1]) > len(nodes):
            return ""
        node = nodes[int(match[1]) - 1]
        agent = f" agent-port {node['admin.agent'][1]}" if "admin.agent" in node else ""
        return "    server node{} {}:{}{}{}\n".format(match[1], *node[name], match[2], agent)

    return re.sub(r'^    server node(\d) "\S+"(.*)\n', server, text, flags=re.MULTILINE) if name in nodes[0] else ""


def impatient(text: str) -> str:
    """The same, with checks ten times a second."""
    return text.replace("inter 2s", "inter 100ms fastinter 100ms", 1)


def seen_as(source: str) -> str:
    """How a client at `source` appears."""
    for pattern, other in SEEN_AS.items():
        source = re.sub(f"^{pattern}", other, source)
    return source


class HAProxy:
    """A running HAProxy; `doors[name]` is where its `listen NAME` is.  A context manager."""

    def __init__(self, text: str, ready: str = _UP) -> None:
        """`ready`: what its log says of a check when it may be used, with {} for the name; waited for at every door."""
        (program,) = need("haproxy")
        self._folder = Folder("haproxy")
        host = server_host()
        self.doors: dict[str, tuple[str, int]] = {}
        shown = ",".join(f"regsub(^{pattern},{other})" for pattern, other in SEEN_AS.items())

        def bind(match: re.Match[str]) -> str:
            self.doors[match[1]] = address = (host, free(host))
            return "listen {}\n    bind {}:{}\n    tcp-request connection set-src src,{}\n".format(
                match[1], *address, shown
            )

        text = re.sub(r"^listen (\w+)\n    bind :\d+\n", bind, text, flags=re.MULTILINE)
        text = _NOT_HERE.sub("", text)
        text = text if "log stdout" in text else _GLOBAL + text
        config = self._folder.path / "haproxy.cfg"
        config.write_text(re.sub(r"^global\n", "global\n    nbthread 1\n", text, count=1, flags=re.MULTILINE))
        self.process = Process([program, "-db", "-f", str(config)])
        try:
            for name in self.doors:
                self.process.expect(ready.format(name))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> HAProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.process.stop()
        self._folder.cleanup()
