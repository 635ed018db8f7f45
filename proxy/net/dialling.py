"""From a client without an upstream to a connection that is fit for its session.

`Dialling` tries the servers of an upstream in their order, with what shows them the client (net/showing.py), TLS, and
what must be said before the session (session/opening.py). What fails before the first octet of a greeting is logged,
and the next server is tried: the client has not seen a byte yet. When the greeting begins to arrive the leg is handed
to the link, which gave the two callbacks; from then on nothing is tried again.

The whole of it, for each server, takes at most `connect_timeout`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config.schema import CLIENT
from ..errors import UpstreamUnavailable
from .leg import Leg
from .upstream import dial

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from ..session.opening import Opening
    from ..wire.proxyheader import Endpoint
    from .poller import Poller
    from .showing import Announcement
    from .timers import Deadlines, Queue
    from .upstream import Address, Upstream


class Dialling:
    """One client's search for its upstream; the leg's owner until it is found."""

    __slots__ = (
        "_addresses", "_again", "_announcement", "_deadlines", "_failed", "_found", "_leg", "_opening", "_poller",
        "_said", "_stopped", "_upstream", "deadlines", "host", "name",
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
        self.name = ""
        """The server that is being tried, as configured."""
        self.host = ""
        self._upstream, self._poller, self._deadlines = upstream, poller, deadlines
        self._found, self._failed, self._said = found, failed, said
        self._announcement, self._again = announcement, again
        self._addresses: list[Address] = []
        self._leg: Leg | None = None
        self._opening: Opening | None = None
        self._stopped = False
        deadlines.arm(self, upstream.connect_timeout)  # the look-up of a name may hang
        if upstream.is_original:
            assert ends is not None
            self._go_on(*ends)
        else:
            upstream.addresses(self._looked_up)

    def stop(self) -> None:
        """The client has gone."""
        self._stopped = True
        self._deadlines.disarm(self)
        if self._leg is not None:
            self._leg.close()

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
            self._addresses = addresses[:]
            self._next()

    def _next(self) -> None:
        """Try the next server, or give up."""
        upstream = self._upstream
        while self._addresses:
            address = self._addresses.pop(0)
            self.name, self.host = address.shown, address.host
            try:
                leg = self._leg = self._dial(address)
            except UpstreamUnavailable as error:
                self._said(self.name, str(error))
                continue
            self._deadlines.arm(self, upstream.connect_timeout)
            self._opening = upstream.opening(self._announcement, self._again)
            if upstream.implicit:
                self._start_tls(leg)
            return
        self._stopped = True
        self._deadlines.disarm(self)
        self._failed()

    def _dial(self, address: Address) -> Leg:
        showing, announcement = self._upstream.showing, self._announcement
        sock = dial(address, showing.source_of(announcement), foreign=showing.source == CLIENT)
        return Leg(self._poller, sock, self, showing.header(announcement, sock, address.target))

    def _gone(self, leg: Leg, why: str) -> None:
        """This server does not serve; put off or not, it is said of the one that is being tried."""
        if self._stopped or leg is not self._leg:
            return
        leg.close()
        self._leg = self._opening = None
        self._said(self.name, why)
        self._next()

    def _hand_over(self, leg: Leg, data: bytes) -> None:
        self._stopped = True
        self._deadlines.disarm(self)
        self._leg = None
        self._found(leg, data)

    def _start_tls(self, leg: Leg) -> None:
        tls = self._upstream.tls
        assert tls is not None
        try:
            name = tls.server_hostname(self.host)
        except UpstreamUnavailable as error:
            why = str(error)
            self._poller.soon(lambda: self._gone(leg, why))
            return
        leg.start_tls(lambda incoming, outgoing: tls.context.wrap_bio(incoming, outgoing, server_hostname=name))

    # What the leg says

    def received(self, leg: Leg, data: bytes) -> None:
        opening = self._opening
        if opening is None:
            self._hand_over(leg, data)
            return
        try:
            opening.upstream_bytes(data)
        except UpstreamUnavailable as error:
            self._gone(leg, str(error))
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
        self._gone(leg, "it closed the connection before its greeting")

    def lost(self, leg: Leg, why: str) -> None:
        self._gone(leg, why)

    def clogged(self, leg: Leg) -> None:
        """What we say ourselves is a line or two."""

    def drained(self, leg: Leg) -> None:
        """What we say ourselves is a line or two."""

    def secured(self, leg: Leg) -> None:
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

    def insecure(self, leg: Leg, error: ssl.SSLError) -> None:
        tls = self._upstream.tls
        assert tls is not None
        assert leg.tls is not None
        self._gone(leg, str(tls.refused(error, leg.tls)))

    def expired(self) -> None:
        """The time for this server is over."""
        if self._leg is None:
            self._said(str(self._upstream), "its name can't be looked up in time")
            self._addresses = []
            self._next()
        else:
            self._gone(self._leg, "no greeting in time")
