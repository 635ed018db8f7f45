"""A private HAProxy in front of popgate: the README's configuration, or any other.

`from_readme(doors)` is the README's own text with its addresses put in place of others', so that a test which is green
has followed the README word for word.  Clients at 127.0.0.7 and 127.0.0.8 appear as 192.0.2.7 and 192.0.2.8: HAProxy
is told so (`set-src`), because popgate refuses headers that claim loopback, and these tests need no root.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from .folder import Folder
from .needs import need
from .ports import free, server_host
from .process import Process

if TYPE_CHECKING:
    from collections.abc import Mapping

README = Path(__file__).parents[2] / "README.md"
PORTS = {"smtp": 25, "smtps": 465, "pop3": 110, "pop3s": 995}
NODE = "192.0.2.21"  # popgate, in the README
SEEN_AS = {"127.0.0.7": "192.0.2.7", "127.0.0.8": "192.0.2.8"}
_GLOBAL = "global\n    log stdout format raw daemon\n"
_DEFAULTS = "defaults\n    log global\n    option log-health-checks\n"
_UP = "Health check for server {}/one succeeded"


def from_readme(doors: Mapping[str, tuple[str, int]]) -> str:
    """The README's configuration for these listeners of popgate, checked ten times a second; the others left out."""
    (text,) = re.findall(r"^```haproxy\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    first, *rest = re.split(r"^(?=listen )", text, flags=re.MULTILINE)
    sections = [first.replace("defaults\n", _DEFAULTS).replace("inter 5s", "inter 100ms fastinter 100ms")]
    for section in rest:
        name = section.split()[1]
        if name in doors:
            address = "{}:{}".format(*doors[name])
            sections.append(section.replace(f"{NODE}:{PORTS[name]}", address))
    return "".join(sections)


class HAProxy:
    """A running HAProxy; `doors[name]` is where its `listen NAME` is.  A context manager."""

    def __init__(self, text: str, ready: str = _UP) -> None:
        """`ready`: what its log says of a check when it may be used, with {} for the name; waited for at every door."""
        (program,) = need("haproxy")
        self._folder = Folder("haproxy")
        host = server_host()
        self.doors: dict[str, tuple[str, int]] = {}
        seen_as = self._folder.path / "seen-as"
        seen_as.write_text("".join(f"{one} {other}\n" for one, other in SEEN_AS.items()))

        def bind(match: re.Match[str]) -> str:
            self.doors[match[1]] = address = (host, free(host))
            return "listen {}\n    bind {}:{}\n    tcp-request connection set-src src,map_ip({},src)\n".format(
                match[1], *address, seen_as
            )

        text = re.sub(r"^listen (\w+)\n    bind :\d+\n", bind, text, flags=re.MULTILINE)
        config = self._folder.path / "haproxy.cfg"
        config.write_text(_GLOBAL + text)
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
