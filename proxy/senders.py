"""Which sender addresses a login may use (RULES G10).

A login may send as itself, as itself at each local domain, and as what `sender_map` gives it: whole addresses, or
"@example.com" for all of a domain.  Compared without regard to case: servers that tell Anna from anna are not among
those that stand behind popgate.  The empty reverse-path is every login's: bounces and receipts (RFC 5321 4.5.5); how
many recipients it may have is the policy's.

A login that could not be read (`?SCRAM-SHA-1`) may use none (RULES S10).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .wire.recipients import LocalDomains

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Senders:
    """The rule of one gate."""

    def __init__(self, local_domains: Iterable[str], senders: Mapping[str, Sequence[str]]) -> None:
        """`senders`: login to addresses."""
        self._domains = LocalDomains(local_domains)
        self._given = {
            login.lower(): frozenset([address.lower() for address in addresses]) for login, addresses in senders.items()
        }

    def match(self, login: str, sender: str) -> bool:
        """Whether `login` may send as `sender`: a reverse-path as text, without brackets; "" is the empty one."""
        if login.startswith("?"):
            return False
        if not sender:
            return True
        login, sender = login.lower(), sender.lower()
        if login == sender:
            return True
        local, _, domain = sender.rpartition("@")
        if local == login and self._domains.covers(domain.encode("utf-8", "surrogateescape"), True):
            return True
        given = self._given.get(login)
        return given is not None and (sender in given or f"@{domain}" in given)
