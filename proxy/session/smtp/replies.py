"""What each SMTP reply of the upstream does to the session, and what the client gets of it.

A function here takes the reply that is due (rule S6: smtp.py has matched it) and returns the octets for the client,
in the reply's place; `b""` where the reply answers a command of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...errors import ProtocolError
from ...wire.dots import Body
from ...wire.esmtp import NO_OFFER
from ...wire.replies import fold
from ...wire.sasl import Exchange
from ..events import Wait
from .state import BODY, COMMANDS, SASL, Owed, shown

if TYPE_CHECKING:
    from ...wire.replies import Reply
    from .session import SmtpSession

NO_EHLO = frozenset({500, 501, 502, 504, 550, 554})  # what old servers say to EHLO; HELO is tried in its place


def greeted(session: SmtpSession, reply: Reply) -> None:
    """The first reply of all; anything but 220 is passed on and ends the session."""
    session.say(fold(reply))
    if reply.code == 220:
        session.state = COMMANDS
        session.wait = Wait.COMMAND
    else:
        session.finish("upstream refused: " + shown(reply.octets[:200].strip()))


def passed(session: SmtpSession, reply: Reply, owed: Owed) -> bytes:
    return reply.octets


def absorbed(session: SmtpSession, reply: Reply, owed: Owed) -> bytes:
    """The reply to a command of ours."""
    return b""


def ehlo_replied(session: SmtpSession, reply: Reply, owed: Owed) -> bytes:
    if reply.code in NO_EHLO:  # a server older than ESMTP: TLS and PIPELINING are ours to offer all the same
        session.send(b"HELO %b\r\n" % session.helo, HELO_FOR_EHLO)
        return b""
    return helo_for_ehlo_replied(session, reply, owed)


def helo_for_ehlo_replied(session: SmtpSession, reply: Reply, owed: Owed) -> bytes:
    session.synchronising = False
    if reply.code != 250:
        return reply.octets
    return take_offer(session, reply)


def take_offer(session: SmtpSession, reply: Reply) -> bytes:
    """The upstream's positive reply to EHLO: what holds from now on, and the octets for the client (rule S7)."""
    settings, clear = session.settings, not session.tls
    closed = clear and (settings.tls_required or settings.auth == "pop3")
    session.offer, octets = settings.editor.edit(reply, settings.starttls and clear, closed)
    session.serial = not session.offer.pipelining
    return octets


def helo_replied(session: SmtpSession, reply: Reply, owed: Owed) -> bytes:
    session.synchronising = False
    session.offer, session.serial = NO_OFFER, True
    return reply.octets


def mail_replied(session: SmtpSession, reply: Reply, owed: Owed) -> bytes:
    if reply.code >= 400 and session.transaction is owed.transaction:
        session.transaction = None
    return reply.octets


def rcpt_replied(session: SmtpSession, reply: Reply, owed: Owed) -> bytes:
    if reply.code < 300:
        accepted(session, owed, 1)
        return reply.octets
    transaction = owed.transaction
    assert transaction is not None
    del transaction.unanswered[0]
    if owed.foreign:
        transaction.relaying -= 1
    return reply.octets


def accepted(session: SmtpSession, owed: Owed, count: int) -> None:
    """The upstream takes the next recipients of a transaction, so many of those that one entry stands for."""
    transaction = owed.transaction
    assert transaction is not None
    session.recipients += count
    transaction.accepted += transaction.unanswered[:count]
    del transaction.unanswered[:count]
    if owed.foreign:
        transaction.foreign += count


def data_replied(session: SmtpSession, reply: Reply, owed: Owed) -> bytes:
    session.synchronising = False
    if reply.code == 354:
        session.state = BODY
        session.streaming = True
        session.wait = Wait.MESSAGE
        session.body = Body(session.settings.bare_newline)
        session.transaction = owed.transaction  # also where MAIL was refused meanwhile: the message is about to come
    else:  # reset the upstream too, so that no recipient of this transaction lives on there (rule S4)
        session.transaction = None
        session.send(b"RSET\r\n", OUR_RSET)
    return reply.octets


def auth_replied(session: SmtpSession, reply: Reply, owed: Owed) -> bytes:
    exchange = session.exchange
    assert isinstance(exchange, Exchange)
    if exchange.cancelled and reply.code in (235, 334):
        raise ProtocolError("no refusal of an AUTH that was cancelled")
    if reply.code == 334:
        session.synchronising = False
        session.state = SASL
        return reply.octets
    session.exchange = None
    if reply.code == 535:
        session.login_failed(exchange.login, reply.octets)
        return b""
    session.synchronising = False
    if reply.code == 235:
        session.authenticated = session.upstream_authenticated = True
        session.login = exchange.login
    return reply.octets


def quit_replied(session: SmtpSession, reply: Reply, owed: Owed) -> bytes:
    session.finish("quit", reply.octets, clean=True)
    return b""


# Entries of the ledger that are always the same.
EHLO: Final = Owed(ehlo_replied, "EHLO")
HELO: Final = Owed(helo_replied, "HELO")
HELO_FOR_EHLO: Final = Owed(helo_for_ehlo_replied, "HELO")
AUTH: Final = Owed(auth_replied, "AUTH")
RSET: Final = Owed(passed, "RSET")
OUR_RSET: Final = Owed(absorbed, "RSET")
NOOP: Final = Owed(passed, "NOOP")
QUIT: Final = Owed(quit_replied, "QUIT")
