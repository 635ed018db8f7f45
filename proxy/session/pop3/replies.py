"""What each POP3 reply of the upstream does before the login, and what the client gets of it (rules P1, P3).

A function here takes the status line of the reply that is due (pop3.py has matched it); lists come line by line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ProtocolError
from ...wire.pop3 import MAX_REPLY_LINES, Status, edited_capabilities, status
from ..events import LoggedIn, LoginFailed
from .state import COMMANDS, LEASE, REFUSED, SASL

if TYPE_CHECKING:
    from .session import PopSession


def greeted(session: PopSession, line: bytes) -> None:
    said = status(line)
    if said is Status.CONTINUE:
        raise ProtocolError("a challenge for a greeting")
    session.say(line + b"\r\n")
    if said is Status.ERR:
        return session.finish("upstream refused: " + line[:200].decode("ascii", "backslashreplace"))
    session.state = COMMANDS
    return None


def passed(session: PopSession, said: Status, line: bytes) -> None:
    if said is Status.CONTINUE:
        raise ProtocolError("a challenge that nothing asked for")
    session.state = COMMANDS
    session.say(line + b"\r\n")


def user_replied(session: PopSession, said: Status, line: bytes) -> None:
    if said is Status.OK:
        session.user = session.login
    passed(session, said, line)


def login_replied(session: PopSession, said: Status, line: bytes) -> None:
    if said is Status.OK:
        session.state = LEASE
        session.held = line + b"\r\n" + session.replies.rest()
        session.events.append(LoggedIn(session.login))
        return
    if said is Status.CONTINUE:
        raise ProtocolError("a challenge that nothing asked for")
    session.user = None
    session.failed_logins += 1
    session.state = REFUSED
    session.held = line + b"\r\n"
    session.events.append(LoginFailed(session.login))


def auth_replied(session: PopSession, said: Status, line: bytes) -> None:
    assert session.exchange is not None
    if session.exchange.cancelled and said is not Status.ERR:
        raise ProtocolError("no refusal of an AUTH that was cancelled")
    if said is Status.CONTINUE:
        session.state = SASL
        session.say(line + b"\r\n")
        return
    session.login = session.exchange.login
    session.exchange = None
    login_replied(session, said, line)


def quit_replied(session: PopSession, said: Status, line: bytes) -> None:
    passed(session, said, line)
    session.finish("quit", clean=True)


def capa_replied(session: PopSession, said: Status, line: bytes) -> None:
    if said is Status.ERR and session.offers_stls():  # a server older than CAPA: STLS is ours to offer all the same
        session.list = [b"+OK Capability list follows"]
        end_list(session)
    else:
        list_replied(session, said, line)


def list_replied(session: PopSession, said: Status, line: bytes) -> None:
    """The client gets the list when it is whole: behind half of one an -ERR would be one of its lines."""
    if said is Status.OK:
        session.list = [line]
    else:
        passed(session, said, line)


def list_line(session: PopSession, line: bytes) -> None:
    assert session.list is not None
    if line == b".":
        end_list(session)
    elif len(session.list) > MAX_REPLY_LINES:
        raise ProtocolError("a list without end")
    else:
        session.list.append(line)


def end_list(session: PopSession) -> None:
    assert session.list is not None
    (first, *lines), session.list = session.list, None
    if session.verb == "CAPA":
        lines = edited_capabilities(lines, session.offers_stls(), session.tls or not session.settings.tls_required)
    session.state = COMMANDS
    session.say(b"\r\n".join([first, *lines, b".", b""]))
