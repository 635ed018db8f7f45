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
"""Seconds for a whole check, its TLS included; checks have limits of their own, of a few seconds."""


class BalancerCheck(LegOwner):
    """See the module; the shape that a worker sees is a link's."""

    __slots__ = ("_began", "_leg", "_session", "_shared", "_why", "address", "deadlines", "id", "service", "shown")

    def __init__(
        self, shared: Shared, service: Service, sock: socket.socket, address: bytes, shown: str, id_: str
    ) -> None:
        """`sock`: accepted, non-blocking, behind its PROXY header; `address`, `shown`: the balancer's."""
        self.service, self.address, self.shown, self.id = service, address, shown, id_
        self.deadlines: Queue | None = None
        self._shared = shared
        self._began = shared.clock()
        self._why = ""  # how it ended, once it has
        self._session = BalancerCheckSession(service.protocol, service.upstream.healthy)
        self._leg = TlsLeg(shared.poller, sock, self)
        shared.deadlines.arm(self, LASTS)
        if service.implicit_tls:
            assert service.tls is not None
            self._leg.start_tls(service.tls.wrap_for(address))
        else:
            self._say()

    # What the leg says

    def received(self, leg: Leg, data: bytes) -> None:
        if not self._why:
            self._session.client_bytes(data)
            self._say()

    def ended(self, leg: Leg) -> None:
        self._close("balancer left")

    def lost(self, leg: Leg, why: str) -> None:
        self._close(f"balancer lost: {why}")

    def write_blocked(self, leg: Leg) -> None:
        """It asks and does not read: it is not asked again before it has read."""
        leg.hold(OWN_FULL)

    def write_unblocked(self, leg: Leg) -> None:
        leg.hold(0)

    def tls_established(self, leg: Leg, tls: ssl.SSLObject) -> None:
        self._say()

    def tls_failed(self, leg: Leg, tls: ssl.SSLObject, error: ssl.SSLError) -> None:
        self._close("TLS handshake failed")

    def expired(self) -> None:
        self._close("too slow")

    # What the worker says

    def drain(self) -> None:
        """End now: a check cuts nothing."""
        if not self._why:
            self._session.drain()
            self._say()

    def cut(self) -> None:
        self._close("cut by a drain")

    def _say(self) -> None:
        session = self._session
        out, session.to_client = session.to_client, []
        self._leg.send(b"".join(out))
        if session.done:
            self._why = "answered"
            self._leg.finish_sending()  # and it closes: no reset may overtake our last words
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
