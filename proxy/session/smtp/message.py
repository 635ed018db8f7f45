"""A message on its way through an SMTP session: from the 354 to the upstream's reply to it (rules S8, S9).

Its text is watched and passed by `wire.dots.Body`.  If the upstream can't have it whole, the upstream connection ends
without an end of data, the text is read to its end without being forwarded (`discarding`), and the client gets the
reply that is due where it reads one: there.

A part of the machine of smtp.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..events import Relayed, UpstreamAborted, Wait
from . import texts
from .state import COMMANDS, Owed, shown

if TYPE_CHECKING:
    from ...wire.replies import Reply
    from .session import SmtpSession
    from .transaction import Transaction


NO_REPLY: Final = "none"
"""In the place of the upstream's final reply, in the audit trail."""


def use(session: SmtpSession, data: bytes) -> bytes:
    """Octets of the client in a message; return those behind its end."""
    body, transaction = session.body, session.transaction
    assert body is not None
    session.step += 1
    chunks, used = body.feed(data)
    if not session.discarding:
        session.to_upstream += chunks
        if body.rejected:
            session.ending = texts.BARE_NEWLINE
            discard(session, "message has a bare CR or LF")
    if used is None:
        return b""
    if session.discarding:
        session.finish(session.why, session.ending)
        return b""
    assert transaction is not None
    transaction.octets = body.octets
    session.body = session.transaction = None
    session.state = COMMANDS
    session.streaming = False
    session.wait = Wait.MESSAGE_REPLY
    session.ledger.expect(Owed(replied, "the message", transaction))
    return data[used:]


def discard(session: SmtpSession, why: str) -> None:
    """Drop the upstream without an end of data; read on to the client's, so that it sees why."""
    session.discarding, session.why = True, why
    session.to_upstream.clear()
    session.replies.clear()
    session.events.append(UpstreamAborted())


def replied(session: SmtpSession, reply: Reply, owed: Owed) -> bytes:
    """The final reply: a 250 is the upstream's (rule S9)."""
    transaction = owed.transaction
    assert transaction is not None
    session.wait = Wait.COMMAND
    if reply.code < 300:
        session.messages += 1
    _relayed(session, transaction, shown(reply.octets[:-2]))
    return reply.octets


def refused_before_its_end(session: SmtpSession, reply: Reply) -> None:
    """The upstream takes no more of this message, for its size or a line's: that is the reply to it.

    The client reads no reply before its end of data, so it gets this one there, and the session ends.  The upstream is
    dropped at once, since it may take what follows for commands.  No 250 can come this way (rule S9).
    """
    transaction, body = session.transaction, session.body
    assert transaction is not None
    assert body is not None
    transaction.octets = body.octets
    _relayed(session, transaction, shown(reply.octets[:-2]))
    session.ending = reply.octets
    discard(session, "upstream refused the message before its end")


def unanswered(session: SmtpSession) -> None:
    """The session ends before the final reply: nobody knows whether the upstream has taken the message."""
    session.wait = Wait.COMMAND
    transaction = session.ledger.front().transaction
    assert transaction is not None
    _relayed(session, transaction, NO_REPLY)


def _relayed(session: SmtpSession, transaction: Transaction, reply: str) -> None:
    """A line for the audit trail, if this is about somebody outside."""
    verdict = transaction.allowed
    if transaction.foreign and verdict is not None:
        session.events.append(
            Relayed(
                shown(transaction.sender),
                tuple([shown(path) for path in transaction.accepted]),
                transaction.octets,
                reply,
                verdict,
                transaction.foreign,
            )
        )
