"""Who may relay, and who gets a lease: the gate's decisions, and nothing else.

`RelayPolicy.judge` answers an SMTP session's question from the lease store; `grant` enters a POP login there; `charge`
books what was sent.  A store that does not answer means "can't tell" (451), never yes and never no (rule G7,
docs/architecture.md, promise 3).  Of several leases the one with most time left counts, among those whose login may use
the sender (G10) and has something left of its budget (G11).

"No lease", or none that this sender may use, is first put to other servers, if there are any: their yes holds for that
transaction and makes no lease.  Then it may wait for a login from the same address (G9, gate/patience.py). Recipients
that are local never come here (session/smtp/session.py), nor do sessions that AUTH opened, unless it matters whose.
Times are the store's (leases/clock.py): what comes back is seconds left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from ..errors import StoreUnavailable
from ..wire.address import Networks, cut
from .senders import Senders
from .verdict import Outcome, Reason, RelayAsked, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..config import Gate
    from ..leases.base import Key, Lease, LeaseStore
    from ..metrics import LookUps
    from .patience import Patience, Waiting

FOREVER: Final = float("inf")
_NOWHERE: Final = Networks(())
POP3: Final = "pop3"
"""The source of a lease that a POP login made (rule G1)."""
ADMIN: Final = "admin"
"""The source of one that the administrator made."""
CROWD: Final = 20
"""Logins at one address from which on a warning is due where there is no limit (rule G3)."""

_TRUSTED: Final = Verdict(Outcome.ALLOW, Reason.TRUSTED)
_NO_LEASE: Final = Verdict(Outcome.REFUSE, Reason.NO_LEASE)
_SENDER: Final = Verdict(Outcome.REFUSE, Reason.SENDER)
_BARRED: Final = Verdict(Outcome.REFUSE, Reason.BARRED)
_SPENT: Final = Verdict(Outcome.OVER_QUOTA, Reason.SPENT)
_ANYTHING: Final = RelayAsked("", "")  # on connecting there is no sender yet


@dataclass(frozen=True, slots=True)
class PeerLogin:
    """Somebody is logged in at the address, says another server."""

    server: str
    """Where it stands in the configuration: "udp:192.0.2.20:9876"."""
    login: str


class PeerDirectory(Protocol):
    """Servers beside us that know of logins, too (neighbours/whoson_client.py)."""

    def ask(self, address: bytes, then: Callable[[PeerLogin | StoreUnavailable | None], None]) -> None:
        """Call `then` once, in time, with who is logged in there; None: nobody."""

    def tell(self, address: bytes, login: str) -> None:
        """Report a login; no answer."""


class RelayPolicy:
    """The decisions for one listener."""

    def __init__(
        self,
        gate: Gate,
        store: LeaseStore,
        *,
        is_own: Callable[[bytes], bool],
        balancers: Networks = _NOWHERE,
        patience: Patience | None = None,
        others: PeerDirectory | None = None,
        look_ups: LookUps | None = None,
    ) -> None:
        """`is_own(address)`: whether it is one of popgate's own, loopback apart (rule G3).

        `balancers`: all of `accept_proxy_from`, of any listener: where one forgets its header, or where none is read,
        its address stands for all its clients.  `patience`: where refusals wait; None: they don't.
        `others`: who is asked before refusing, and told of logins.
        `look_ups`: times what the store is asked.
        """
        self.gate = gate
        self.window = gate.window
        self.store = store
        self.patience = patience if gate.patience else None
        self.others = others
        self._look_ups = look_ups
        self._trusted = Networks(gate.trusted_networks)
        self._shared = Networks(gate.shared_networks)
        self._never_lease = Networks(gate.never_lease)
        self._balancers = balancers
        self._senders = Senders(gate.local_domains, gate.senders)
        self._no_relay = frozenset([self._senders.bare(login) for login in gate.no_relay_logins])
        self._is_own = is_own
        self._shadow = gate.mode == "shadow"
        self.binds_sender = gate.sender != "any" or bool(gate.shared_networks)
        """Whether the sender matters for anybody."""
        self.doubts_authenticated = self.binds_sender or bool(self._no_relay)
        """Whether it matters who an authenticated client is, and what it sends as."""

    def enforce(self) -> None:
        """Refuse from the next question on: what ends mode "shadow" ends it for the sessions that live, too (G12)."""
        self._shadow = False

    # Who may relay

    def preauthorised(self, address: bytes) -> Verdict | None:
        """The verdict that a client is born with, or None: it will be asked for when it matters."""
        return _TRUSTED if address in self._trusted else None

    def judge(
        self,
        address: bytes,
        question: RelayAsked,
        then: Callable[[Verdict, float], None],
        *,
        waits: bool = True,
        asks: bool = True,
    ) -> Callable[[], None] | None:
        """Call `then` with the verdict and for how many seconds it holds; at once, or from the loop.

        `waits`: whether "no lease" may be held for the gate's patience; `asks`: whether others may be asked.  Returns
        what calls a question off that is not answered yet, or None.
        """
        if self._shadow:
            deciding, then = then, lambda verdict, seconds: deciding(_shadowed(verdict), seconds)
        if question.authenticated:
            then(self._authenticated(address, question), FOREVER)
            return None
        # Behind a balancer, or on our own machine, what others know of the address is true of nobody (rule G3).
        asks = asks and self.others is not None and not self.unattributable_reason(address)
        judgement = _Judgement(self, self.lease_key(address), address, question.sender, then, waits, asks)
        judgement.look(False)
        return None if judgement.done else judgement.call_off

    def find(self, place: bytes, then: Callable[[Sequence[Lease] | StoreUnavailable], None]) -> None:
        """Ask the store."""
        look_ups = self._look_ups
        if look_ups is None:
            self.store.find(place, then)
            return
        begun = look_ups.clock()

        def found(answer: Sequence[Lease] | StoreUnavailable) -> None:
            look_ups.answered(begun, is_down=isinstance(answer, StoreUnavailable))
            then(answer)

        self.store.find(place, found)

    def verdict(self, address: bytes, sender: str, answer: Sequence[Lease] | StoreUnavailable) -> tuple[Verdict, float]:
        """What follows from the leases of an address, and for how many seconds it holds."""
        if isinstance(answer, StoreUnavailable):
            return Verdict(Outcome.DEFER, Reason.STORE_DOWN, str(answer)), FOREVER  # G7
        answer = self._counting(address, answer)
        if not answer:
            return _NO_LEASE, FOREVER
        gate, bound = self.gate, self._is_bound(address)
        unmatched = False
        if bound or gate.sender == "log":
            matching = [lease for lease in answer if self._senders.match(lease.login, sender)]
            unmatched = not matching
            if bound and unmatched:
                return _SENDER, FOREVER
            answer = matching or answer
        for lease in answer:
            if (gate.max_messages and lease.messages >= gate.max_messages) or (
                gate.max_recipients and lease.recipients >= gate.max_recipients
            ):
                continue
            left = gate.max_recipients - lease.recipients if gate.max_recipients else None
            if bound and not sender:  # a bounce has one recipient (rule G10)
                left = 1
            key = (lease.address, lease.login, lease.source)
            login = lease.login
            verdict = Verdict(Outcome.ALLOW, Reason.LEASE, login, login, left, key, unmatched=unmatched)
            return verdict, lease.left
        return _SPENT, FOREVER

    def _counting(self, address: bytes, found: Sequence[Lease]) -> Sequence[Lease]:
        """Without those that no login would make any more: they are of others in the address's network (rule G2), or
        from before it was configured so (G3, G13).  What the administrator gave counts."""
        if not found:
            return found
        if self.unattributable_reason(address):
            return [lease for lease in found if lease.source == ADMIN]
        return [lease for lease in found if lease.source == ADMIN or not self._is_barred(lease.login)]

    def elsewhere(self, address: bytes, sender: str, answer: PeerLogin | StoreUnavailable | None) -> Verdict:
        """What follows from what others say of an address; it holds for one transaction."""
        if answer is None:
            return _NO_LEASE
        if isinstance(answer, StoreUnavailable):
            return Verdict(Outcome.DEFER, Reason.PEER_DOWN, str(answer))
        if self._is_barred(answer.login):
            return _NO_LEASE
        return self._without_lease(address, answer.login, sender, Reason.PEER, f"{answer.server}: {answer.login}")

    def judge_at_connect(self, address: bytes, then: Callable[[Verdict], None]) -> None:
        """Whether it may relay just now, when it connects: for what it is shown upstream (rule S12), no decision."""
        preauthorised = self.preauthorised(address)
        if preauthorised is not None:
            then(preauthorised)
        else:
            self.judge(address, _ANYTHING, lambda verdict, _: then(verdict), waits=False, asks=False)

    def _authenticated(self, address: bytes, question: RelayAsked) -> Verdict:
        if self._is_barred(question.login):
            return _BARRED
        return self._without_lease(address, question.login, question.sender, Reason.AUTHENTICATED)

    def _without_lease(self, address: bytes, login: str, sender: str, reason: Reason, detail: str = "") -> Verdict:
        """Of a login that may relay, though no lease of ours says so: whether it may use this sender (rule G10)."""
        bound = self._is_bound(address)
        matches = not self.binds_sender or self._senders.match(login, sender)
        if bound and not matches:
            return _SENDER
        most = 1 if bound and not sender else None  # G10: a bounce has one recipient
        return Verdict(Outcome.ALLOW, reason, detail, login, most, unmatched=not matches)

    def _is_bound(self, address: bytes) -> bool:
        """Whether only the login's own senders are good here (rule G10)."""
        return self.gate.sender == "match" or address in self._shared

    def charge(self, verdict: Verdict, recipients: int) -> None:
        """A message with so many recipients that are not local was accepted by this verdict (rules G4, G11)."""
        if verdict.lease is None:
            return
        if self.gate.max_messages or self.gate.max_recipients:
            self.store.charge(*verdict.lease, 1, recipients, self.window)
        if self.gate.renew_on_use:
            self.store.renew([(*verdict.lease, self.window)])

    # Who gets a lease

    def lease_key(self, address: bytes) -> bytes:
        """What a lease is for: the address, of IPv6 the network by `ipv6_prefix` (rule G2)."""
        return cut(address, self.gate.ipv6_prefix)

    def key(self, address: bytes, login: str) -> Key:
        """The lease that a POP login makes."""
        return self.lease_key(address), login, POP3

    def no_lease_reason(self, address: bytes, login: str, failures: int) -> str:
        """Why this login makes no lease; empty when it does (rules G3, G13).

        `failures`: logins that failed from its `place` within the last ten minutes (shared_memory/failed_logins.py).
        """
        if why := self.unattributable_reason(address):
            return why
        if self._is_barred(login):
            return "no_relay_logins"
        if self.gate.lease_after_failures and failures >= self.gate.lease_after_failures:
            return "failed logins before it"
        return ""

    def unattributable_reason(self, address: bytes) -> str:
        """Why the address stands for no one client, so that no login from it makes a lease; empty when it does (G3)."""
        if address in self._never_lease:
            return "never_lease"
        if address in self._balancers:
            return "the address of a load balancer (accept_proxy_from), and no client's"
        if len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80:
            return "link-local address"  # the same on every interface, and so no one's (rule G2)
        return "own address" if self._is_own(address) else ""

    def _is_barred(self, login: str) -> bool:
        """Whether it is among `no_relay_logins` (rule G13), or may be: of what can't be read (S10) nobody knows."""
        return bool(self._no_relay) and (login.startswith("?") or self._senders.bare(login) in self._no_relay)

    def is_crowded(self, logins: int) -> bool:
        """Whether so many live logins at one address are too many: no lease was made for the last (rule G3)."""
        return 0 < self.gate.max_logins_per_address < logins

    def grant(
        self, address: bytes, login: str, then: Callable[[int | StoreUnavailable], None], source: str = POP3
    ) -> None:
        """Make the lease of a login; `then` when it is in the store, or can't be, with how many live logins the
        address has then (`is_crowded`).  Others are told of a POP login, never of what others told us."""

        def granted(answer: int | StoreUnavailable) -> None:
            leased = not isinstance(answer, StoreUnavailable) and not self.is_crowded(answer)
            if leased and source == POP3 and self.others is not None:
                self.others.tell(address, login)
            then(answer)

        limit = self.gate.max_logins_per_address
        self.store.grant(self.lease_key(address), login, source, self.window, granted, limit)


