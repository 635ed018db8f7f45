"""A health check of a load balancer on its socket: a leg, a BalancerCheckSession, a time limit, and a line at level
debug.

No link: it has no upstream, no lease, no flow of mail and nothing to count but itself (rule N1).  Implicit TLS is
spoken where the listener has it, since checks then come over TLS, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...session.balancer_check import BalancerCheckSession
from ..sockets.leg import LINGER, OWN_FULL, LegOwner
from ..sockets.tls_leg import TlsLeg

if TYPE_CHECKING:
    import socket
    import ssl

    from ..service import Service, Shared
    from ..sockets.leg import Leg
    from ..timers import Queue

LASTS: Final = 60.0
"""Seconds for a whole check, its TLS included; balancers have limits of their own, of a few seconds."""


class BalancerCheck(LegOwner):
    """One check; a `Connection` (net/service.py)."""

    __slots__ = ("_began", "_leg", "_session", "_shared", "_why", "address", "id", "queue", "service", "shown")

    def __init__(
        self, shared: Shared, service: Service, sock: socket.socket, address: bytes, shown: str, id_: str
    ) -> None:
        """`sock`: accepted, non-blocking, its PROXY header read.  Nothing is said before `start`."""
        self.id, self.service = id_, service
        self.address, self.shown = address, shown
        """The balancer's, as octets and as text."""
        self.queue: Queue | None = None
        """Of its deadline (net/timers.py)."""
        self._shared = shared
        self._began = shared.clock()
        """When it came, on the clock."""
        self._why = ""
        """How it ended, once it has."""
        self._session = BalancerCheckSession(service.protocol, service.upstream.healthy)
        """What is said."""
        self._leg = TlsLeg(shared.poller, sock, self)
        """The balancer's connection."""

    def start(self) -> None:
        """Greet the balancer, or begin TLS with it."""
        self._shared.deadlines.arm(self, LASTS)
        if self.service.implicit_tls:
            assert self.service.tls is not None
            self._leg.start_tls(self.service.tls.wrap_for(self.address))
        else:
            self._send()

    @property
    def answered(self) -> bool:
        """Whether our last words were said."""
        return self._session.done

    # What the leg reports

    def received(self, leg: Leg, data: bytes) -> None:
        if not self._why:
            self._session.client_bytes(data)
            self._send()

    def ended(self, leg: Leg) -> None:
        self._close("balancer left")

    def lost(self, leg: Leg, why: str) -> None:
        self._close(f"balancer lost: {why}")

    def write_blocked(self, leg: Leg) -> None:
        """A balancer that sends and does not read is not read until it has."""
        leg.hold(OWN_FULL)

    def write_unblocked(self, leg: Leg) -> None:
        leg.hold(0)

    def tls_established(self, leg: Leg, tls: ssl.SSLObject) -> None:
        self._send()

    def tls_failed(self, leg: Leg, tls: ssl.SSLObject, error: ssl.SSLError) -> None:
        self._close("TLS handshake failed")

    def expired(self) -> None:
        self._close("too slow")

    # What the worker asks for

    def drain(self) -> None:
        """End now: this interrupts no mail."""
        if not self._why:
            self._session.drain()
            self._send()

    def cut(self) -> None:
        """End now (the limit of a drain)."""
        self._close("cut by a drain")

    def _send(self) -> None:
        """Send what the session has to say, and half-close after its last words."""
        session = self._session
        self._leg.send(session.take_to_client())
        if session.done:
            self._why = "answered"
            self._leg.finish_sending()  # the balancer closes: a close of ours could overtake our last words by a reset
            self._shared.deadlines.arm(self, LINGER)

    def _close(self, why: str) -> None:
        if self._leg.closed:
            return
        self._why = self._why or why
        self._leg.close()
        self._shared.deadlines.disarm(self)
        seconds = self._shared.clock() - self._began
        self._shared.log.line(
            "debug", self.service.protocol, "probe", ("balancer", self.shown), ("id", self.id),
            ("listener", self.service.name), ("seconds", round(seconds, 3)), ("why", self._why),
        )  # fmt: skip
        self._shared.closed(self)
