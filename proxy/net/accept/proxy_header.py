"""A connection from a load balancer whose PROXY header has not come yet: who is the client?

Peers in a listener's `accept_proxy_from` must send a header first, and popgate says nothing before it (rule N1).  It is
read exactly: what has come is looked at in the kernel's buffer (MSG_PEEK), and only the octets of the header are taken
out, so that those after it, mostly a ClientHello, are there for the leg.  It may come in any pieces, within
`proxy_timeout` in all.

The result is one call, `arrived(reader, header)`.  A header without a source stands for a health check: LOCAL, UNKNOWN
and the like, and the balancer naming itself, as HAProxy's checks do in version 1.  None: the connection is closed, and
that is a warning in the log once an hour for each balancer and reason, because a balancer without its header would
otherwise fill it; a peer that connects and leaves at once without an octet is a plain TCP check, and no fault.

A header that claims an address from which nobody can come is refused: loopback, unspecified, multicast, our own.
An address of another balancer is a client like any other, but never gets a lease (gate/policy.py).

Not here: the grammar (wire/proxyheader.py), counting (net/accept/listener.py), the dialogue of a health check
(net/accept/balancer_check.py).

Rejected: reading on until the header is whole, and handing what is too much to the leg: every way into a leg would need
a second source of octets.  SO_RCVLOWAT, so that a split header is waited for in the kernel: it may change what the leg
sees later, and costs two system calls.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ...errors import ProtocolError
from ...metrics import TURNED_AWAY
from ...wire.address import shown
from ...wire.proxyheader import MAX_V2, NoHeader, read
from ..local_addresses import is_own
from ..sockets.poller import READ

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...wire.proxyheader import ProxyHeader
    from ..service import Service, Shared
    from ..timers import Queue

FORGOTTEN: Final = (
    "no PROXY header: set send-proxy or send-proxy-v2 at the balancer, and check-send-proxy for its checks"
)
AT_ONCE: Final = 0.5
"""Seconds within which a TCP check has left: a peer that stays longer waits for our greeting."""


class HeaderReader:
    """Reads the header of one connection."""

    __slots__ = (
        "_arrived",
        "_began",
        "_data",
        "_shared",
        "_watched",
        "address",
        "queue",
        "service",
        "shown",
        "sock",
    )

    def __init__(
        self,
        shared: Shared,
        service: Service,
        sock: socket.socket,
        address: bytes,
        arrived: Callable[[HeaderReader, ProxyHeader | None], None],
    ) -> None:
        """`sock`: accepted, non-blocking.  Nothing is read before `start`."""
        self.service, self.sock = service, sock
        self.address, self.shown = address, shown(address)
        """The balancer's, as octets and as text."""
        self.queue: Queue | None = None
        """Of its deadline (net/timers.py)."""
        self._shared = shared
        self._arrived = arrived
        """Called once, with the result."""
        self._began = shared.clock()
        """When the balancer connected, on the clock."""
        self._data = b""
        """What has come of the header."""
        self._watched = False
        """The poller watches the socket."""

    def start(self) -> None:
        """Read; mostly the header is here already, since it is sent without waiting for anything."""
        if not self._read():
            self._watched = True
            self._shared.poller.add(self.sock.fileno(), READ, self)
            self._shared.deadlines.arm(self, self.service.proxy_timeout)

    def cut(self) -> None:
        """End now (the limit of a drain)."""
        self._end()

    def expired(self) -> None:
        """`proxy_timeout` is over."""
        self._refuse("the PROXY header was not complete in time" if self._data else FORGOTTEN)

    def on_ready(self, events: int) -> None:
        self._read()

    def _read(self) -> bool:
        """Take what has come, not an octet beyond the header; return whether this is over."""
        try:
            seen = self.sock.recv(MAX_V2 - len(self._data), socket.MSG_PEEK)
            if not seen:
                self._peer_left()
                return True
            header = read(self._data + seen)
            self._data += self.sock.recv(len(seen) if header is None else header.size - len(self._data))
        except BlockingIOError:
            return False
        except OSError:
            self._peer_left()
            return True
        except ProtocolError as error:
            self._refuse(FORGOTTEN if isinstance(error, NoHeader) else str(error))
            return True
        if header is None:
            return False
        self._judge(header)
        return True

    def _peer_left(self) -> None:
        """It has closed the connection, and may have been a plain TCP check."""
        if self._data:
            self._refuse("left in the PROXY header")
        elif self._shared.clock() - self._began > AT_ONCE:
            self._refuse(FORGOTTEN)
        else:
            words = (("balancer", self.shown), ("listener", self.service.name), ("why", "left without a word"))
            self._shared.log.line("debug", self.service.protocol, "probe", *words)
            self._end()

    def _judge(self, header: ProxyHeader) -> None:
        """The header is whole: is it to be believed?"""
        if header.source is not None:
            address = header.source[0]
            if address == self.address:
                header = replace(header, source=None, destination=None)
            elif why := _unbelievable(address):
                self._refuse(f"the PROXY header claims {why}", shown(address))
                return
        self._stop_watching()
        self._arrived(self, header)

    def _refuse(self, why: str, claimed: str = "") -> None:
        """Close the connection, with a line in the log; `claimed`: the address in the header."""
        log = self._shared.log
        self._shared.figures[self.service.name][TURNED_AWAY["header"]] += 1
        level = "warning" if log.first_this_hour((self.address, why)) else "debug"
        words = (("balancer", self.shown), ("listener", self.service.name), ("claimed", claimed), ("why", why))
        log.line(level, self.service.protocol, "header-refused", *words)
        self._end()

    def _end(self) -> None:
        self._stop_watching()
        self._shared.poller.close(self.sock)
        self._arrived(self, None)

    def _stop_watching(self) -> None:
        """Leave the socket alone: it is closed, or another's."""
        self._shared.deadlines.disarm(self)
        if self._watched:
            self._watched = False
            self._shared.poller.remove(self.sock.fileno())


def _unbelievable(address: bytes) -> str:
    """What is wrong with a client's address that came in a header; empty if nothing is."""
    if len(address) == 4:
        if address[0] == 127:
            return "a loopback address"
        if address[0] == 0:
            return "an unspecified address"
        if address[0] >= 224:  # RFC 5771; beyond 239 reserved, and 255.255.255.255
            return "a multicast address"
    elif address == bytes(15) + b"\x01":
        return "a loopback address"
    elif address == bytes(16):
        return "an unspecified address"
    elif address[0] == 0xFF:
        return "a multicast address"
    return "an address of this machine" if is_own(address) else ""
