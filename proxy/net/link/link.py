"""One client connection with its upstream: two legs, a session between them, and what the session asks for.

The link carries octets; it decides nothing.  After every call of the session it takes what the session has for either
side, sends it, and treats the events in order (`_pump`): those that concern the connections here, the others (may it
relay, a login, facts for the log) in net/link/requests.py.  What may be read is net/link/flow.py, how it ends
net/link/closing.py.  The session has no clock: the link arms the limits of [limits] (net/timers.py) and ends a verdict
at the very second its lease ends, because it compares the clock each time before octets of the client are used
(docs/architecture.md, promise 4).

Life: client accepted → (TLS) → an upstream found (net/upstream/connector.py) → the session greets → ... → Finished →
both legs closed, one line in the log.

An `except Exception` stands here and in leases/writer.py: a bug ends one session with a traceback in the log, and no
other; in the store's thread it costs one turn's answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...metrics import CONNECT_SECONDS, TLS_FAILURES
from ...session.contract import Cut, Wait
from ...session.events import ClientDone, Finished, TlsAsked, UnannouncedAsked, UpstreamAborted
from ...session.upstream.handshake import QUIT
from ..sockets.leg import LARGE, OWN_FULL, PEER_FULL, Leg, LegOwner
from ..sockets.tls_leg import TlsLeg
from ..tracing import new_session
from ..upstream.connector import Connector
from . import closing as ending
from . import flow, tallies
from . import journal as account
from . import requests as answers
from . import upstream_side as announcing

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from ...session.contract import Answer, Session
    from ...session.events import Event, Question
    from ...session.output import Output
    from ...wire.proxyheader import ProxyHeader
    from ..service import Service, Shared
    from ..timers import Queue
    from ..upstream.announcement import Announcement


class Link(LegOwner):
    """See the module; its parts call `received`, `ended`, `lost`, `write_unblocked`, `tls_established`, `tls_failed`
    and `expired`."""

    __slots__ = (
        "_noted",
        "_step",
        "_treating",
        "_wait",
        "address",
        "announced",
        "began",
        "call_off",
        "client",
        "connector",
        "ends",
        "figures",
        "final",
        "held",
        "id",
        "left",
        "lingering",
        "open_login",
        "queue",
        "service",
        "session",
        "shared",
        "shown",
        "streaming",
        "tls",
        "upstream",
        "upstream_name",
        "verdict_ends",
    )  # fmt: skip

    def __init__(
        self,
        shared: Shared,
        service: Service,
        sock: socket.socket,
        address: bytes,
        shown: str,
        id_: str,
        header: ProxyHeader | None = None,
    ) -> None:
        """`sock`: accepted, non-blocking; `address`: the client's (wire/address.py), `shown` the same as text.

        `header`: a load balancer's, that gave this address; None: the client itself has connected.
        """
        self.shared, self.service = shared, service
        self.address, self.shown, self.id = address, shown, id_
        self.figures = shared.figures[service.name]
        tallies.began(self)
        self.queue: Queue | None = None
        self.ends = announcing.ends(service, sock, address, header)
        """The client's address and port, and where it wanted to go; only where that matters."""
        self.connector: Connector | None = None
        self.upstream: Leg | None = None
        self.upstream_name = ""
        self.announced = False
        """Whether the upstream was shown the client's address."""
        self.began = shared.clock()
        """On the clock."""
        self.verdict_ends: float | None = None
        """On the clock, where the session has a verdict that ends."""
        self.call_off: Callable[[], None] | None = None
        """Stops the search for an answer that the session waits for, where it takes time."""
        self.open_login: bytes | None = None
        """Whose mailbox is open in this session, once it is."""
        self._treating = False
        self.held, self.streaming = 0, False  # what the client's leg was last told
        self._noted = 0.0  # the tick after which a wait was last noted
        self._step = -1  # the session's step and wait when its limit was armed
        self._wait: Wait | None = None
        self.final: Finished | None = None
        """How the session ended, once it has."""
        self.left = False  # it was the client who went
        self.lingering = False  # all was said; the client's end is waited for
        self.tls = ""
        """Version and cipher of the client's TLS, "TLSv1.3:TLS_AES_256_GCM_SHA384"."""
        self.session: Session = new_session(service, shared.traces, address, shown, id_)
        self.client = (Leg if service.tls is None else TlsLeg)(shared.poller, sock, self)
        if service.implicit_tls:
            self._start_tls()
        else:
            announcing.find_upstream(self)

    # What the legs say

    def received(self, leg: Leg, data: bytes) -> None:
        if self.final is not None:
            return  # lingering
        if self.verdict_ends is not None:
            self.check_verdict()
        session = self.session
        try:
            if leg is self.client:
                session.client_bytes(data)
            else:
                session.upstream_bytes(data)
            self._pump()
        except Exception as error:
            self._failed(error)

    def streamed(self, leg: Leg, text: memoryview) -> None:
        """Message text, or an open mailbox: mostly it goes to the other side as it stands in the leg's buffer."""
        client = leg is self.client
        other = self.upstream if client else self.client
        try:
            if self.final is None and other is not None and self.session.forward_raw(text, from_client=client):
                other.stream(text)
                if len(text) == LARGE and self.session.raw_forever and leg.clear and other.ready:
                    leg.splice_to = other
                self._pump()
                return
        except Exception as error:
            self._failed(error)
        self.received(leg, bytes(text))

    def check_verdict(self) -> None:
        """Before any octet is used, of the upstream too: a reply may set free lines that waited behind it."""
        if self.verdict_ends is not None and self.shared.clock() >= self.verdict_ends:
            self.verdict_ends = None
            self.session.verdict_lapsed()

    def ended(self, leg: Leg) -> None:
        if leg is not self.client:
            self.call(self.session.upstream_eof)
        elif self.final is not None:
            ending.close(self)
        else:
            self.left = True
            if self.open_login is not None:
                self.shared.left(self)
            if not self._has_gone():
                self.call(self.session.client_eof)

    def lost(self, leg: Leg, why: str) -> None:
        if leg is not self.client:
            self.call(self.session.upstream_eof)
        elif self.final is not None:
            ending.close(self)
        else:
            self.left = True
            self.call(self.session.client_lost, why)

    def write_blocked(self, leg: Leg) -> None:
        self.write_unblocked(leg)

    def write_unblocked(self, leg: Leg) -> None:
        if self.final is None:
            if not self._has_gone():
                flow.regulate(self)
        elif leg is self.client:
            ending.finish(self)

    def _has_gone(self) -> bool:
        """End if the client has said its last and can't be told anything: a mailbox would pass to nobody for hours."""
        gone = self.left and self.client.broken and self.session.streaming
        if gone:
            self._end(f"client lost ({self.session.doing})")
        return gone

    def _start_tls(self) -> None:
        client, service = self.client, self.service
        assert isinstance(client, TlsLeg)
        assert service.tls is not None
        self.shared.deadlines.arm(self, service.handshake_timeout)
        client.start_tls(service.tls.wrap_for(self.address))

    def tls_established(self, leg: Leg, tls: ssl.SSLObject) -> None:
        self.tls = account.tls(tls)
        tallies.tls_established(self)
        if self.service.implicit_tls:
            self.shared.deadlines.disarm(self)
            announcing.find_upstream(self)
        else:
            self.call(self.session.answer, TlsAsked(), None)

    def tls_failed(self, leg: Leg, tls: ssl.SSLObject, error: ssl.SSLError) -> None:
        self.figures[TLS_FAILURES] += 1
        reason = (error.reason or str(error)).lower().replace("_", " ")
        self._end(f"TLS handshake failed: {reason}")

    def expired(self) -> None:
        """The armed limit is over."""
        if self.final is not None:
            ending.close(self)
        elif self._wait is None and self.service.implicit_tls:
            self._end("client too slow in the TLS handshake")
        else:  # `limit` has rounded what is left
            whole = self._left(self.shared.clock()) < 0.5
            self.call(lambda: self.session.out_of_time(session=whole))

    def _left(self, now: float) -> float:
        """Seconds of the session's own limit."""
        return self.began + self.service.session_timeout - now

    # What the worker says

    def drain(self) -> None:
        """End now if nothing is cut by it."""
        if self.final is None:
            self.call(self.session.drain)

    def cut(self) -> None:
        """End now, whatever is under way (the limit of a drain)."""
        if self.final is None:
            self.call(self.session.cut)

    def kick(self) -> None:
        """End now, because the administrator says so."""
        if self.final is None:
            self.call(lambda: self.session.cut(Cut.KICK))

    def glance(self) -> dict[str, str | float | None]:
        """Where it is, for `popgate sessions`: the words of its last line, as they are now."""
        words = [
            ("id", self.id),
            ("client", self.shown),
            *ending.facts(self, ending.lasted(self)),
            ("doing", self.session.doing),
        ]
        return dict(words)

    # The upstream

    def dial(
        self,
        found: Callable[[Leg, bytes], None],
        failed: Callable[[], None],
        announcement: Announcement | None,
        again: tuple[bytes, bytes] | None = None,
    ) -> None:
        """Search for a connection to the upstream (net/upstream/connector.py)."""
        shared = self.shared
        self.connector = connector = Connector(
            self.service.upstream, shared.poller, shared.deadlines,
            found=found, failed=failed, server_failed=self.upstream_failed, announcement=announcement, replay=again,
            ends=self.ends,
        )  # fmt: skip
        connector.start()

    def found_upstream(self, leg: Leg, data: bytes) -> None:
        self.take_upstream(leg)
        self.received(leg, data)

    def take_upstream(self, leg: Leg) -> None:
        """From now on this is the upstream; the one before, if there is one, is taken leave of."""
        connector, self.connector = self.connector, None
        assert connector is not None
        self.upstream_name = connector.name
        CONNECT_SECONDS.note(self.figures, connector.took)
        if self.upstream is not None:
            self.upstream.send(QUIT)
            self.upstream.send_close_notify()
            self.upstream.close()
            leg.hold(PEER_FULL if self.held & OWN_FULL else 0)
        self.upstream = leg
        leg.hand_to(self)

    def no_upstream(self) -> None:
        self.connector = None
        self.call(self.session.upstream_failed)

    def upstream_failed(self, server: str, why: str) -> None:
        """A server of an upstream does not serve."""
        self.upstream_name = server
        self.say("warning", "upstream-failed", ("upstream", server), ("why", why))

    # The session

    def call(self, method: Callable[..., None], *arguments: Question | Answer | str) -> None:
        """Call the session and carry what it produced."""
        try:
            method(*arguments)
            self._pump()
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.say("error", "bug", *account.bug(error))
        self._end("a bug in popgate")

    def _pump(self) -> None:
        """Send what the session has for either side and treat its events, until it has nothing more."""
        if self._treating:
            return  # an answer that came at once: `_treat_events` goes on with what it produced
        session, client, upstream = self.session, self.client, self.upstream
        output = session.output
        if output.to_upstream or output.to_client:
            self._carry(output)
        if output.events:
            self._treat_events(output)
            upstream = self.upstream
            if self.final is not None:
                ending.finish(self)
                return
        full = client.rest or (upstream is not None and upstream.rest)
        if full or session.holding or self.held or session.streaming is not self.streaming:
            flow.regulate(self)
        deadlines = self.shared.deadlines
        if self._noted != deadlines.now:
            self._noted = deadlines.now
            deadlines.wait_began(self)

    def _carry(self, output: Output) -> None:
        """Send what the session has for either side."""
        if output.to_upstream:
            octets = output.take_to_upstream()
            if self.upstream is not None:
                self.upstream.send(octets)
        if output.to_client:
            self.client.send(output.take_to_client())

    def _treat_events(self, output: Output) -> None:
        """Treat events, and what their answers bring about, until there are none."""
        self._treating = True
        try:
            while output.events:
                for event in output.take_events():
                    self._treat(event)
                self._carry(output)
        finally:
            self._treating = False

    def _treat(self, event: Event) -> None:
        match event:
            case TlsAsked():
                self._start_tls()
                self._step, self._wait = self.session.step, self.session.wait
            case UnannouncedAsked():
                announcing.move(self, event)
            case ClientDone():
                self._carry(self.session.output)
                if self.upstream is not None:
                    self.upstream.finish_sending()
            case UpstreamAborted():
                if self.upstream is not None:
                    self.upstream.close()
                    self.upstream = None
            case Finished():
                self.final = event
            case _:
                answers.answer(self, event)

    # Flow, limits, end

    def limit(self) -> float | None:
        """Seconds for the present wait, where it has begun since the last tick; a peer's octets alone do not prolong it
        (net/timers.py)."""
        session = self.session
        wait = session.wait
        if self.final is not None or (wait is self._wait and session.step == self._step):
            return None
        self._step, self._wait = session.step, wait
        if wait is Wait.MAILBOX:  # it may stay open: rule G4 renews its lease for hours
            return self.service.waits[wait]
        left = self._left(self.shared.deadlines.now)
        if left < 1.0 and self.queue is not None:
            return None  # what was armed last is the session's end: no octet moves it any more
        return min(self.service.waits[wait], max(1.0, round(left)))

    def _end(self, why: str) -> None:
        """End for a reason that the session does not know."""
        self.final = Finished(why)
        ending.finish(self)

    def say(self, level: str, event: str, *words: account.Word) -> None:
        self.shared.log.line(level, self.service.protocol, event, ("client", self.shown), ("id", self.id), *words)
