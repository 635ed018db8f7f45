"""The upstream's side of a link: its connection, the search for one that fits, and who is announced (rule S12).

A server that is shown the client's address judges that address, and refuses the very clients that have a lease.  So a
client of SMTP that may relay when it connects gets an unannounced connection, everyone else an announced one: the
server's own rule is a second lock then.  Whether it may is asked once, here; a store that is down means "announced".
If it may later, the session asks for another connection (`UnannouncedAsked`).

With `show_client = "always"` everyone is announced; by XCLIENT with the login of its lease, where it has one.  In mode
"shadow" everyone is, too: there the server decides, as if popgate were not there (G12).  To POP3 servers everyone is
announced: they relay nothing.  Where showing is not configured nothing is asked.

There is one way to a connection, `find`, for the first one of a session and for one that replaces it: with an
announcement or without, and with the lines that bring it to where the session is.

Not here: how an upstream is shown an address (net/upstream/announcement.py), the servers and their order
(net/upstream/connector.py), what its octets mean (the session).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ...gate.verdict import Outcome
from ...session.upstream.handshake import QUIT
from ..upstream.announcement import Announcement, endpoint
from ..upstream.connector import Connector
from ..upstream.transparent import original_destination

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ...gate.policy import RelayPolicy
    from ...gate.verdict import Verdict
    from ...wire.proxyheader import Endpoint, ProxyHeader
    from ..service import Service, Shared
    from ..sockets.leg import Leg
    from ..upstream.upstream import Replay, Upstream
    from .journal import Journal


class UpstreamEvents(Protocol):
    """The link, as far as its upstream is concerned.  Each search ends by one of these calls, or by `stop`."""

    def upstream_found(self, leg: Leg, data: bytes) -> None:
        """The first connection is there, and these are its first octets for the session."""

    def upstream_unavailable(self) -> None:
        """There is no first connection."""

    def upstream_replaced(self, leg: Leg | None, offer: bytes | None) -> None:
        """This connection has taken the place of the other, with its reply to EHLO; None: there is none."""


class UpstreamSide:
    """Of one link."""

    __slots__ = (
        "_connector", "_events", "_journal", "_shared", "_upstream", "announced", "ends", "is_provisional", "leg",
        "name",
    )  # fmt: skip

    def __init__(
        self, shared: Shared, upstream: Upstream, ends: tuple[Endpoint, Endpoint] | None, journal: Journal
    ) -> None:
        self._shared, self._upstream, self._journal = shared, upstream, journal
        self.ends = ends
        """The client's address and port, and where it wanted to go; None where that does not matter."""
        self.leg: Leg | None = None
        """The connection, while there is one."""
        self.name = ""
        """The server of this connection, or the last one that did not serve."""
        self.announced = False
        """Whether the upstream was shown the client's address."""
        self.is_provisional = False
        """Whether an unannounced connection is to take its place once the client may relay."""
        self._events: UpstreamEvents | None = None
        """Whom the present search tells its result; None: there is no search."""
        self._connector: Connector | None = None
        """What searches, once it has begun."""

    # The first connection

    def begin(self, events: UpstreamEvents, policy: RelayPolicy, address: bytes, tls: str) -> None:
        """Find out whether the client is to be announced (S12), and connect.  `tls`: its version and cipher."""
        self._events = events
        announcing = self._upstream.announcing
        if not announcing.announces:
            self._connect(None)
        elif self._upstream.protocol == "pop3":
            self._connect(self.announcement(tls))
        elif announcing.always and announcing.xclient:
            policy.judge_at_connect(address, lambda verdict: self._judged(verdict, tls))
        elif announcing.always or policy.gate.mode == "shadow":  # G12: in shadow mode the server decides
            self._connect(self.announcement(tls))
        else:
            policy.judge_at_connect(address, lambda verdict: self._judged(verdict, tls))

    def _judged(self, verdict: Verdict, tls: str) -> None:
        if self._events is None:  # stopped in the meantime
            return
        may_relay = verdict.outcome is Outcome.ALLOW
        if self._upstream.announcing.always:
            self._connect(self.announcement(tls, verdict.login if may_relay else ""))
        elif may_relay:
            self._connect(None)
        else:
            self.is_provisional = True
            self._connect(self.announcement(tls))

    def _connect(self, announcement: Announcement | None) -> None:
        self.announced = announcement is not None
        self.find(self._found, self._not_found, announcement)

    def _found(self, leg: Leg, data: bytes) -> None:
        self._take(leg).upstream_found(leg, data)

    def _not_found(self) -> None:
        self._search_over().upstream_unavailable()

    # Another connection

    def replace(self, events: UpstreamEvents, replay: Replay) -> None:
        """Find an unannounced connection, and bring it to where the session is."""
        self._events = events
        self.find(self._replaced, self._not_replaced, None, replay)

    def _replaced(self, leg: Leg, offer: bytes) -> None:
        if self.leg is not None:
            self.leg.send(QUIT)
            self._close(self.leg)
        self.announced = self.is_provisional = False
        self._take(leg).upstream_replaced(leg, offer)

    def _not_replaced(self) -> None:
        self._search_over().upstream_replaced(None, None)

    # Any connection

    def find(
        self,
        found: Callable[[Leg, bytes], None],
        failed: Callable[[], None],
        announcement: Announcement | None,
        replay: Replay | None = None,
    ) -> None:
        """Search for a connection to the upstream; `failed` may be called at once."""
        self._connector = connector = Connector(
            self._upstream,
            self._shared.poller,
            self._shared.deadlines,
            found=found,
            failed=failed,
            server_failed=self.server_failed,
            announcement=announcement,
            replay=replay,
            ends=self.ends,
        )
        connector.start()

    def announcement(self, tls: str, login: str = "") -> Announcement:
        """What is said of the client; `login`: whose lease it has, if that is to be told."""
        assert self.ends is not None
        client, destination = self.ends
        version, _, cipher = tls.partition(":")
        return Announcement(client, destination, (version, cipher) if tls else None, login)

    def server_failed(self, server: str, why: str) -> None:
        """A server of an upstream does not serve."""
        self.name = server
        self._journal.server_failed(server, why)

    # Its end

    def abort(self) -> None:
        """Close the connection at once, without another octet."""
        if self.leg is not None:
            self.leg.close()
            self.leg = None

    def stop(self) -> None:
        """Close the connection in order, or end the search for it."""
        self._events = None
        if self._connector is not None:
            self._connector.stop()
            self._connector = None
        if self.leg is not None:
            self._close(self.leg)
            self.leg = None

    def _close(self, leg: Leg) -> None:
        leg.send_close_notify()
        leg.close()

    def _take(self, leg: Leg) -> UpstreamEvents:
        """From now on this is the connection."""
        assert self._connector is not None
        self.name = self._connector.name
        self._journal.connected(self._connector.took)
        self.leg = leg
        return self._search_over()

    def _search_over(self) -> UpstreamEvents:
        events, self._events, self._connector = self._events, None, None
        assert events is not None
        return events


def ends(
    service: Service, sock: socket.socket, address: bytes, header: ProxyHeader | None
) -> tuple[Endpoint, Endpoint] | None:
    """The client, whose `address` is known, and where it wanted to go; None where neither matters.

    `header`: a load balancer's, which knows both ends of the client's own connection.
    """
    upstream, other = service.upstream, service.password_upstream
    if not (upstream.wants_ends or (other is not None and other.wants_ends)):
        return None
    if header is not None and header.source is not None and header.destination is not None:
        return header.source, header.destination
    try:
        port = sock.getpeername()[1]
    except OSError:  # it has gone already
        port = 0
    return (address, port), endpoint(original_destination(sock) if service.transparent else sock.getsockname())
