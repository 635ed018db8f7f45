"""A leg on a real socket, with an owner that remembers what it is told."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Generic, TypeVar

from proxy.net.sockets.leg import SESSION, Leg, LegOwner

if TYPE_CHECKING:
    from collections.abc import Callable

    from .workshop import Workshop


L = TypeVar("L", bound=Leg)


class Owner(LegOwner):
    """What a leg said, in order; `then` is called with every text."""

    def __init__(self) -> None:
        self.text = b""
        self.said: list[str] = []
        self.chunks: list[int] = []
        self.held = False
        self.then: Callable[[bytes], None] = lambda _: None
        self.hold_when_secured = False
        self.tls: ssl.SSLObject | None = None
        """The TLS of the handshake that succeeded."""

    def received(self, leg: Leg, data: bytes) -> None:
        assert not self.held, "received while held"
        self.text += data
        self.chunks.append(len(data))
        self.then(data)

    def ended(self, leg: Leg) -> None:
        self.said.append("ended")

    def lost(self, leg: Leg, why: str) -> None:
        self.said.append("lost: " + why)

    def write_blocked(self, leg: Leg) -> None:
        assert leg.rest

    def write_unblocked(self, leg: Leg) -> None:
        self.said.append("write_unblocked")

    def tls_established(self, leg: Leg, tls: ssl.SSLObject) -> None:
        self.said.append("tls_established")
        self.tls = tls
        if self.hold_when_secured:
            self.held = True
            leg.hold(SESSION)

    def tls_failed(self, leg: Leg, tls: ssl.SSLObject, error: ssl.SSLError) -> None:
        self.said.append("tls_failed")
        assert isinstance(error, ssl.SSLError)


class Bench(Generic[L]):
    def __init__(self, workshop: Workshop, kind: type[L]) -> None:
        self.workshop = workshop
        ours, self.peer = workshop.pair()
        self.owner = Owner()
        self.leg = kind(workshop.poller, ours, self.owner)

    def hold(self, reasons: int) -> None:
        self.owner.held = bool(reasons)
        self.workshop.run(lambda: self.leg.hold(reasons))

    def until(self, condition: Callable[[], object]) -> None:
        self.workshop.until(condition)


def still(workshop: Workshop) -> None:
    """The poller has nothing to do: it does not turn."""
    workshop.rest(0.02)
    before = workshop.poller.turns
    workshop.rest(0.05)
    assert workshop.poller.turns == before, "the poller spins"