def _shadowed(verdict: Verdict) -> Verdict:
    """What mode "shadow" makes of a verdict: nothing is refused (rule G12)."""
    if verdict.outcome is Outcome.ALLOW:
        return verdict
    return Verdict(Outcome.ALLOW, verdict.reason, verdict.detail, shadowed=True)


class _Judgement:
    """One question on its way: asked once, and again while it waits for a lease (rule G9)."""

    __slots__ = (
        "_address", "_asks", "_news", "_place", "_policy", "_sender", "_then", "_unknown", "_waiting", "_waits", "done",
    )  # fmt: skip

    def __init__(
        self,
        policy: RelayPolicy,
        place: bytes,
        address: bytes,
        sender: str,
        then: Callable[[Verdict, float], None],
        waits: bool,
        asks: bool,
    ) -> None:
        self._policy, self._place, self._address, self._sender, self._then = policy, place, address, sender, then
        self._waits, self._asks = waits, asks
        self._unknown: Verdict | None = None  # instead of a refusal: others could not be asked
        self._waiting: Waiting | None = None
        self._news = 0  # as the patience counts them, when the store was asked
        self.done = False

    def look(self, last: bool) -> None:
        """Ask the store; `last`: the patience is over, whatever it answers is the verdict."""
        if self._policy.patience is not None:
            self._news = self._policy.patience.news
        self._policy.find(self._place, lambda answer: self._found(answer, last))

    def _found(self, answer: Sequence[Lease] | StoreUnavailable, last: bool) -> None:
        if self.done:
            return  # an earlier look has decided
        verdict, seconds = self._policy.verdict(self._address, self._sender, answer)
        if verdict.reason in (Reason.NO_LEASE, Reason.SENDER):
            if self._asks and self._policy.others is not None:
                self._asks = False
                self._policy.others.ask(self._address, self._heard)
                return
            if not last and self._waits and self._wait():
                return
            verdict = self._unknown or verdict
        self.call_off()
        self._then(verdict, seconds)

    def _heard(self, answer: PeerLogin | StoreUnavailable | None) -> None:
        """What others say."""
        if self.done:
            return
        verdict = self._policy.elsewhere(self._address, self._sender, answer)
        if verdict.outcome is Outcome.ALLOW:
            self.call_off()
            self._then(verdict, FOREVER)
            return
        if verdict.outcome is Outcome.DEFER:
            self._unknown = verdict
        self.look(False)  # a lease may have come since we asked the store

    def _wait(self) -> bool:
        """Wait, if there is patience and room; whether it does."""
        patience = self._policy.patience
        if self._waiting is None and patience is not None and not self._policy.unattributable_reason(self._address):
            self._waiting = patience.enter(self._place, self._policy.gate.patience, self.look)
            if self._waiting is not None and patience.news != self._news:
                self.look(False)  # a lease may have come since we asked
        return self._waiting is not None

    def call_off(self) -> None:
        """Nobody wants the answer any more, or it is given."""
        self.done = True
        if self._waiting is not None and self._policy.patience is not None:
            self._policy.patience.leave(self._waiting)
