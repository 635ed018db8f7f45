"""A private OpenSMTPD that relays for loopback, out of Debian's package without installing it (see jail.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .house import until_empty, until_it_greets
from .jail import Jail
from .needs import need
from .ports import free, server_host
from .sink import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .sink import Message

_PROGRAM = "usr/sbin/smtpd"
_CONFIG = """
smtp max-message-size 100M
listen on {host} port {port} hostname {name}
action "sink" relay host smtp://{sink_host}:{sink_port}
match from any for any action "sink"
"""


class OpenSmtpd:
    """A running OpenSMTPD; see `house.House`."""

    name = "opensmtpd"
    host_name = "opensmtpd.local.test"
    literal = b""

    def __init__(self) -> None:
        need("root", "opensmtpd")
        self._sink = Sink(server_host())
        host = server_host()
        self.address = (host, free(host))
        self._jail = Jail("opensmtpd", [_PROGRAM, "usr/sbin/smtpctl"], ["opensmtpd", "opensmtpq"])
        passwd = self._jail.path("etc/passwd")
        passwd.write_text(passwd.read_text().replace("::/run:", "::/var/lib/opensmtpd/empty:"))
        self._jail.folder("var/lib/opensmtpd/empty")
        self._queue = self._jail.folder("var/spool/smtpd", 0o711) / "queue"
        self._jail.path("etc/smtpd.conf").write_text(
            _CONFIG.format(
                name=self.host_name,
                host=host,
                port=self.address[1],
                sink_host=self._sink.address[0],
                sink_port=self._sink.address[1],
            )
        )
        self._process = self._jail.start(f"/{_PROGRAM}", "-d")
        try:
            until_it_greets(self.address)
        except BaseException:
            self.close()
            raise

    def arrived(self) -> Sequence[Message]:
        until_empty(lambda: [place.name for place in self._queue.glob("*/*/*")])
        return self._sink.messages

    def close(self) -> None:
        self._process.stop()
        self._sink.close()
        self._jail.close()
