"""The interface of every lease store, and the lease itself (rule G1).

Promises of every store:
- `find` answers with a lease only while it is live: `left > 0`, a half-open interval, so at exactly its end it is gone.
- `grant` answers None only when the lease is in the store, visible to every other user of that store (rule G5).
- Every `then` is called exactly once, from the thread of the loop, perhaps before the method returns, and no later than
  the store's timeout (rule G7; `all` may take it several times).  A question that can't be answered is
  `StoreUnavailable`, never "no lease".
- The number of leases, of waiting questions and of late grants has a bound.

Callbacks instead of coroutines because a look-up takes a few microseconds and a task would cost more than the look-up.
A store knows nothing of prefixes, windows, `never_lease` or budgets: whoever asks has applied those (`gate/policy.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Sequence

    from ..errors import StoreUnavailable
    from .clock import Clock

MAX_LOGIN = 256  # octets of UTF-8; the sessions refuse longer logins (rule G15: 255), so that a row has a bound

Key: TypeAlias = tuple[bytes, str, str]
"""What makes a lease one and the same: binary address (4 or 16 octets), login, source."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A live lease, as it was at the moment of the answer."""

    address: bytes
    """Binary form, 4 or 16 octets, v4-mapped folded (rule G2)."""
    login: str
    """As the client gave it."""
    source: str
    """What made it: "pop3", "admin" ..."""
    granted: float
    """Wall clock, epoch seconds; for people."""
    expires: float
    """Wall clock, epoch seconds, by the wall clock of the answer; for people."""
    left: float
    """Seconds left at the moment of the answer; the only figure that a decision may use (rule G8)."""
    messages: int = 0
    """Messages charged to it in the present span of counting (`LeaseStore.charge`)."""
    recipients: int = 0
    """As of messages."""


@dataclass(frozen=True, slots=True)
class Term:
    """A lease to be written (or, for a renewal, the new end of one).

    The end is reckoned when the question is asked, not when it is written: a grant that waited for its store never
    outlives what it would have been (rule G7).
    """

    key: Key
    """Whose it is."""
    granted: float
    """Wall clock, epoch seconds."""
    expires: float
    """Wall clock, epoch seconds: what is left of a deadline after a reboot."""
    length: float
    """Seconds: the lease's own length, beyond which no clock can stretch it."""
    deadline: float
    """On `Clock.now()`'s time line: what counts."""
    limit: int = 0
    """Of a grant: how many logins may hold the address, this one included (`LeaseStore.grant`)."""
    counted: tuple[bytes, int] | None = None
    """Of one that a shared store made: which store, and how many revocations it had counted by then
    (leases/redis/own_leases.py)."""

    @classmethod
    def starting(cls, clock: Clock, address: bytes, login: str, source: str, length: float, limit: int = 0) -> Term:
        """The term of `length` seconds that starts now.

        Raises what `login_octets` raises.
        """
        assert len(address) in (4, 16)
        assert len(login_octets(login)) <= MAX_LOGIN
        wall = clock.wall()
        return cls((address, login, source), wall, wall + length, length, clock.now() + length, limit)


class LeaseStore(Protocol):
    """What `gate/policy.py`, the POP side and the command line ask of a store."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open for business, after the fork, in the process and thread that will ask.  Never raises for a store that is
        down: the questions say so, and the store comes back by itself."""

    def find(self, address: bytes, then: Callable[[Sequence[Lease] | StoreUnavailable], None]) -> None:
        """Every live lease of `address`, the one with most time left first; empty where there is none."""

    def grant(
        self,
        address: bytes,
        login: str,
        source: str,
        window: float,
        then: Callable[[int | StoreUnavailable], None],
        limit: int = 0,
    ) -> None:
        """Start the lease again: `window` seconds from now, whatever it had (rule G4); what was charged to it stays.

        Answers, once it is in the store, how many logins hold the address with live leases, this one included.  With a
        `limit` above 0 nothing is made for a login that would be one too many (it has no live lease there yet): then
        the answer is above `limit` (rule G3), and in no other case.  Both happen in one step: no two logins can take
        the last place.
        """

    def renew(self, batch: Sequence[tuple[bytes, str, str, float]]) -> None:
        """(address, login, source, seconds ahead of now) each: an update of a live lease, never an insert (a revoked or
        ended lease stays so), never a shortening (rule G4).  No answer."""

    def charge(self, address: bytes, login: str, source: str, messages: int, recipients: int, span: float) -> None:
        """Add to what a live lease has used (rule G11).  No answer; nothing happens to a lease that is not there.

        Counting starts again with the first charge after `span` seconds have gone by since a count began.  A count ends
        with its span or its row, not with a new login.
        """

    def watch(self, changed: Callable[[bytes | None], None] | None) -> None:
        """From now on call `changed` after grants, by whomever: with the address, or with None when all that is known
        is that something may have changed; None stops it.  For those who wait (rule G9): grants of this process are
        told at once, those of others within a tenth of a second.  There is one watcher; while there is none it costs
        nothing."""

    def revoke(self, address: bytes | None, login: str | None, then: Callable[[int | StoreUnavailable], None]) -> None:
        """End all leases of the address, of the login, or, if both are given, of that login at that address, whatever
        their source; answers how many live ones there were.  ValueError if neither is given."""

    def all(self, then: Callable[[list[Lease] | StoreUnavailable], None]) -> None:
        """Every live lease, by address (IPv4 first), then login, then source."""

    def close(self) -> None:
        """Answer what is still unanswered and let go of everything.  Later questions get `StoreUnavailable`."""


def login_octets(login: str) -> bytes:
    """The octets of a login, those that are not UTF-8 included (they are surrogate escapes in the text).

    Raises UnicodeEncodeError for any other lone surrogate, which no peer's octets decode to: shown to the caller at
    once, not to the thread that would have written it.
    """
    return login.encode("utf-8", "surrogateescape")


def login_text(octets: bytes) -> str:
    """The other way."""
    return octets.decode("utf-8", "surrogateescape")


def check_revocation(address: bytes | None, login: str | None) -> None:
    """ValueError unless there is something to revoke, and something that can be a login."""
    if address is None and login is None:
        raise ValueError("revoke what?  An address, a login, or both")
    login_octets(login or "")


def in_order(leases: Iterable[Lease]) -> list[Lease]:
    """The order of `LeaseStore.all`."""
    return sorted(leases, key=lambda lease: (len(lease.address), lease.address, lease.login, lease.source))
