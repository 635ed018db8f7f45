"""What has been charged to leases and can't be read yet (rule G11): the file has it some milliseconds later.

A session that sends its next message in the meantime would be judged by what was before, and a fast one could send
dozens over its budget.  So until a charge has completed the lease is shown with at least what it makes: what was read
just before and what was charged since.  "At least", and not "beside": a charge may be in the file before the loop hears
of it, and must not count twice.

Not here: what other workers have charged.  It counts when it is in the file, a millisecond or two later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .base import Key, Lease


@dataclass(slots=True)
class _Least:
    messages: int
    """At least this many are charged."""
    recipients: int
    """As of messages."""
    under_way: int = 0
    """Charges that the file may not have yet."""


class InFlightUsage:
    """The charges of one store that are under way."""

    def __init__(self) -> None:
        self._least: dict[Key, _Least] = {}

    def add(self, key: Key, messages: int, recipients: int, found: Sequence[Lease]) -> None:
        """A charge is under way: `completed` must come, once.  `found`: the leases of its address, as read now."""
        least = self._least.setdefault(key, _Least(0, 0))
        for lease in found:
            if (lease.address, lease.login, lease.source) == key:
                least.messages = max(least.messages, lease.messages)
                least.recipients = max(least.recipients, lease.recipients)
        least.messages += messages
        least.recipients += recipients
        least.under_way += 1

    def completed(self, key: Key) -> None:
        """It can be read, or never will be."""
        least = self._least[key]
        least.under_way -= 1
        if not least.under_way:
            del self._least[key]

    def shown(self, found: Sequence[Lease]) -> Sequence[Lease]:
        """What was read, with what is under way."""
        return [self._with(lease) for lease in found] if self._least else found

    def _with(self, lease: Lease) -> Lease:
        least = self._least.get((lease.address, lease.login, lease.source))
        if least is None:
            return lease
        messages, recipients = max(lease.messages, least.messages), max(lease.recipients, least.recipients)
        return replace(lease, messages=messages, recipients=recipients)
