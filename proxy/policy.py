"""Who may relay, and who gets a lease: the gate's decisions, and nothing else.

`RelayPolicy.judge` answers an SMTP session's question from the lease store; `grant` enters a POP login there.  A store
that does not answer means "can't tell" (451), never yes and never no (RULES G7, DESIGN promise 3).

Recipients that are local never come here (session/smtp.py), nor do sessions that the upstream authenticated.  Times
are the store's (leases/clock.py): what comes back is seconds left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import StoreUnavailable
from .session.events import Outcome, Verdict
from .wire.address import Networks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .leases.base import Lease, LeaseStore

FOREVER = float("inf")
_NOWHERE = Networks(())
_TRUSTED = Verdict(Outcome.ALLOW, "trusted network")
_NO_LEASE = Verdict(Outcome.REFUSE, "no lease")
POP3 = "pop3"
"""The source of a lease that a POP login made (RULES G1)."""


class RelayPolicy:
    """The decisions for one listener."""

    def __init__(
        self,
        store: LeaseStore,
        *,
        window: float,
        trusted: Networks,
        never_lease: Networks,
        is_own: Callable[[bytes], bool],
        balancers: Networks = _NOWHERE,
    ) -> None:
        """`window`: seconds; `is_own(address)`: whether it is one of popgate's own, loopback apart (RULES G3).

        `balancers`: all of `accept_proxy_from`, of any listener: where one forgets its header, or where none is read,
        its address stands for all its clients.
        """
        self._store = store
        self.window = window
        self._trusted = trusted
        self._never_lease = never_lease
        self._balancers = balancers
        self._is_own = is_own

    def standing(self, address: bytes) -> Verdict | None:
        """The verdict that a client is born with, or None: it will be asked for when it matters."""
        return _TRUSTED if address in self._trusted else None

    def judge(self, address: bytes, then: Callable[[Verdict, float], None]) -> None:
        """Call `then` with the verdict and for how many seconds it holds; at once, or from the loop."""

        def found(answer: Sequence[Lease] | StoreUnavailable) -> None:
            if isinstance(answer, StoreUnavailable):
                then(Verdict(Outcome.DEFER, f"store down: {answer}"), FOREVER)
            elif answer:
                lease = answer[0]
                then(Verdict(Outcome.ALLOW, f"lease of {lease.login}", lease.login), lease.left)
            else:
                then(_NO_LEASE, FOREVER)

        self._store.find(address, found)

    def look(self, address: bytes, then: Callable[[Verdict], None]) -> None:
        """Whether it may relay just now, when it connects: for what it is shown upstream (RULES S12), no decision."""
        standing = self.standing(address)
        if standing is not None:
            then(standing)
        else:
            self.judge(address, lambda verdict, _: then(verdict))

    def unleasable(self, address: bytes) -> str:
        """Why a login from `address` makes no lease; empty when it does (RULES G3)."""
        if address in self._never_lease:
            return "never_lease"
        if address in self._balancers:
            return "the address of a load balancer (accept_proxy_from), and no client's"
        if len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80:
            return "link-local address"  # the same on every interface, and so no one's (RULES G2)
        if self._is_own(address):
            return "own address"
        return ""

    def grant(self, address: bytes, login: str, then: Callable[[StoreUnavailable | None], None]) -> None:
        """Make the lease of a POP login; `then` when it is in the store, or can't be."""

        def granted(answer: int | StoreUnavailable) -> None:
            then(answer if isinstance(answer, StoreUnavailable) else None)

        self._store.grant(address, login, POP3, self.window, granted)
