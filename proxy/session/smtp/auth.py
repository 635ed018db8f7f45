"""AUTH (RFC 4954): passed on to the upstream, or answered here by a POP3 login (rules G14, G15, S10).

`auth` and `sasl_response` are called with whole lines.  Passed on, the exchange is overheard (wire/sasl.py) for the
login's name, and the upstream's reply counts (replies.py).  With `auth = "pop3"` the upstream's SMTP side never
hears of it: PLAIN and LOGIN are taken apart here, under TLS only, and the link is asked to try the password
(`PasswordGiven`); 235 opens this session and nothing else.  The password is held from its last octet until the link
takes it, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...gate.verdict import Password
from ...wire.lines import TOO_LONG
from ...wire.sasl import BadResponse, Exchange, PasswordExchange, shown_login
from ..events import PasswordGiven
from . import replies, texts
from .state import CLOSED, COMMANDS, SASL

if TYPE_CHECKING:
    from .session import SmtpSession

_CHALLENGES = {b"": texts.AUTH_EMPTY, b"Username:": texts.AUTH_USERNAME, b"Password:": texts.AUTH_PASSWORD}


def auth(session: SmtpSession, argument: bytes) -> None:
    """The AUTH command, with or without an initial response."""
    mechanism, _, initial = argument.partition(b" ")
    mechanism = mechanism.upper()
    by_pop3 = session.settings.auth == "pop3"
    if by_pop3 and not session.tls and session.settings.starttls:
        return session.error(texts.AUTH_NEEDS_TLS)
    if session.settings.auth == "off" or not session.offer.mechanisms:
        early = not session.helo and session.settings.auth != "off"
        return session.error(texts.EHLO_FIRST if early else texts.AUTH_NOT_OFFERED)
    if session.authenticated or session.transaction is not None:
        return session.error(texts.AUTH_TWICE)
    if mechanism not in session.offer.mechanisms:
        return session.error(texts.AUTH_UNKNOWN if mechanism else texts.SYNTAX_AUTH)
    if by_pop3:
        session.exchange = PasswordExchange(mechanism)
        return _answer(session, initial if initial else None)
    exchange = Exchange(mechanism)
    if initial:
        initial = exchange.response(initial)
        if initial == b"*":
            return session.error(texts.SYNTAX_AUTH)
        initial = b" " + initial
    session.exchange = exchange
    session.synchronising = True
    return session.send(b"AUTH %b%b\r\n" % (mechanism, initial), replies.AUTH)


def sasl_response(session: SmtpSession, line: bytes) -> None:
    """A line of the client that belongs to AUTH, whatever it looks like."""
    exchange = session.exchange
    assert exchange is not None
    session.state = COMMANDS
    if isinstance(exchange, PasswordExchange):
        _answer(session, b"*" if line is TOO_LONG else line)
    else:
        session.synchronising = True
        line = exchange.response(b"*" if line is TOO_LONG else line)
        session.send(line + b"\r\n", replies.AUTH)
    if session.synchronising and session.lines.waiting:
        session.violated("sent more before the reply")


def take_password(session: SmtpSession) -> tuple[bytes, bytes]:
    """Login and password of `PasswordGiven`, once: they are forgotten here."""
    credentials, session.credentials = session.credentials, None
    assert credentials is not None
    return credentials


def password_checked(session: SmtpSession, login: str, result: Password) -> None:
    """The answer to `PasswordGiven`."""
    if session.state is CLOSED:
        return None
    if result in (Password.WRONG, Password.IN_USE):
        return session.login_failed(login, texts.AUTH_BAD if result is Password.WRONG else texts.AUTH_UNKNOWN_NOW)
    session.synchronising = False
    if result is Password.UNKNOWN:
        return session.error(texts.AUTH_UNKNOWN_NOW)  # counted: each try is a connection to the server
    session.authenticated, session.login = True, login
    return session.inject(texts.AUTH_GOOD)


def _answer(session: SmtpSession, response: bytes | None) -> None:
    """Take a response (None: there was none yet) in an exchange of our own, and go on with it."""
    exchange = session.exchange
    assert isinstance(exchange, PasswordExchange)
    try:
        challenge = exchange.answer(response)
    except BadResponse:
        session.exchange = None
        return session.error(texts.AUTH_CANCELLED if response == b"*" else texts.SYNTAX_AUTH)
    if challenge is not None:
        session.state = SASL
        return session.inject(_CHALLENGES[challenge])
    session.exchange = None
    login = shown_login(exchange.login)
    if not exchange.plausible:  # rule G15: nothing is tried with it
        return session.login_failed(login, texts.AUTH_BAD)
    session.synchronising = True
    session.credentials = (exchange.login, exchange.password)
    return session.events.append(PasswordGiven(login))
