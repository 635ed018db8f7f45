"""One client connection with its upstream: two legs, a session between them, and what the session asks for.

The link carries octets; it decides nothing.  After every call of the session it takes what the session has for either
side, sends it, and treats the events in order (`_pump`): those that concern the connections here, the others in
net/link/requests.py.  It puts its parts together, and each of them owns its state: the upstream's connection
(upstream_side.py), which side may be read (flow.py), the limits (timeouts.py), the end (closing.py), the log
(journal.py).  None of them knows the link; where one calls back, its Protocol says how.

Life: client accepted → `begin` → (TLS) → an upstream found (net/upstream/connector.py) → the session greets → ... →
Finished → both legs closed, one line in the log.

Promises: a bug ends one session with a line in the log, and no other; that is why an `except Exception` stands here
(and in leases/writer.py, where it costs one turn's answers).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from ...session.begin import new_session
from ...session.contract import Cut, Wait
from ...session.events import ClientDone, Finished, TlsAsked, UnannouncedAsked, UpstreamAborted
from ..sockets.leg import LARGE, Leg, LegOwner
from ..sockets.tls_leg import TlsLeg
from .closing import Closing
from .flow import FlowControl
from .journal import Journal, Totals, tls_words
from .requests import Requests
from .timeouts import Limit, Timeouts
from .upstream_side import UpstreamSide, ends

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from ...session.contract import Answer, Session
    from ...session.events import Event, Question
    from ...session.output import Output
    from ...wire.proxyheader import ProxyHeader
    from ..service import Service, Shared
    from .journal import Word

_QUIT: Final = len(b"QUIT\r\n")


class Link(LegOwner):
    """One client's; a `Connection` (net/service.py), and what its parts call back."""

    __slots__ = (
        "_flow", "_journal", "_pumping", "_shared", "_timeouts", "address", "client", "closing", "id", "requests",
        "service", "session", "shown", "tls", "upstream",
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
        """`sock`: accepted, non-blocking; `header`: a load balancer's, that gave this address; None: the client itself
        has connected.  Nothing happens before `begin`.
        """
        self.id = id_
        """What the log calls it."""
        self.address, self.shown = address, shown
        """The client's (wire/address.py), as octets and as text."""
        self.service = service
        """Of its listener."""
        self.tls = ""
        """Version and cipher of the client's TLS, "TLSv1.3:TLS_AES_256_GCM_SHA384"."""
        self._shared = shared
        """What it shares with the worker's other links."""
        self._pumping = False
        """Events are being treated: what an answer brings about is carried by `_treat_events`."""
        self.session: Session = _session(shared, service, address, shown, id_)
        """What both sides say, and may say."""
        self.client = (Leg if service.tls is None else TlsLeg)(shared.poller, sock, self)
        """The client's connection."""
        self._journal = Journal(shared, service, address, shown, id_)
        """What is written of it."""
        self._flow = FlowControl()
        """Which side may be read."""
        self._timeouts = Timeouts(shared, service, self.session, self)
        """How long it may wait."""
        self.closing = Closing()
        """How far it is on its way to its end."""
        self.upstream = UpstreamSide(shared, service.upstream, ends(service, sock, address, header), self._journal)
        """The upstream's connection."""
        self.requests = Requests(shared, service, self.upstream, self.closing, self._journal)
        """What the session asks for."""

    # What the worker asks for

    def begin(self) -> None:
        """Find an upstream for the client, after its TLS handshake where TLS comes first."""
        self._journal.began()
        if self.service.implicit_tls:
            self._timeouts.handshake()
            self._start_tls()
        else:
            self._find_upstream()

    @property
    def began(self) -> float:
        """When the client came, on the clock."""
        return self._timeouts.began

    @property
    def has_ended(self) -> bool:
        """Whether its session is over; the last words may still be on their way."""
        return self.closing.final is not None

    def drain(self) -> None:
        """End now if nothing is cut by it."""
        if self.closing.final is None:
            self._call(self.session.drain)

    def cut(self) -> None:
        """End now, whatever is under way (the limit of a drain)."""
        if self.closing.final is None:
            self._call(self.session.cut)

    def kick(self) -> None:
        """End now, because the administrator says so."""
        if self.closing.final is None:
            self._call(lambda: self.session.cut(Cut.KICK))

    def snapshot(self) -> dict[str, str | float | None]:
        """Where it is, for `popgate sessions`: the words of its last line, as they are now."""
        words = [
            ("id", self.id),
            ("client", self.shown),
            *self._facts(self._timeouts.lasted),
            ("doing", self.session.doing),
        ]
        return dict(words)

    # What the legs report

    def received(self, leg: Leg, data: bytes) -> None:
        if self.closing.final is not None:
            return  # lingering
        session = self.session
        if self.requests.verdict_ends is not None:
            self.requests.check_verdict(session)
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
        other = self.upstream.leg if client else self.client
        try:
            if self.closing.final is None and other is not None and self.session.forward_raw(text, from_client=client):
                other.stream(text)
                if len(text) == LARGE and self.session.raw_forever and leg.clear and other.ready:
                    leg.splice_to(other)
                self._pump()
                return
        except Exception as error:
            self._failed(error)
        self.received(leg, bytes(text))

    def ended(self, leg: Leg) -> None:
        if leg is not self.client:
            self._call(self.session.upstream_eof)
        elif self.closing.final is not None:
            self._close()
        else:
            self.closing.client_gone()
            if self.requests.open_login is not None:
                self._shared.left(self)
            if not self._end_if_unreachable():
                self._call(self.session.client_eof)

    def lost(self, leg: Leg, why: str) -> None:
        if leg is not self.client:
            self._call(self.session.upstream_eof)
        elif self.closing.final is not None:
            self._close()
        else:
            self.closing.client_gone()
            self._call(self.session.client_lost, why)

    def write_blocked(self, leg: Leg) -> None:
        self.write_unblocked(leg)

    def write_unblocked(self, leg: Leg) -> None:
        if self.closing.final is None:
            if not self._end_if_unreachable():
                self._flow.regulate(self.session, self.client, self.upstream.leg, self.streamed)
        elif leg is self.client:
            self._finish()

    def tls_established(self, leg: Leg, tls: ssl.SSLObject) -> None:
        self.tls = tls_words(tls)
        self._journal.tls_established(self.tls.partition(":")[0])
        if self.service.implicit_tls:
            self._timeouts.handshake_over()
            self._find_upstream()
        else:
            self._call(self.session.answer, TlsAsked(), None)

    def tls_failed(self, leg: Leg, tls: ssl.SSLObject, error: ssl.SSLError) -> None:
        self._journal.tls_failed()
        reason = (error.reason or str(error)).lower().replace("_", " ")
        self._end(f"TLS handshake failed: {reason}")

    # What the upstream's side reports (`UpstreamEvents`)

    def upstream_found(self, leg: Leg, data: bytes) -> None:
        leg.hand_to(self)
        if self.upstream.is_provisional:
            self.session.upstream_announced()
        self.received(leg, data)

    def upstream_unavailable(self) -> None:
        self._call(self.session.upstream_failed)

    def upstream_replaced(self, leg: Leg | None, offer: bytes | None) -> None:
        if leg is not None:
            leg.hand_to(self)
            self._flow.hold_upstream(leg)
            self.requests.check_verdict(self.session)
        self._call(self.session.answer, UnannouncedAsked(b"", b""), offer)

    # What its limits report (`TimeoutEvents`)

    def timed_out(self, limit: Limit) -> None:
        if limit is Limit.CLOSING:
            self._close()
        elif limit is Limit.HANDSHAKE:
            self._end("client too slow in the TLS handshake")
        else:
            self._call(lambda: self.session.out_of_time(session=limit is Limit.SESSION))

    # What its requests need (`Asker`)

    def reply(self, question: Question, result: Answer) -> None:
        if self.closing.final is None:
            self._call(self.session.answer, question, result)

    def take_password(self) -> tuple[bytes, bytes]:
        return self.session.take_password()

    def end_for_client_left(self) -> None:
        self._call(self.session.client_eof)

    # The session

    def _call(self, method: Callable[..., None], *arguments: Question | Answer | str) -> None:
        """Call the session and carry what it produced."""
        try:
            method(*arguments)
            self._pump()
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._journal.bug(error)
        self._end("a bug in popgate")

    def _pump(self) -> None:
        """Send what the session has for either side and treat its events, until it has nothing more."""
        if self._pumping:
            return  # an answer that came at once: `_treat_events` goes on with what it produced
        session = self.session
        output = session.output
        if output.to_upstream or output.to_client:
            self._carry(output)
        if output.events:
            self._treat_events(output)
            if self.closing.final is not None:
                self._finish()
                return
        flow, upstream = self._flow, self.upstream.leg
        full = self.client.rest or (upstream is not None and upstream.rest)
        if full or session.holding or flow.held or session.streaming is not flow.streaming:
            flow.regulate(session, self.client, upstream, self.streamed)
        timeouts = self._timeouts
        if timeouts.recorded != timeouts.deadlines.now:
            timeouts.record()

    def _carry(self, output: Output) -> None:
        """Send what the session has for either side."""
        if output.to_upstream:
            octets = output.take_to_upstream()
            if self.upstream.leg is not None:
                self.upstream.leg.send(octets)
        if output.to_client:
            self.client.send(output.take_to_client())

    def _treat_events(self, output: Output) -> None:
        """Treat events, and what their answers bring about, until there are none."""
        self._pumping = True
        try:
            while output.events:
                for event in output.take_events():
                    self._treat(event)
                self._carry(output)
        finally:
            self._pumping = False

    def _treat(self, event: Event) -> None:
        match event:
            case TlsAsked():
                self._timeouts.handshake_in_session()
                self._start_tls()
            case UnannouncedAsked():
                self.upstream.replace(self, (event.hello, event.mail))
            case ClientDone():
                self._carry(self.session.output)
                if self.upstream.leg is not None:
                    self.upstream.leg.finish_sending()
            case UpstreamAborted():
                self.upstream.abort()
            case Finished():
                self.closing.session_over(event)
            case _:
                self.requests.take(event, self)

    # Beginning and end

    def _find_upstream(self) -> None:
        self.upstream.begin(self, self.service.policy, self.address, self.tls)

    def _start_tls(self) -> None:
        client, tls = self.client, self.service.tls
        assert isinstance(client, TlsLeg)
        assert tls is not None
        client.start_tls(tls.wrap_for(self.address))

    def _end_if_unreachable(self) -> bool:
        """End if the client has said its last and can't be told anything: a mailbox would pass to nobody for hours."""
        unreachable = self.closing.client_left and self.client.broken and self.session.streaming
        if unreachable:
            self._end(f"client lost ({self.session.doing})")
        return unreachable

    def _end(self, why: str) -> None:
        """End for a reason that the session does not know."""
        self.closing.session_over(Finished(why))
        self._finish()

    def _finish(self) -> None:
        """Let the last words go out, then close; may come several times."""
        self.requests.stop()
        self.upstream.stop()
        patience = self.service.waits[Wait.COMMAND]
        if not self.client.closed and self.closing.finish(self.client, self._timeouts, patience):
            self._close(with_fin=True)

    def _close(self, *, with_fin: bool = False) -> None:
        """Close the client's leg, too, and write the last line; once.  `with_fin`: see `Leg.close`."""
        client, final = self.client, self.closing.final
        assert final is not None
        if client.closed:
            return
        client.close(with_fin=with_fin)
        self._timeouts.stop()
        self.requests.close()
        # A health check connects, and perhaps looks or says QUIT.
        silent = (self.closing.client_left and not client.received) or (final.clean and client.received <= _QUIT)
        seconds = self._timeouts.lasted
        totals = Totals(client.received, client.sent, self.session.messages, seconds)
        self._journal.ended(final.why, self._facts(seconds), totals, silent=silent)
        self._shared.closed(self)

    def _facts(self, seconds: float) -> list[Word]:
        """What the link is and did, as words for its line; `seconds`: since the client came."""
        service, upstream = self.service, self.upstream
        words: list[Word] = [("listener", service.name), ("tls", self.tls or "off"), ("upstream", upstream.name)]
        if service.upstream.announcing.announces:
            words.append(("announced", "yes" if upstream.announced else "no"))
        words += self.session.facts()
        words += ("in", self.client.received), ("out", self.client.sent), ("seconds", round(seconds, 3))
        return words


def _session(shared: Shared, service: Service, address: bytes, shown: str, id_: str) -> Session:
    """The session of a link with this client, with a transcript if it is traced."""
    tell, traces = None, shared.traces
    if address in traces.clients:
        tell = partial(traces.note, shown, id_, service.protocol)
        tell("--", f"{shown} at listener {service.name}")
    preauthorised = service.policy.preauthorised(address) if service.protocol == "smtp" else None
    return new_session(service.settings, shown, tls=service.implicit_tls, preauthorised=preauthorised, tell=tell)
