"""A session that moves to another upstream connection in mid-transaction (rule S12).

The upstream was shown the client's address (the connection is *announced*), because the client might not relay when it
came; now it may.  The server would refuse its foreign recipients by that address.  So, before the first recipient of a
transaction, popgate makes an unannounced connection, brings it to where the session is (session/upstream/handshake.py)
and goes on there.  The client notices nothing but the time it takes.  If there is none, or it answers otherwise, that
recipient is deferred and the session stays where it is.

A recipient that was accepted can't be moved: it would have to be said again, and may be refused.  Then the one that
must move is deferred; alone in the next message it will be taken.

A part of the machine of smtp.py.  The recipient that waits is `session.pending`, as for the gate; `session.moving` says
for which of the two.  Not for sessions that the upstream has authenticated: it lets them relay whatever their address,
and a new connection would not be authenticated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...wire.esmtp import NO_OFFER
from ...wire.replies import Reply
from ..events import UnannouncedAsked
from . import commands, replies, texts

if TYPE_CHECKING:
    from .session import SmtpSession

LEAVE: Final = b"QUIT\r\n"
"""Said on the old connection; its reply is not waited for, it only keeps the server's log clean."""


def ask_if_settled(session: SmtpSession) -> None:
    """Ask for the other connection, once no reply is owed on this one any more."""
    if session.ledger or session.pending is None:
        return
    session.settling = False
    transaction, _, _ = session.pending
    if transaction is not session.transaction:  # the upstream has refused MAIL meanwhile
        session.pending, session.moving = None, False
        session.inject(texts.MAIL_FIRST)
    elif transaction.accepted:
        defer(session, texts.NOT_BESIDE_OTHERS, "others were accepted on an announced connection")
    elif transaction.deferred == texts.NOT_MOVED:  # one attempt a transaction, however many recipients it has
        defer(session, texts.NOT_MOVED, "no unannounced connection")
    else:
        session.step += 1
        session.events.append(UnannouncedAsked(session.hello, transaction.line))


def answered(session: SmtpSession, offer: bytes | None) -> None:
    """It is made, and `offer` its reply to EHLO; None: it is not."""
    assert session.pending is not None
    session.step += 1
    if offer is None:
        defer(session, texts.NOT_MOVED, "no unannounced connection")
        return
    (transaction, line, path), session.pending = session.pending, None
    session.moving = session.announced = False
    session.replies.clear()
    session.offer, session.serial = NO_OFFER, True
    if offer:
        replies.take_offer(session, Reply(250, offer))
    commands.foreign(session, transaction, line, path)  # asks again if its lease has ended meanwhile


def defer(session: SmtpSession, reply: bytes, why: str) -> None:
    """The recipient that waits is answered here; the session goes on with the connection that it has."""
    assert session.pending is not None
    (transaction, _, path), session.pending = session.pending, None
    session.moving = False
    commands.defer(session, transaction, path, reply, why)
