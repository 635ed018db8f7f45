"""From a client without an upstream to a connection that is fit for its session.

`Connector`, once started, tries the servers of an upstream in the order that net/upstream/pool.py gives, with what
shows them the client (net/upstream/announcement.py), TLS, and what must be said before the session
(session/upstream/opening.py).  A server that fails before the first octet of its greeting is logged, and the next one
is tried: the client has not seen a byte yet.  So is one that greets with a refusal while there are others; the last
one's words are the client's.  When the greeting begins to arrive the leg is handed to the caller, which gave the
callbacks; from then on nothing is tried again.

A server that can't be connected to, hangs up, is silent or has no TLS is down for all clients until somebody reaches
it.  One that refuses in words is not: they may be meant for this client alone.  So may whatever happens where the
client has a part in it: the server was shown its address, the connection should come from there, or what it said on
another connection is replayed.

Each server has at most `connect_timeout` for the whole of it; so has the wait for a free connection at one.

Not here: who is announced (net/link/upstream_side.py), addresses and sockets (net/upstream/upstream.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...config.endpoint import CLIENT
from ...errors import UpstreamUnavailable
from ..sockets.leg import Leg, LegOwner
from ..sockets.tls_leg import TlsLeg
from .upstream import Exhausted, by_server, dial

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from ...session.upstream.opening import Opening
    from ...wire.proxyheader import Endpoint
    from ..sockets.poller import Poller
    from ..timers import Deadlines, Queue
    from .announcement import Announcement
    from .upstream import Address, AddressesByServer, Replay, Upstream


_POSITIVE: Final = (b"2", b"+")  # how a greeting begins that is no refusal: 220, +OK
_LOGGED: Final = 200  # octets of a refusal in the log


class Connector(LegOwner):
    """One client's search for its upstream; the leg's owner until it is found."""

    __slots__ = (
        "_address",
        "_addresses",
        "_announcement",
        "_begun",
        "_deadlines",
        "_ends",
        "_failed",
        "_found",
        "_left",
        "_leg",
        "_opening",
        "_poller",
        "_replay",
        "_server",
        "_server_failed",
        "_stopped",
        "_untried",
        "_upstream",
        "queue",
        "took",
    )  # fmt: skip

    def __init__(
        self,
        upstream: Upstream,
        poller: Poller,
        deadlines: Deadlines,
        *,
        found: Callable[[Leg, bytes], None],
        failed: Callable[[], None],
        server_failed: Callable[[str, str], None],
        announcement: Announcement | None = None,
        replay: Replay | None = None,
        ends: tuple[Endpoint, Endpoint] | None = None,
    ) -> None:
        """Nothing happens before `start`."""
        self.queue: Queue | None = None
        """The queue of its deadline (net/timers.py)."""
        self._upstream, self._poller, self._deadlines = upstream, poller, deadlines
        self._found = found
        """Called with the leg and the first octets for the session; either this or `failed`, once."""
        self._failed = failed
        """Called when no server serves."""
        self._server_failed = server_failed
        """Called with the name of each server that does not serve, and why."""
        self._announcement = announcement
        """What is said of the client; None: the connection is unannounced."""
        self._replay = replay
        """What brings the connection to where the session is (see `Upstream.opening`)."""
        self._ends = ends
        """The client and where it wanted to go, for an upstream that is just that."""
        self._addresses: AddressesByServer = {}
        """Of all servers, once they are known."""
        self._untried: list[int] = []
        """Servers that may be tried yet, the best first."""
        self._server: int | None = None
        """Where the pool counts a connection for us."""
        self._left: list[Address] = []
        """Addresses of this server that may be tried yet."""
        self._address: Address | None = None
        """The one that is being tried."""
        self._begun = 0.0
        """When the first attempt at this server began, on the pool's clock."""
        self.took = 0.0
        """Seconds from the first attempt at the server that was found until its greeting."""
        self._leg: Leg | None = None
        """The connection that is being made."""
        self._opening: Opening | None = None
        """The dialogue before the session, where there is one."""
        self._stopped = False
        """It has found, failed, or was told to stop."""

    @property
    def name(self) -> str:
        """The server that is being tried, as configured."""
        return self._address.shown if self._address is not None else ""

    def start(self) -> None:
        """Search; `failed` may be called at once."""
        upstream = self._upstream
        if upstream.fixed_addresses is not None:
            self._search(upstream.fixed_addresses)
        elif upstream.is_original:
            self._search_original()
        else:
            self._deadlines.arm(self, upstream.connect_timeout)  # the look-up may hang
            upstream.addresses(self._looked_up)

    def stop(self) -> None:
        """Give up: nobody wants the connection any more."""
        self._stopped = True
        self._deadlines.disarm(self)
        if self._leg is not None:
            self._leg.close()
        self._leave()

    def limit(self) -> float | None:
        """Each attempt has its own time (net/timers.py)."""
        return None if self._stopped else self._upstream.connect_timeout

    def try_again(self) -> bool:
        """Go on from the queue; False if all servers are still full."""
        return self._enter_first(from_queue=True)

    # Which server

    def _search_original(self) -> None:
        """Go to where the client wanted to go."""
        assert self._ends is not None
        try:
            addresses = self._upstream.original(*self._ends)
        except UpstreamUnavailable as error:
            self._server_failed(str(self._upstream), str(error))
            addresses = []
        self._search(by_server(addresses))

    def _looked_up(self, addresses: list[Address]) -> None:
        if not self._stopped:
            self._search(by_server(addresses))

    def _search(self, addresses: AddressesByServer) -> None:
        self._addresses = addresses
        order = self._upstream.pool.order()
        self._untried = order if len(order) == len(addresses) else [server for server in order if server in addresses]
        if not addresses and not self._upstream.is_original:  # for that one, it is in the log already
            for server in self._upstream.servers:
                self._server_failed(str(server), f"{server.host} has no address, or only popgate's own")
        self._choose()

    def _choose(self) -> None:
        """Try the best server, wait until one is free, or give up."""
        if not self._untried:
            self._give_up()
        elif not self._enter_first():
            pool = self._upstream.pool
            if pool.queue.join(self, pool.clock()):
                self._deadlines.arm(self, self._upstream.connect_timeout)
            else:
                self._server_failed(str(self._upstream), "max_connections: too many wait for a place")
                self._give_up()

    def _enter_first(self, *, from_queue: bool = False) -> bool:
        """Begin with the best server that is not full; False if there is none."""
        pool = self._upstream.pool
        server = self._server = pool.enter_first(self._untried, from_queue=from_queue)
        if server is None:
            return False
        self._untried.remove(server)
        self._left = self._addresses[server].copy()
        self._begun = pool.clock()
        self._poller.connect(self._try)
        return True

    def _leave(self) -> None:
        """Leave the server that was tried last, or the queue."""
        pool = self._upstream.pool
        if self._server is not None:
            pool.leave(self._server)
            self._server = None
        pool.queue.leave(self)

    def _give_up(self) -> None:
        self._stopped = True
        self._deadlines.disarm(self)
        self._failed()

    # One attempt

    def _try(self) -> None:
        """Try the next address of this server, or the next server."""
        if self._stopped:
            return  # since the turn began, at whose end this is called
        upstream = self._upstream
        while self._left:
            address = self._address = self._left.pop(0)
            try:
                self._leg = self._plain_leg(address) if upstream.is_plain else self._announcing_leg(address)
            except UpstreamUnavailable as error:
                self._record_failure(str(error), blame=not isinstance(error, Exhausted))
                continue
            self._deadlines.wait_began(self)
            if not upstream.is_plain or self._replay is not None:
                self._opening = upstream.opening(self._announcement, self._replay)
                if upstream.implicit:
                    self._start_tls(self._leg)
            return
        self._leave()
        self._choose()

    def _plain_leg(self, address: Address) -> Leg:
        return Leg(self._poller, dial(address), self)

    def _announcing_leg(self, address: Address) -> TlsLeg:
        """A connection that shows the client, or popgate itself where the server expects a header."""
        ways, announcement = self._upstream.announcing, self._announcement
        sock = dial(address, ways.source_address(announcement), foreign=ways.source == CLIENT)
        return TlsLeg(self._poller, sock, self, ways.proxy_header(announcement, sock, address.target))

    def _attempt_failed(self, leg: Leg, why: str, *, blame: bool = True) -> None:
        """This address does not serve: try the next one.  Nothing if another is being tried by now."""
        if self._stopped or leg is not self._leg:
            return
        leg.close()
        self._leg = self._opening = None
        self._record_failure(why, blame=blame)
        self._try()

    def _record_failure(self, why: str, *, blame: bool) -> None:
        """Report it, and take the server down if this was its last address."""
        self._server_failed(self.name, why)
        upstream = self._upstream
        if self._left or not blame or upstream.is_original:
            return
        # It may be the client's doing: its address, from which the connection comes, or what it said.
        if self._replay is None and (self._announcement is None or upstream.announcing.source != CLIENT):
            assert self._server is not None
            upstream.pool.failed(self._server, self._begun, why)

    def _hand_over(self, leg: Leg, data: bytes) -> None:
        self._stopped = True
        if self.queue is not None:
            self._deadlines.disarm(self)
        pool, server = self._upstream.pool, self._server
        assert server is not None
        now = pool.clock()
        if data.startswith(_POSITIVE):
            pool.succeeded(server, now)
        self.took = now - self._begun
        leg.call_at_close(pool.leaving[server])
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
            self._poller.soon(lambda: self._attempt_failed(leg, why))
            return
        leg.start_tls(lambda incoming, outgoing: tls.context.wrap_bio(incoming, outgoing, server_hostname=name))

    def _speak(self, leg: Leg, opening: Opening) -> None:
        """Send what the opening has to say, and see what it needs next."""
        leg.send(opening.take_to_upstream())
        if opening.done:
            self._hand_over(leg, opening.greeting)
        elif opening.ready:
            self._start_tls(leg)

    # What the leg reports

    def received(self, leg: Leg, data: bytes) -> None:
        opening = self._opening
        if opening is None:
            if data.startswith(_POSITIVE) or not (self._untried or self._left):
                self._hand_over(leg, data)
            else:
                greeting = data[:_LOGGED].decode("ascii", "backslashreplace").strip()
                self._attempt_failed(leg, f"greeting: {greeting}", blame=False)
            return
        try:
            opening.upstream_bytes(data)
        except UpstreamUnavailable as error:
            self._attempt_failed(leg, str(error), blame=False)
            return
        self._speak(leg, opening)

    def ended(self, leg: Leg) -> None:
        self._attempt_failed(leg, "it closed the connection before its greeting", blame=self._announcement is None)

    def lost(self, leg: Leg, why: str) -> None:
        self._attempt_failed(leg, why, blame=self._announcement is None)

    def tls_established(self, leg: Leg, tls: ssl.SSLObject) -> None:
        context, opening = self._upstream.tls, self._opening
        assert context is not None
        try:
            context.check(tls)
        except UpstreamUnavailable as error:
            self._attempt_failed(leg, str(error))
            return
        if opening is not None and opening.ready:
            opening.tls_started()
            self._speak(leg, opening)

    def tls_failed(self, leg: Leg, tls: ssl.SSLObject, error: ssl.SSLError) -> None:
        context = self._upstream.tls
        assert context is not None
        self._attempt_failed(leg, str(context.refused(error, tls)))

    def expired(self) -> None:
        """The time for this server is over."""
        if self._leg is None:
            waited = "no place became free in time" if self._untried else "its name can't be looked up in time"
            self._server_failed(str(self._upstream), waited)
            self._leave()
            self._give_up()
        else:
            self._attempt_failed(self._leg, "no greeting in time")
