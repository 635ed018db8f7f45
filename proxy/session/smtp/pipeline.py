"""Commands in, replies out, in order: what stands between the octets of either side and the session (RFC 2920).

The client's octets become lines, the upstream's become replies.  Each command that the upstream answers is entered in
the ledger as `Expected`; a reply of ours is entered, too, and waits for its turn there.  Replies therefore come out in
the order of the commands, whoever gives them.

Promises: what one client can make us hold is bounded (promise 6): a line, the replies owed (`Ledger`), one reply of
the upstream.  A command that ends a pipelined group (rule S5) is *synchronising* until its reply is here; what is done
about more octets before that is the session's business.

The bulk path: runs of commands and of positive replies may be taken in one step (`bulk`, wire/bulk.py).  It is a
shortcut and nothing else: octets, counts and limits are the same either way, which a property test holds
(tests/properties/test_smtp_bulk.py).

It knows no verb and no session: what an `Expected` means is ON_REPLY's in session.py.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from ...wire.lines import LineBuffer
from ...wire.replies import ReplyBuffer
from ...wire.sasl import MAX_LINE
from ..ledger import Ledger
from ..output import Output

if TYPE_CHECKING:
    from ..observer import Observer
    from .transaction import Transaction


class Kind(IntEnum):
    """What a reply of the upstream answers.  Integers, since a look-up by them is the cheapest."""

    EHLO = 0
    HELO = 1
    HELO_FOR_EHLO = 2
    """HELO of ours, because the server does not know EHLO."""
    MAIL = 3
    RCPT = 4
    DATA = 5
    MESSAGE = 6
    AUTH = 7
    RSET = 8
    OWN_RSET = 9
    """RSET of ours; the client does not hear its reply."""
    NOOP = 10
    QUIT = 11

    @property
    def phrase(self) -> str:
        """For "waiting for the reply to ..."."""
        return _PHRASES.get(self, self.name)


# Members by name: a look-up in an Enum class costs as much as the comparison it is for.
EHLO, HELO, HELO_FOR_EHLO, MAIL, RCPT, DATA, MESSAGE, AUTH, RSET, OWN_RSET, NOOP, QUIT = Kind

_PHRASES: Final = {HELO_FOR_EHLO: "HELO", OWN_RSET: "RSET", MESSAGE: "the message"}


class Expected:
    """A reply that the upstream owes, or a run of replies to recipients of one kind."""

    __slots__ = ("count", "foreign", "kind", "transaction")

    def __init__(
        self, kind: Kind, transaction: Transaction | None = None, foreign: bool = False, count: int = 1
    ) -> None:
        self.kind = kind
        self.transaction = transaction
        """That it belongs to; None where it belongs to none."""
        self.foreign = foreign
        """Of RCPT: whether the recipients are not local."""
        self.count = count
        """How many replies it stands for; the ledger counts it down."""


class Pipeline(Output):
    """See the module."""

    __slots__ = (
        "_events_seen", "bulk", "discarding", "ledger", "lines", "observer", "replies", "serial", "synchronising",
    )  # fmt: skip

    def __init__(self, observer: Observer | None = None) -> None:
        super().__init__()
        self.observer = observer
        """Is told what passes here; None in all but traced sessions."""
        self.bulk = observer is None
        """Whether runs may be taken in one step; an observer is told of each command and reply by itself."""
        self.lines = LineBuffer(MAX_LINE)
        """The client's octets that were not used yet."""
        self.replies = ReplyBuffer()
        """The upstream's octets that are no whole reply yet."""
        self.ledger: Ledger[Expected] = Ledger()
        """The replies that the client is still owed."""
        self.serial = True
        """Whether the upstream takes one command at a time: it does not offer PIPELINING."""
        self.synchronising = False
        """Whether a command that ends a pipelined group has no reply yet."""
        self.discarding = False
        """Whether all that the client still says is thrown away: it has said QUIT, or the session is about to end."""
        self._events_seen = 0
        """What began the present wait again, beside commands and replies."""

    @property
    def progress(self) -> int:
        """Grows with every reply, and with what `go_on` was called for."""
        return self.ledger.answered + self._events_seen

    def go_on(self) -> None:
        """Something has happened that is neither a command nor its reply: the present wait begins again."""
        self._events_seen += 1

    # The upstream's side

    def take_positive_replies(self) -> tuple[Expected, int] | None:
        """Pass on positive replies that are here for the run of recipients in front, in one piece; returns what they
        answer and how many they are, or None where `take` must look at the next one."""
        ledger = self.ledger
        expected = ledger.front()
        if expected.kind is not RCPT:
            return None
        octets, count = self.replies.take_positive(expected.count)
        if not count:
            return None
        ledger.pop(count)
        self.to_client += octets + ledger.released()
        return expected, count

    # What goes out

    def send(self, line: bytes, expected: Expected) -> None:
        """Send a command, or a run of them, to the upstream, and expect its reply."""
        if self.observer is not None:
            self.observer.forwarded(line, secret=expected.kind is AUTH and not line.startswith(b"AUTH "))
        self.to_upstream += line
        self.ledger.expect(expected)

    def send_last(self, line: bytes, expected: Expected) -> None:
        """Send a command that ends a pipelined group (S5): nothing may come behind it before its reply."""
        self.synchronising = True
        self.send(line, expected)

    def synchronise(self) -> None:
        """A command that is answered here ends a pipelined group."""
        self.synchronising = True

    def resume(self) -> None:
        """Its reply is here: the next command may come."""
        self.synchronising = False

    def say(self, octets: bytes) -> None:
        """Whole replies for the client, whose turn has come."""
        if self.observer is not None:
            self.observer.client_reply(octets)
        self.to_client += octets

    def reply(self, octets: bytes) -> None:
        """A reply of ours, in its turn."""
        if now := self.ledger.inject(octets):
            self.say(now)

    def release(self) -> None:
        """Let the replies of ours go out whose turn has come."""
        if released := self.ledger.released():
            self.say(released)

    # States

    def discard_input(self) -> None:
        """From now on nothing that the client says is used."""
        self.discarding = self.synchronising = True

    def set_serial(self, serial: bool) -> None:
        """Whether the upstream takes one command at a time."""
        self.serial = serial
