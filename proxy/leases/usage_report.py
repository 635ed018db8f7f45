"""Which clients still need what is to be retired, in the SQLite store: the figures behind `popgate report`.

One row for each (address, login, protocol, need): how often, first and last seen.  Needs:

- "lease": mail was relayed because of a POP login from the address, not of an AUTH;
- "clear": a login or a relayed message without TLS;
- "TLSv1", "TLSv1.1": the same under a TLS that RFC 8996 has ended;
- "refused": a recipient that would have been refused, if mode were "enforce" and not "shadow".

A login that was right and yet made no lease, for a reason of its own, is kept in the same way, as "no lease: " and the
reason; `popgate why` tells it, the report does not.

`UsageRecorder` gathers them in a worker; what it gathered goes to the store in one batch now and then, never on the way
of a session.  A batch that meets a store that is down is lost: the next message of the same client says the same.

Bounds: WAITING pairs in a worker between two batches, the newest; in the store what was seen within `[store] history`,
and the newest MAXIMUM.  No password ever comes here, nor recipients or senders.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from .base import login_octets, login_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .file import StoreFile

WAITING: Final = 10_000
"""Observations that wait in a worker for the next batch; some 3 MB."""
BATCH: Final = 2_000
"""Of them go to the store at once; some 20 ms in which nobody else can write there."""
MAXIMUM: Final = 100_000
"""Rows; some 20 MB with their index."""
SHOWN: Final = 10_000
"""Rows of one answer, those seen last."""
OLD_TLS: Final = ("TLSv1", "TLSv1.1")
"""RFC 8996; as ssl.SSLObject.version names them."""

UNLEASED: Final = "no lease: "
"""Begins what is no need but a login without a lease."""

Which: TypeAlias = tuple[bytes, str, str, str]
"""Binary address, login, protocol, need."""

_NOTE = """
INSERT INTO observation (address, login, protocol, need, times, first, last)
VALUES (:address, :login, :protocol, :need, :times, :first, :last)
ON CONFLICT (address, login, protocol, need) DO UPDATE SET
    times = times + excluded.times, first = min(first, excluded.first), last = max(last, excluded.last)"""
_SEEN = """
SELECT address, login, protocol, need, times, first, last FROM observation
WHERE last >= :since AND need NOT LIKE 'no lease: %' ORDER BY last DESC LIMIT :limit"""
_UNLEASED = """
SELECT address, login, protocol, need, times, first, last FROM observation
WHERE address = :address AND need LIKE 'no lease: %' ORDER BY last DESC LIMIT :limit"""
_KEY = "address, login, protocol, need"
_OLD = f"""
DELETE FROM observation WHERE ({_KEY}) IN
    (SELECT {_KEY} FROM observation WHERE last <= :before ORDER BY last LIMIT :limit)"""
_TOO_MANY = f"""
DELETE FROM observation WHERE ({_KEY}) IN (SELECT {_KEY} FROM observation ORDER BY last
    LIMIT max(0, min(:limit, (SELECT count(*) FROM observation) - :maximum)))"""


@dataclass(slots=True)
class Observation:
    """A client needed something, this many times."""

    address: bytes
    """Binary form."""
    login: str
    """The client's."""
    protocol: str
    """ "pop3" or "smtp"."""
    need: str
    """As the head of this file has them."""
    times: int
    """How often."""
    first: float
    """Epoch seconds."""
    last: float
    """Epoch seconds."""


class UsageRecorder:
    """What a worker has observed since the last batch."""

    def __init__(self, wall: Callable[[], float]) -> None:
        """`wall`: epoch seconds."""
        self._wall = wall
        self._waiting: dict[Which, Observation] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, address: bytes, login: str, protocol: str, *, tls: str, lease: bool = False) -> None:
        """A login, or a relayed message; `tls`: the version of TLS, "" for none; `lease`: what let it relay."""
        if lease:
            self._add((address, login, protocol, "lease"))
        if not tls:
            self._add((address, login, protocol, "clear"))
        elif tls in OLD_TLS:
            self._add((address, login, protocol, tls))

    def would_refuse(self, address: bytes, login: str, protocol: str) -> None:
        """A recipient that mode "shadow" let pass (rule G12)."""
        self._add((address, login, protocol, "refused"))

    def unleased(self, address: bytes, login: str, protocol: str, why: str) -> None:
        """A login was right and made no lease."""
        self._add((address, login, protocol, UNLEASED + why))

    def take(self) -> list[Observation]:
        """The next batch, what came first first; it waits no more."""
        keys = list(itertools.islice(self._waiting, BATCH))
        return [self._waiting.pop(key) for key in keys]

    def _add(self, which: Which) -> None:
        now = self._wall()
        found = self._waiting.get(which)
        if found is not None:
            found.times += 1
            found.last = now
            return
        if len(self._waiting) >= WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[which] = Observation(*which, times=1, first=now, last=now)


def enter(file: StoreFile, batch: Iterable[Observation]) -> None:
    """Add a batch to what is known; within `transaction`."""
    for one in batch:
        file.run(
            _NOTE,
            {
                "address": one.address,
                "login": login_octets(one.login),
                "protocol": one.protocol,
                "need": one.need,
                "times": one.times,
                "first": one.first,
                "last": one.last,
            },
        )


def seen(file: StoreFile, since: float, limit: int = SHOWN) -> list[Observation]:
    """At most `limit` needs seen at `since` (epoch seconds) or later, the last seen first."""
    return _observations(file.rows(_SEEN, {"since": since, "limit": limit}))


def unleased(file: StoreFile, address: bytes, limit: int) -> list[Observation]:
    """At most `limit` logins from an address that made no lease, the last first."""
    return _observations(file.rows(_UNLEASED, {"address": address, "limit": limit}))


def _observations(rows: Iterable[tuple[bytes, bytes, str, str, int, float, float]]) -> list[Observation]:
    return [
        Observation(address, login_text(login), protocol, need, times, first, last)
        for address, login, protocol, need, times, first, last in rows
    ]


def purge(file: StoreFile, kept: float, limit: int) -> int:
    """Delete at most `limit` rows not seen for `kept` seconds (0: all of them) or too many; how many it was."""
    before = file.clock.wall() - kept if kept else float("inf")
    old = file.run(_OLD, {"before": before, "limit": limit})
    return old + file.run(_TOO_MANY, {"maximum": MAXIMUM, "limit": limit - old})
