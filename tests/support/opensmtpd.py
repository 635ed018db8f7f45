"""A private OpenSMTPD that relays for loopback, out of Debian's package without installing it (see jail.py).

What it queues stays there (-P mta), and is read from its log: it rewrites no address on the way out, so that the
envelope in the log is the one that would leave.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .house import until_it_greets
from .jail import Jail
from .needs import need
from .ports import free, server_host
from .sink import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROGRAM = "usr/sbin/smtpd"
_CONFIG = """
smtp max-message-size 100M
listen on {host} port {port} hostname {name}
action "out" relay
match from any for any action "out"
"""
_ENVELOPE = re.compile(r" smtp envelope evpid=([0-9a-f]{8})[0-9a-f]* from=<(.*)> to=<(.*)>$")


class OpenSmtpd:
    """A running OpenSMTPD; see `house.House`."""

    name = "opensmtpd"
    host_name = "opensmtpd.local.test"
    backlog = 5
    literal = b""

    def __init__(self) -> None:
        need("root", "opensmtpd")
        host = server_host()
        self.address = (host, free(host))
        self._jail = Jail("opensmtpd", [_PROGRAM, "usr/sbin/smtpctl"], ["opensmtpd", "opensmtpq"])
        passwd = self._jail.path("etc/passwd")
        passwd.write_text(passwd.read_text().replace("::/run:", "::/var/lib/opensmtpd/empty:"))
        self._jail.folder("var/lib/opensmtpd/empty")
        self._jail.folder("var/spool/smtpd", 0o711)
        text = _CONFIG.format(name=self.host_name, host=host, port=self.address[1])
        self._jail.path("etc/smtpd.conf").write_text(text)
        self._jail.path("etc/resolv.conf").write_text("lookup file\nnameserver 127.0.0.1\n")
        self._process = self._jail.start(f"/{_PROGRAM}", "-d", "-P", "mta")
        try:
            until_it_greets(self.address)
        except BaseException:
            self.close()
            raise

    def arrived(self) -> Sequence[Message]:
        messages: dict[str, Message] = {}
        for line in list(self._process.lines):
            if match := _ENVELOPE.search(line):
                before = messages.get(match[1], Message(match[2].encode(), (), f"Received: id {match[1]}\r\n".encode()))
                messages[match[1]] = Message(before.sender, (*before.recipients, match[3].encode()), before.octets)
        return list(messages.values())

    def close(self) -> None:
        self._process.stop()
        self._jail.close()
