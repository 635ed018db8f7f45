"""How an SMTP session ends when the upstream goes away, or when a wait is over its limit (rules S8, S9).

Functions of the session of smtp.py, called for its methods of the same names.  What a message loses by it the client is
told: nothing that the upstream has not answered was delivered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import Wait
from . import message as smtp_message
from . import replies as smtp_replies
from . import texts
from .state import CLOSED, GREETING, TLS

if TYPE_CHECKING:
    from .session import SmtpSession


def upstream_eof(session: SmtpSession) -> None:
    """The upstream will say no more."""
    if session.state is CLOSED:
        return
    if session.state is GREETING:
        session.upstream_failed()
    elif session.body is not None:
        session.say(texts.MESSAGE_LOST)  # at once, for who waits; who goes on sending sees it at the end
        smtp_message.discard(session, "upstream left in mid-message")
    elif session.wait is Wait.MESSAGE_REPLY:
        session.finish("upstream left before its reply to the message", texts.MESSAGE_LOST)
    elif session.ledger.awaited and session.ledger.front() is smtp_replies.QUIT:
        session.finish("quit", texts.BYE, clean=True)  # some close without a word
    else:
        session.finish("upstream left", texts.LOST)


def out_of_time(session: SmtpSession) -> None:
    """The present wait is over its limit."""
    wait = session.wait
    if wait is Wait.GREETING:
        session.upstream_failed()
    elif wait is Wait.MESSAGE:
        bare = session.body is not None and session.body.lookalike
        why = "client ended its message with LF.LF instead of CRLF.CRLF" if bare else "client silent in its message"
        told = session.discarding and not session.ending  # the upstream was lost, and the client knows
        session.finish(why, b"" if told else texts.MESSAGE_TIMEOUT)
    elif wait is Wait.MESSAGE_REPLY:
        session.finish("upstream silent after the message", texts.MESSAGE_LOST)
    elif session.ledger.awaited:
        session.finish("upstream silent", texts.UPSTREAM_TIMEOUT)
    elif session.state is TLS:
        session.finish("client too slow in the TLS handshake")
    else:
        session.finish("client silent", texts.CLIENT_TIMEOUT)
