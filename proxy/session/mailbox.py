"""A mailbox from its accepted login to the end: the reply is held until the lease is in the store, then octets pass.

For every protocol that reads mail.  Promises (rules G5, P4, P5): the client does not see the reply to its login before
`open`; what the upstream has sent behind the reply, and the ends of both sides, keep their order; once it is open both
directions pass untouched, and only the steps are counted.  What is held is bounded by `MAX_HELD`: nobody has asked for
anything yet.

Not here: what a login is, and which octets of the client go with it (pop3/session.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .events import ClientDone

if TYPE_CHECKING:
    from .output import Output

MAX_HELD: Final = 65536
"""Octets behind a held reply."""


class Mailbox:
    """See the module."""

    __slots__ = ("_held", "_output", "is_open", "upstream_left")

    def __init__(self, output: Output, reply: bytes) -> None:
        """`reply`: the positive reply to the login, and what has come behind it."""
        self._output = output
        self._held = reply
        self.is_open = False
        """Whether the reply has gone out."""
        self.upstream_left = False
        """Whether the upstream's end was read while the reply was held."""

    @property
    def reply(self) -> bytes:
        """What is held."""
        return self._held

    def upstream_bytes(self, data: bytes) -> bool:
        """Octets of the upstream; False: more than may be held."""
        if self.is_open:
            self._output.for_client(data)
            return True
        self._held += data
        return len(self._held) <= MAX_HELD

    def client_bytes(self, data: bytes) -> None:
        """Octets of the client, of an open mailbox."""
        self._output.for_upstream(data)

    def upstream_eof(self) -> None:
        """The upstream's end, behind what is held."""
        self.upstream_left = True

    def open(self, behind: bytes) -> None:
        """G5: the lease is in the store, or can't be.  `behind`: what the client has sent behind its password."""
        self.is_open = True
        self._output.for_client(self._held)
        self._held = b""
        if behind:
            self._output.for_upstream(behind)

    def client_eof(self) -> None:
        """The client will say no more; the upstream may still have mail on its way to it."""
        self._output.events.append(ClientDone())
