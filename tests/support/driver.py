"""A session without sockets, driven by a test: what it said is kept for each side; it is fed as the link feeds it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal

from proxy.gate.verdict import Outcome, Password, Reason, RelayAsked, Verdict
from proxy.session.events import Event, Finished, LoggedIn, LoginFailed, PasswordGiven, TlsAsked, UnannouncedAsked
from proxy.session.pop3.session import PopSession, PopSettings
from proxy.session.smtp.session import SmtpSession, SmtpSettings
from proxy.wire.esmtp import EhloEditor
from proxy.wire.recipients import LocalDomains
from proxy.wire.sasl import PasswordExchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

REFUSAL = "554 5.7.1 <{recipient}>: Relay access denied"


class Driver:
    """A session with its two sides kept: what it said to whom, and its events, until someone takes them."""

    def __init__(self, session: SmtpSession | PopSession) -> None:
        self.session = session
        self.to_client = b""
        self.to_upstream = b""
        self.events: list[Event] = []
        self.notes_failures = True
        """Whether a failed login is noted at once, as the link does unless the address fails too often."""
        self._unread: deque[bytes | None] = deque()  # from the client while the session holds; None: its end

    def client(self, *pieces: bytes) -> None:
        self._unread += [piece for piece in pieces if piece]
        self.settle()

    def client_eof(self) -> None:
        self._unread.append(None)
        self.settle()

    def upstream(self, *pieces: bytes) -> None:
        for piece in pieces:
            if self.session.streaming and self.session.forward_raw(memoryview(piece), from_client=False):
                self.to_client += piece
            else:
                self.session.upstream_bytes(piece)
            self.settle()

    def call(self, method: Callable[[], None]) -> None:
        """An input that is no octets: upstream_eof, out_of_time, lease_settled ..."""
        method()
        self.settle()

    def answer(self, verdict: Verdict) -> None:
        """The answer to `RelayAsked`."""
        self.session.answer(RelayAsked("", ""), verdict)
        self.settle()

    def take_password(self) -> tuple[bytes, bytes]:
        """What `PasswordGiven` is about, as the link takes it."""
        return self.session.take_password()

    def check_password(self, login: str, result: Password) -> None:
        """The answer to `PasswordGiven`."""
        self.session.answer(PasswordGiven(login), result)
        self.settle()

    def move(self, offer: bytes | None) -> None:
        """The answer to `UnannouncedAsked`."""
        self.session.answer(UnannouncedAsked(b"", b""), offer)
        self.settle()

    def lease(self) -> None:
        """The answer to `LoggedIn`."""
        self.session.answer(LoggedIn(""), None)
        self.settle()

    def note_failure(self, close: bool = False) -> None:
        """The answer to `LoginFailed`."""
        self.session.answer(LoginFailed(""), close)
        self.settle()

    def start_tls(self) -> None:
        """The answer to `TlsAsked`."""
        self.session.answer(TlsAsked(), None)
        self.settle()

    def settle(self) -> None:
        """Take what the session said; give it what the client sent, as long as it takes it."""
        session = self.session
        self._take()
        while self._unread and not session.holding:
            piece = self._unread.popleft()
            if piece is None:
                session.client_eof()
            elif session.streaming and session.forward_raw(memoryview(piece), from_client=True):
                self.to_upstream += piece
            else:
                session.client_bytes(piece)
            self._take()

    @property
    def finished(self) -> Finished | None:
        """The end of the session, if it has not been taken out of `events`."""
        return next((event for event in self.events if isinstance(event, Finished)), None)

    def _take(self) -> None:
        output = self.session.output
        self.to_client += output.take_to_client()
        self.to_upstream += output.take_to_upstream()
        events = output.take_events()
        self.events += events
        for event in events:
            if self.notes_failures and isinstance(event, LoginFailed):
                self.session.answer(event, False)
                self._take()


def new_session(protocol: str, words: Iterable[str] = ()) -> SmtpSession | PopSession:
    """A session for a client at 192.0.2.7.

    Words: tls (implicit), starttls (POP3: stls), tls_required, announced, noauth, bare_newline=MODE,
    local=DOMAIN,DOMAIN (default local.test), ask_local, standing=OUTCOME, max_refusals=N, max_errors=N,
    max_failed_logins=N, auth=pop3, doubts_authenticated.
    """
    given = dict(word.partition("=")[::2] for word in words)

    def number(key: str, default: int) -> int:
        return int(given.pop(key, default))

    def flag(key: str) -> bool:
        return given.pop(key, None) is not None

    tls, required = flag("tls"), flag("tls_required")
    session: SmtpSession | PopSession
    if protocol == "pop3":
        pop = PopSettings(stls=flag("stls"), tls_required=required, max_failed_logins=number("max_failed_logins", 5))
        session = PopSession(pop, tls=tls)
    else:
        auth: Literal["upstream", "pop3", "off"] = "off" if flag("noauth") else "upstream"
        if given.get("auth") == "pop3":
            auth = "pop3"
            del given["auth"]
        standing, announced = given.pop("standing", None), flag("announced")
        settings = SmtpSettings(
            LocalDomains(given.pop("local", "local.test").split(",")),
            EhloEditor(auth != "off", PasswordExchange.MECHANISMS if auth == "pop3" else frozenset()),
            REFUSAL,
            bare_newline="reject" if given.pop("bare_newline", "normalize") == "reject" else "normalize",
            auth=auth,
            doubts_authenticated=flag("doubts_authenticated"),
            starttls=flag("starttls"),
            tls_required=required,
            ask_local=flag("ask_local"),
            max_refusals=number("max_refusals", 20),
            max_errors=number("max_errors", 20),
            max_failed_logins=number("max_failed_logins", 5),
        )
        verdict = Verdict(Outcome(standing), Reason.TRUSTED) if standing else None
        session = SmtpSession(settings, "192.0.2.7", tls=tls, preauthorised=verdict)
        if announced:
            session.upstream_announced()
    if given:
        raise ValueError(f"no such settings: {', '.join(given)}")
    return session
