"""Which sender addresses a login may use (rule G10).

A login may send as itself, as itself at each local domain, and as what `sender_map` gives it: whole addresses, or
"@example.com" for all of a domain.  Compared without regard to the case of ASCII letters: servers that tell Anna from
anna are not among those that stand behind popgate; and a KELVIN SIGN is no k, though its small letter is one.  The
empty reverse-path is every login's: bounces and receipts (RFC 5321 4.5.5); how many recipients it may have is the
policy's.

A login that could not be read (`?SCRAM-SHA-1`) may use none (rule S10).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire.recipients import LocalDomains

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Senders:
    """The rule of one gate."""

    def __init__(self, local_domains: Iterable[str], senders: Mapping[str, Sequence[str]]) -> None:
        """`senders`: login to addresses."""
        self._domains = LocalDomains(local_domains)
        self._given = {
            _folded(login): frozenset([_folded(address) for address in addresses])
            for login, addresses in senders.items()
        }

    def match(self, login: str, sender: str) -> bool:
        """Whether `login` may send as `sender`: a reverse-path as text, without brackets; "" is the empty one."""
        if login.startswith("?"):
            return False
        if not sender:
            return True
        name, path = _folded(login), _folded(sender)
        if name == path:
            return True
        local, _, domain = path.rpartition(b"@")
        if local == name and self._domains.covers(domain, True):
            return True
        given = self._given.get(name)
        return given is not None and (path in given or b"@" + domain in given)

    def bare(self, login: str) -> str:
        """A login as some server may read it: its first word, small letters, no local domain; to say that it is barred.

        Servers pass over blanks, fold letters, and take anna@example.com for anna.
        """
        word = login.strip(" ").partition(" ")[0].casefold()
        name, _, domain = word.rpartition("@")
        return name if name and self._domains.covers(domain.encode("utf-8", "surrogateescape"), True) else word


def _folded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape").lower()
