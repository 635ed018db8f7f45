"""From a client without an upstream to a connection that is fit for its session.

`Connector` tries the servers of an upstream in the order that net/upstream/pool.py gives, with what shows them the
client (net/upstream/announcement.py), TLS, and what must be said before the session (session/upstream/opening.py). What
fails before the first octet of a greeting is logged, and the next server is tried: the client has not seen a byte yet.
So is what greets with a refusal while there are others; the last one's words are the client's.  When the greeting
begins to arrive the leg is handed to the link, which gave the two callbacks; from then on nothing is tried again.

A server that can't be connected to, hangs up, is silent or has no TLS is down for all clients until somebody reaches
it.  One that refuses in words is not: they may be meant for this client alone.  So may whatever happens where the
client has a part in it: the server was shown its address, the connection should come from there, or what it said to
another connection is said again.

The whole of it, for each server, takes at most `connect_timeout`; so does a wait for a place at one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from ...config.endpoint import CLIENT
from ...errors import UpstreamUnavailable
from ..sockets.leg import Leg
from ..sockets.tls_leg import TlsLeg
from .upstream import Exhausted, dial, places_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from ...session.upstream.opening import Opening
    from ...wire.proxyheader import Endpoint
    from ..sockets.poller import Poller
    from ..timers import Deadlines, Queue
    from .announcement import Announcement
    from .upstream import Address, Places, Upstream


_WELCOMES: Final = (b"2", b"+")  # how a greeting begins that is no refusal: 220, +OK
_SHOWN: Final = 200  # octets of a refusal in the log


class Connector:
    """One client's search for its upstream; the leg's owner until it is found."""

    __slots__ = (
        "_address", "_addresses", "_again", "_announcement", "_begun", "_deadlines", "_failed", "_found", "_leg",
        "_opening", "_places", "_poller", "_said", "_server", "_stopped", "_untried", "_upstream", "deadlines", "took",
    )  # fmt: skip

    def __init__(
        self,
        upstream: Upstream,
        poller: Poller,
        deadlines: Deadlines,
        *,
        found: Callable[[Leg, bytes], None],
        failed: Callable[[], None],
        said: Callable[[str, str], None],
        announcement: Announcement | None = None,
        again: tuple[bytes, bytes] | None = None,
        ends: tuple[Endpoint, Endpoint] | None = None,
    ) -> None:
        """Calls `found(leg, its first octets)` or `failed()` once; `said(server, why)` for each that does not serve.

        `announcement`: of the client, None for an unannounced connection; `again`: see `Upstream.opening`; `ends`: the
        client and where it wanted to go, for an upstream that is just that.
        """
        self.deadlines: Queue | None = None
        self._upstream, self._poller, self._deadlines = upstream, poller, deadlines
        self._found, self._failed, self._said = found, failed, said
        self._announcement, self._again = announcement, again
        self._places: Places
        self._untried: list[int] = []
        """Servers, the best first."""
        self._server: int | None = None  # where we have a place
        self._addresses: list[Address] = []  # of this server, to be tried yet
        self._address: Address | None = None  # that is being tried
        self._begun = 0.0
        self.took = 0.0
        """Seconds from the first attempt at the server that was found until its greeting."""
        self._leg: Leg | None = None
        self._opening: Opening | None = None
        self._stopped = False
        if upstream.known is not None:
            self._search(upstream.known)
        elif upstream.is_original:
            assert ends is not None
            self._go_on(*ends)
        else:
            deadlines.arm(self, upstream.connect_timeout)  # the look-up may hang
            upstream.addresses(self._looked_up)

    @property
    def name(self) -> str:
        """The server that is being tried, as configured."""
        return self._address.shown if self._address is not None else ""

    def limit(self) -> float | None:
        """Each attempt has its own time."""
        return None if self._stopped else self._upstream.connect_timeout

    def stop(self) -> None:
        """The client has gone."""
        self._stopped = True
        self._deadlines.disarm(self)
        if self._leg is not None:
            self._leg.close()
        self._leave()

    def place_free(self) -> bool:
        """Go on from the line; False if there is no place for this client."""
        self._server = self._upstream.pool.take(self._untried, first_in_line=True)
        if self._server is None:
            return False
        self._enter(self._server)
        return True

    def _go_on(self, client: Endpoint, wanted: Endpoint) -> None:
        """To where the client wanted to go."""
        try:
            addresses = self._upstream.original(client, wanted)
        except UpstreamUnavailable as error:
            self._said(str(self._upstream), str(error))
            addresses = []
        self._looked_up(addresses)

    def _looked_up(self, addresses: list[Address]) -> None:
        if not self._stopped:
            self._search(places_of(addresses))

    def _search(self, places: Places) -> None:
        self._places = places
        order = self._upstream.pool.order()
        self._untried = order if len(order) == len(places) else [server for server in order if server in places]
        if not places and not self._upstream.is_original:  # of that one it was said
            for server in self._upstream.servers:
                self._said(str(server), f"{server.host} has no address, or only popgate's own")
        self._choose()

    def _next(self) -> None:
        self._leave()
        self._choose()

    def _choose(self) -> None:
        """Try the best server, wait for a place, or give up."""
        if not self._untried:
            self._give_up()
            return
        pool = self._upstream.pool
        server = self._server = pool.take(self._untried)
        if server is not None:
            self._enter(server)
        elif pool.line.join(self, pool.clock()):
            self._deadlines.arm(self, self._upstream.connect_timeout)
        else:
            self._said(str(self._upstream), "max_connections: too many wait for a place")
            self._give_up()

    def _enter(self, server: int) -> None:
        self._addresses = self._places[server].copy()
        self._begun = self._upstream.pool.clock()
        self._poller.connect(self._try)

    def _try(self) -> None:
        """Try the next address of this server, or the next server."""
        if self._stopped:
            return  # in the turn at whose end we are
        upstream = self._upstream
        while self._addresses:
            address = self._address = self._addresses.pop(0)
            try:
                if upstream.is_plain:
                    self._leg = Leg(self._poller, dial(address), self)
                else:
                    self._leg = self._showing(address)
            except UpstreamUnavailable as error:
                self._failure(str(error), blame=not isinstance(error, Exhausted))
                continue
            self._deadlines.begun.append(self)
            if not upstream.is_plain or self._again is not None:
                self._opening = upstream.opening(self._announcement, self._again)
                if upstream.implicit:
                    self._start_tls(self._leg)
            return
        self._next()

    def _give_up(self) -> None:
        self._stopped = True
        self._deadlines.disarm(self)
        self._failed()

    def _showing(self, address: Address) -> Leg:
        """A connection that shows the client, or whoever is to be shown."""
        showing, announcement = self._upstream.showing, self._announcement
        sock = dial(address, showing.source_of(announcement), foreign=showing.source == CLIENT)
        return TlsLeg(self._poller, sock, self, showing.header(announcement, sock, address.target))

    def _gone(self, leg: Leg, why: str, *, blame: bool = True) -> None:
        """This server does not serve; put off or not, it is said of the one that is being tried."""
        if self._stopped or leg is not self._leg:
            return
        leg.close()
        self._leg = self._opening = None
        self._failure(why, blame=blame)
        self._try()

    def _failure(self, why: str, *, blame: bool = True) -> None:
        """Say it, and blame the server if it was its last address."""
        self._said(self.name, why)
        upstream = self._upstream
        if self._addresses or not blame or upstream.is_original:
            return
        # It may be the client's doing: its address, which we come from, or what it said.
        if self._again is None and (self._announcement is None or upstream.showing.source != CLIENT):
            assert self._server is not None
            upstream.pool.failed(self._server, self._begun, why)

    def _leave(self) -> None:
        """Give up the place at the server that was tried last, or in the line."""
        if self._server is not None:
            self._upstream.pool.leave(self._server)
            self._server = None
        self._upstream.pool.line.leave(self)

    def _hand_over(self, leg: Leg, data: bytes) -> None:
        self._stopped = True
        if self.deadlines is not None:
            self._deadlines.disarm(self)
        pool, server = self._upstream.pool, self._server
        assert server is not None
        now = pool.clock()
        if data.startswith(_WELCOMES):
            pool.succeeded(server, now)
        self.took = now - self._begun
        leg.at_close = partial(pool.leave, server)
        self._leg = self._server = None
        self._found(leg, data)

    def _start_tls(self, leg: Leg) -> None:
        tls = self._upstream.tls
        assert tls is not None
        assert isinstance(leg, TlsLeg)
        try:
            assert self._address is not None
            name = tls.server_hostname(self._address.host)
        except UpstreamUnavailable as error:
            why = str(error)
            self._poller.soon(lambda: self._gone(leg, why))
            return
        leg.start_tls(lambda incoming, outgoing: tls.context.wrap_bio(incoming, outgoing, server_hostname=name))

    # What the leg says

    def received(self, leg: Leg, data: bytes) -> None:
        opening = self._opening
        if opening is None:
            if data.startswith(_WELCOMES) or not (self._untried or self._addresses):
                self._hand_over(leg, data)
            else:
                self._gone(leg, f"greeting: {data[:_SHOWN].decode('ascii', 'backslashreplace').strip()}", blame=False)
            return
        try:
            opening.upstream_bytes(data)
        except UpstreamUnavailable as error:
            self._gone(leg, str(error), blame=False)
            return
        self._speak_on(leg, opening)

    def _speak_on(self, leg: Leg, opening: Opening) -> None:
        out, opening.to_upstream = opening.to_upstream, []
        leg.send(b"".join(out))
        if opening.done:
            self._hand_over(leg, opening.greeting)
        elif opening.ready:
            self._start_tls(leg)

    def ended(self, leg: Leg) -> None:
        self._gone(leg, "it closed the connection before its greeting", blame=self._announcement is None)

    def lost(self, leg: Leg, why: str) -> None:
        self._gone(leg, why, blame=self._announcement is None)

    def write_blocked(self, leg: Leg) -> None:
        """What we say ourselves is a line or two."""

    def write_unblocked(self, leg: Leg) -> None:
        """What we say ourselves is a line or two."""

    def tls_established(self, leg: TlsLeg) -> None:
        tls, opening = self._upstream.tls, self._opening
        assert tls is not None
        assert leg.tls is not None
        try:
            tls.check(leg.tls)
        except UpstreamUnavailable as error:
            self._gone(leg, str(error))
            return
        if opening is not None and opening.ready:
            opening.tls_started()
            self._speak_on(leg, opening)

    def tls_failed(self, leg: TlsLeg, error: ssl.SSLError) -> None:
        tls = self._upstream.tls
        assert tls is not None
        assert leg.tls is not None
        self._gone(leg, str(tls.refused(error, leg.tls)))

    def expired(self) -> None:
        """The time for this server is over."""
        if self._leg is None:
            waited = "no place became free in time" if self._untried else "its name can't be looked up in time"
            self._said(str(self._upstream), waited)
            self._leave()
            self._give_up()
        else:
            self._gone(self._leg, "no greeting in time")
