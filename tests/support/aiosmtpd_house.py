"""aiosmtpd as an upstream server: the version before its smuggling and STARTTLS fixes, and the one after.

It has no queue and no addresses of its own: what its handler is given is what arrived.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .needs import need
from .ports import free, server_host
from .process import Process
from .sink import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

OLD, NEW = "1.4.4", "1.4.6"


class Aiosmtpd:
    """A running aiosmtpd; see `house.House`."""

    host_name = "aiosmtpd.local.test"
    backlog = 100
    literal = b""

    def __init__(self, version: str) -> None:
        (where,) = need(f"aiosmtpd-{version}")
        self.name = f"aiosmtpd-{version}".replace(".", "-")  # a key of the configuration
        host = server_host()
        self.address = (host, free(host))
        program = str(Path(__file__).with_name("aiosmtpd_server.py"))
        self._process = Process([sys.executable, "-P", program, host, str(self.address[1])], env={"PYTHONPATH": where})
        try:
            self._process.expect("^serving")
        except BaseException:
            self.close()
            raise

    def arrived(self) -> Sequence[Message]:
        return [_message(line) for line in list(self._process.lines) if line.startswith("[")]

    def close(self) -> None:
        self._process.stop()


def _message(line: str) -> Message:
    sender, recipients, octets, number = json.loads(line)
    named = f"Received: id {number}\r\n{octets}".encode("latin-1")
    return Message(_octets(sender), tuple(_octets(recipient) for recipient in recipients), named)


def _octets(address: str) -> bytes:
    return address.encode("utf-8", "surrogateescape")
