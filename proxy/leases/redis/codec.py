"""How leases are said to the scripts of `scripts.py`, and what they answer.

Addresses are text, so that an administrator can read the keys; logins are octets; times are whole microseconds, and
lengths of time, never instants (rule G8), but for `granted`, which is for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...wire.address import packed, shown
from ..base import Lease, login_octets, login_text
from .own_leases import Revocation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..base import Term
    from ..clock import Clock

    Arguments = Sequence[str | bytes | int]

STATE: Final = 3
"""Items that every answer begins with: the store's id, whether it was emptied of late, revocations so far."""
ANY: Final = "*"
"""Instead of an address or a login: all of them."""
_ITEMS = 5  # of a lease in an answer
_BATCH = 500  # leases in one command: some 4 ms of the server's time


def micro(seconds: float) -> int:
    """Microseconds."""
    return round(seconds * 1_000_000)


def seconds(microseconds: int) -> float:
    return microseconds / 1_000_000


def name(source: str, login: str) -> bytes:
    """A lease's name at its address.  Raises what `login_octets` raises."""
    return source.encode() + b":" + login_octets(login)


def whom(address: bytes | None, login: str | None) -> Arguments:
    """Whose leases are to be revoked."""
    return (
        ANY if address is None else shown(address),
        ANY if login is None else b"=" + login_octets(login),
    )


def whom_back(address: bytes, login: bytes) -> tuple[bytes | None, str | None]:
    """The other way."""
    return (
        None if address == ANY.encode() else packed(address.decode()),
        None if login == ANY.encode() else login_text(login[1:]),
    )


def renewals(terms: Iterable[Term], clock: Clock) -> Arguments:
    """Of those that have not ended."""
    now = clock.now()
    words: list[str | bytes | int] = []
    for term in terms:
        address, login, source = term.key
        if term.deadline > now:
            words += (shown(address), name(source, login), micro(term.deadline - now))
    return words


def grants(terms: Iterable[Term], clock: Clock) -> Arguments:
    """What is left of each (0 of what has ended), and how long ago it began."""
    now, wall = clock.now(), clock.wall()
    words: list[str | bytes | int] = []
    for term in terms:
        address, login, source = term.key
        left = micro(max(min(term.deadline - now, term.length), 0.0))
        age = micro(max(wall - term.granted, 0.0))
        words += (shown(address), name(source, login), left, age, term.limit)
    return words


def in_batches(terms: Sequence[Term]) -> list[Sequence[Term]]:
    """So few at a time that others need not wait for the server."""
    return [terms[start : start + _BATCH] for start in range(0, len(terms), _BATCH)]


def revocations(store: bytes, count: int, items: Sequence[Any], clock: Clock) -> list[Revocation]:
    """Of what NOTICE tells: the last ones of `count` in that store."""
    now = clock.now()
    number = count - len(items) // 3
    found = []
    for start in range(0, len(items), 3):
        number += 1
        found.append(Revocation(store, number, now - seconds(items[start]), *whom_back(*items[start + 1 : start + 3])))
    return found


def leases(address: bytes, items: Sequence[Any], clock: Clock) -> list[Lease]:
    """Of an answer's items, without its state.  Any: what is a number and what octets is by its place."""
    wall = clock.wall()
    found = []
    for start in range(0, len(items), _ITEMS):
        named, left, granted, messages, recipients = items[start : start + _ITEMS]
        source, _, login = named.partition(b":")
        found.append(
            Lease(
                address=address,
                login=login_text(login),
                source=source.decode(),
                granted=seconds(granted),
                expires=wall + seconds(left),
                left=seconds(left),
                messages=messages,
                recipients=recipients,
            )
        )
    return found


def listed(items: Sequence[Any], clock: Clock) -> list[Lease]:
    """Of one step of a list: the address stands before the other items of each lease."""
    found = []
    for start in range(0, len(items), 1 + _ITEMS):
        address = packed(items[start].decode())
        found += leases(address, items[start + 1 : start + 1 + _ITEMS], clock)
    return found
