"""One client connection with its upstream: two legs, a session between them, and what the session asks for.

The link carries octets and answers questions; it decides nothing.  After every call of the session it takes what the session
has for either side, sends it, and treats the events in order (`_pump`).  Reading is held for named reasons (leg.Held).  The
session has no clock: the link arms the limits of [limits] (net/timers.py) and ends a verdict at the very second its lease ends,
because it compares the clock each time before octets of the client are used (DESIGN promise 4).

Life: client accepted → (TLS) → upstream dialled → (its TLS) → the session greets → ... → Finished → both legs closed, one line
in the log.  An upstream that fails before its greeting is replaced by the next server; the client has not seen a byte yet.

The only `except Exception` of popgate is here: a bug ends one session with a traceback in the log, and no other.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import StoreUnavailable, UpstreamUnavailable
from ..session.events import (
    Finished,
    LoggedIn,
    LoginFailed,
    Refused,
    RelayAsked,
    Relayed,
    TlsAsked,
    UpstreamAborted,
    Wait,
)
from ..session.pop3 import PopSession
from ..session.smtp import SmtpSession, SmtpSettings
from ..wire.address import literal
from .leg import LARGE, LINGER, SMALL, Held, Leg
from .upstream import dial

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from ..log import Log
    from ..policy import RelayPolicy
    from ..session.events import Event, Session, Verdict
    from ..session.opening import Opening
    from ..session.pop3 import PopSettings
    from .poller import Poller
    from .timers import Deadlines, Queue
    from .tls import ServerTls
    from .upstream import Address, Upstream


@dataclass(frozen=True, slots=True)
class Service:
    """What all links of one listener share; made anew by every reload, living links keep theirs."""

    name: str
    protocol: str
    settings: SmtpSettings | PopSettings
    policy: RelayPolicy
    upstream: Upstream
    tls: ServerTls | None
    implicit_tls: bool
    waits: dict[Wait, float]
    """Seconds for each kind of wait."""
    handshake_timeout: float
    session_timeout: float
    max_age: float
    """Seconds after the login that an open POP session keeps its lease alive."""


@dataclass(slots=True)
class Shared:
    """What all links of one worker share."""

    poller: Poller
    deadlines: Deadlines
    log: Log
    clock: Callable[[], float]
    """Seconds that go on in suspend and never go back (leases/clock.py)."""
    closed: Callable[[Link], None]
    """Called once at the end of every link."""
    leased: Callable[[Link, str], None]
    """Called with the login when a POP session with a lease opens: it keeps the lease alive (RULES G4)."""


class Link:
    """See the module; its parts call `received`, `ended`, `lost`, `drained`, `secured`, `insecure` and `expired`."""

    __slots__ = ("_addresses", "_began", "_client", "_final", "_left", "_lingering",
                 "_opening", "_pumping", "_shared",
                 "_step", "_tls", "_upstream", "_upstream_host", "_upstream_name", "_verdict_ends", "_wait", "address", "deadlines",
                 "id", "service", "session", "shown")  # fmt: skip

    def __init__(
        self, shared: Shared, service: Service, sock: socket.socket, address: bytes, shown: str, id_: str
    ) -> None:
        """`sock`: accepted, non-blocking; `address`: the client's (wire/address.py), `shown` the same as text."""
        self._shared, self.service = shared, service
        self.address, self.shown, self.id = address, shown, id_
        self.deadlines: Queue | None = None
        self._addresses: list[Address] | None = None  # of the upstream, not yet tried; None: not asked for yet
        self._upstream: Leg | None = None
        self._upstream_name = self._upstream_host = ""
        self._opening: Opening | None = None
        self._began = shared.clock()
        self._verdict_ends = float("inf")
        self._pumping = False
        self._step = -1  # the session's step and wait when a limit was armed
        self._wait: Wait | None = None
        self._final: Finished | None = None
        self._left = False  # it was the client who went
        self._lingering = False  # all was said; the client's end is waited for
        self._tls = ""
        self.session: Session
        if isinstance(service.settings, SmtpSettings):
            standing = service.policy.standing(address)
            self.session = SmtpSession(
                service.settings, shown, literal(address), tls=service.implicit_tls, standing=standing
            )
        else:
            self.session = PopSession(service.settings, tls=service.implicit_tls)
        self._client = Leg(shared.poller, sock, self)
        if service.implicit_tls:
            assert service.tls is not None
            shared.deadlines.arm(self, service.handshake_timeout)
            self._client.start_tls(service.tls.wrap)
        else:
            self._find_upstream()

    # What the legs say

    def received(self, leg: Leg, data: bytes) -> None:
        if leg is self._client:
            if self._final is not None:
                return  # lingering
            self._end_verdict()
            self._call(self.session.client_bytes, data)
        elif self._opening is not None:
            self._open_upstream(self._opening, data)
        else:
            self._end_verdict()  # a reply may set free lines of the client that waited behind it
            self._call(self.session.upstream_bytes, data)

    def _end_verdict(self) -> None:
        """End the verdict if its lease has ended: said before any octet is used (RULES G6)."""
        if self._shared.clock() >= self._verdict_ends:
            self._verdict_ends = float("inf")
            self._smtp().verdict_lapsed()

    def ended(self, leg: Leg) -> None:
        if leg is self._client:
            if self._final is not None:
                self._close()
            else:
                self._left = True
                self._call(self.session.client_eof)
        elif self._opening is not None or not leg.received:
            self._try_next(leg, "it closed the connection before its greeting")
        else:
            self._call(self.session.upstream_eof)

    def lost(self, leg: Leg, why: str) -> None:
        if leg is self._client:
            if self._final is not None:
                self._close()
            else:
                self._left = True
                self._final = Finished(f"client lost: {why} ({self.session.doing})")
                self._finish()
        elif self._opening is not None or not leg.received:
            self._try_next(leg, why)
        else:
            self._call(self.session.upstream_eof)

    def drained(self, leg: Leg) -> None:
        if self._final is not None:
            if leg is self._client:
                self._finish()
        else:
            self._regulate()

    def secured(self, leg: Leg) -> None:
        if leg is self._client:
            self._tls = _tls_words(leg)
            if self.service.implicit_tls:
                self._find_upstream()
            else:
                self._call(self.session.tls_started)
            return
        upstream = self.service.upstream
        assert upstream.tls is not None
        assert leg.tls is not None
        try:
            upstream.tls.check(leg.tls)
        except UpstreamUnavailable as error:
            self._try_next(leg, str(error))
            return
        opening, self._opening = self._opening, None
        if opening is not None:
            self._call(self.session.upstream_bytes, opening.greeting)

    def insecure(self, leg: Leg, error: ssl.SSLError) -> None:
        if leg is self._client:
            reason = (error.reason or str(error)).lower().replace("_", " ")
            self._final = Finished(f"TLS handshake failed: {reason}")
            self._finish()
            return
        upstream = self.service.upstream
        assert upstream.tls is not None
        assert leg.tls is not None
        self._try_next(leg, str(upstream.tls.refused(error, leg.tls)))

    def expired(self) -> None:
        """The armed limit is over."""
        if self._final is not None:
            self._close()
        elif self._upstream is None and self._addresses is None:  # implicit TLS has not come up
            self._final = Finished("client too slow in the TLS handshake")
            self._finish()
        elif self._wait is Wait.GREETING and self._upstream is not None:
            self._try_next(self._upstream, "no greeting in time")
        else:
            self._call(self.session.out_of_time)

    # What the worker says

    def drain(self) -> None:
        """End now if nothing is cut by it."""
        if self._final is None:
            self._call(self.session.drain)

    def cut(self) -> None:
        """End now, whatever is under way (the limit of a drain)."""
        if self._final is None:
            self._call(self.session.out_of_time)

    # The upstream's beginning

    def _find_upstream(self) -> None:
        self._addresses = []
        self._arm_if_changed()
        self.service.upstream.addresses(self._found_upstream)

    def _found_upstream(self, addresses: list[Address]) -> None:
        if self._final is None:
            self._addresses = list(addresses)
            self._dial()

    def _dial(self) -> None:
        """Try the next server, or give up."""
        upstream = self.service.upstream
        assert self._addresses is not None
        while self._addresses:
            address = self._addresses.pop(0)
            self._upstream_name, self._upstream_host = address.shown, address.host
            try:
                leg = self._upstream = Leg(self._shared.poller, dial(address), self)
            except UpstreamUnavailable as error:
                self._complain(str(error))
                continue
            self._shared.deadlines.arm(self, upstream.connect_timeout)
            self._opening = upstream.opening()
            if upstream.implicit and upstream.tls is not None:
                self._start_upstream_tls(leg)
            return
        self._call(self.session.upstream_failed)

    def _try_next(self, leg: Leg, why: str) -> None:
        if self._final is not None:  # put off, and the client has gone since
            return
        leg.close()
        self._upstream, self._opening = None, None
        self._complain(why)
        self._dial()

    def _complain(self, why: str) -> None:
        words = (("client", self.shown), ("id", self.id), ("upstream", self._upstream_name), ("why", why))
        self._shared.log.line("warning", self.service.protocol, "upstream-failed", *words)

    def _open_upstream(self, opening: Opening, data: bytes) -> None:
        leg = self._upstream
        assert leg is not None
        try:
            opening.upstream_bytes(data)
        except UpstreamUnavailable as error:
            self._try_next(leg, str(error))
            return
        for out in opening.to_upstream:
            leg.send(out)
        opening.to_upstream.clear()
        if opening.ready:
            self._start_upstream_tls(leg)

    def _start_upstream_tls(self, leg: Leg) -> None:
        tls = self.service.upstream.tls
        assert tls is not None
        try:
            name = tls.server_hostname(self._upstream_host)
        except UpstreamUnavailable as error:
            why = str(error)
            self._shared.poller.soon(lambda: self._try_next(leg, why))
            return
        leg.start_tls(lambda incoming, outgoing: tls.context.wrap_bio(incoming, outgoing, server_hostname=name))

    # The session

    def _smtp(self) -> SmtpSession:
        assert isinstance(self.session, SmtpSession)
        return self.session

    def _call(self, method: Callable[..., None], *arguments: bytes | Verdict) -> None:
        """Call the session and carry what it produced."""
        try:
            method(*arguments)
            self._pump()
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        places = " < ".join(
            [f"{frame.name}:{frame.lineno}" for frame in reversed(traceback.extract_tb(error.__traceback__))]
        )
        # Names of functions and the class only: the text of an exception may hold what a peer sent.
        words = (("client", self.shown), ("id", self.id), ("error", type(error).__name__), ("at", places))
        self._shared.log.line("error", self.service.protocol, "bug", *words)
        self._final = Finished("a bug in popgate")
        self._finish()

    def _pump(self) -> None:
        """Send what the session has for either side and treat its events, until it has nothing more."""
        if self._pumping:
            return  # an answer that came at once: the loop below goes on with what it produced
        self._pumping = True
        session = self.session
        try:
            while True:
                if session.to_upstream:
                    out, session.to_upstream = session.to_upstream, []
                    if self._upstream is not None:
                        self._upstream.send(out[0] if len(out) == 1 else b"".join(out))
                if session.to_client:
                    out, session.to_client = session.to_client, []
                    self._client.send(out[0] if len(out) == 1 else b"".join(out))
                if not session.events:
                    break
                events, session.events = session.events, []
                for event in events:
                    self._treat(event)
        finally:
            self._pumping = False
        if self._final is not None:
            self._finish()
            return
        if session.upstream_done and self._upstream is not None:
            session.upstream_done = False
            self._upstream.finish_sending()
        self._regulate()
        self._arm_if_changed()

    def _treat(self, event: Event) -> None:
        match event:
            case RelayAsked():
                self.service.policy.judge(self.address, self._judged)
            case LoggedIn():
                self._logged_in(event)
            case TlsAsked():
                assert self.service.tls is not None
                self._shared.deadlines.arm(self, self.service.handshake_timeout)
                self._step, self._wait = self.session.step, self.session.wait
                self._client.start_tls(self.service.tls.wrap)
            case UpstreamAborted():
                if self._upstream is not None:
                    self._upstream.close()
                    self._upstream = None
            case Finished():
                self._final = event
            case Refused():
                self._say("info", "refused", ("sender", event.sender), ("recipient", event.recipient),
                          ("reply", event.reply), ("why", event.why))  # fmt: skip
            case LoginFailed():
                self._say("info", "login-failed", ("login", event.login))
            case Relayed():
                self._say("info", "relayed", ("login", event.login), ("why", event.why), ("sender", event.sender),
                          ("recipients", ",".join(event.recipients)), ("octets", event.octets),
                          ("reply", event.reply))  # fmt: skip

    def _judged(self, verdict: Verdict, seconds: float) -> None:
        if self._final is None:
            self._verdict_ends = self._shared.clock() + seconds
            self._call(self._smtp().relay_answered, verdict)

    def _logged_in(self, event: LoggedIn) -> None:
        policy = self.service.policy
        if why := policy.unleasable(self.address):
            self._say("warning", "no-lease", ("login", event.login), ("why", why))
            self._lease_settled(event.login, why)
            return
        policy.grant(self.address, event.login, lambda error: self._lease_settled(event.login, error))

    def _lease_settled(self, login: str, problem: str | StoreUnavailable | None) -> None:
        if problem is None:
            self._say("info", "leased", ("login", login), ("seconds", round(self.service.policy.window)))
            if self._final is None:
                self._shared.leased(self, login)
        elif isinstance(problem, StoreUnavailable):
            self._say("warning", "not-leased", ("login", login), ("why", str(problem)))
        if self._final is None:
            session = self.session
            assert isinstance(session, PopSession)
            self._call(session.lease_settled)

    # Flow, limits, end

    def _regulate(self) -> None:
        """Hold and let go reading, each side for its own reasons."""
        client, upstream, session = self._client, self._upstream, self.session
        own = Held.OWN_FULL if client.full else 0
        if upstream is not None:
            peer = Held.PEER_FULL if upstream.full else 0
            client.hold(own | peer | (Held.SESSION if session.holding else 0))
            upstream.hold(Held.PEER_FULL if client.full else 0)
            client.chunk = upstream.chunk = LARGE if session.streaming else SMALL
        else:
            client.hold(own)

    def _arm_if_changed(self) -> None:
        """Arm the limit of the present wait when it has just begun; a peer's octets alone do not prolong it."""
        session = self.session
        wait = session.wait
        if session.step != self._step or wait is not self._wait:
            self._step, self._wait = session.step, wait
            if wait is not Wait.GREETING or self._upstream is None:
                left = self._began + self.service.session_timeout - self._shared.clock()
                seconds = self.service.waits[wait]
                self._shared.deadlines.arm(self, seconds if seconds < left else max(1.0, round(left)))

    def _finish(self) -> None:
        """Let the last words go out, then close; may come several times."""
        assert self._final is not None
        if self._upstream is not None:
            self._upstream.say_goodbye()
            self._upstream.close()
            self._upstream = None
        client = self._client
        if client.closed:
            return
        if client.full:
            self._shared.deadlines.arm(self, self.service.waits[Wait.COMMAND])
        elif self._final.clean or self._left:  # whose end was read has nothing on its way that a reset could answer
            client.say_goodbye()
            self._close()
        elif not self._lingering:
            self._lingering = True
            client.finish_sending()
            client.hold(0)
            self._shared.deadlines.arm(self, LINGER)

    def _close(self) -> None:
        if self._client.closed:
            return
        self._client.close()
        self._shared.deadlines.disarm(self)
        self._log_end()
        self._shared.closed(self)

    def _say(self, level: str, event: str, *words: tuple[str, str | int | None]) -> None:
        self._shared.log.line(
            level, self.service.protocol, event, ("client", self.shown), ("id", self.id), *words
        )  # fmt: skip

    def _log_end(self) -> None:
        assert self._final is not None
        silent = self._left and not self._client.received  # a health check: connect, perhaps a look, and away
        seconds = self._shared.clock() - self._began
        self._say(
            "debug" if silent else "info", "end", ("listener", self.service.name), ("tls", self._tls or "off"),
            ("upstream", self._upstream_name), *self.session.facts(), ("in", self._client.received),
            ("out", self._client.sent), ("seconds", f"{seconds:.3f}"), ("why", self._final.why),
        )  # fmt: skip


def _tls_words(leg: Leg) -> str:
    side = leg.tls
    cipher = side.cipher() if side is not None else None
    return f"{side.version()}:{cipher[0]}" if side is not None and cipher is not None else ""
