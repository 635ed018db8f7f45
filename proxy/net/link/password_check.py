"""Tries a password at a POP3 upstream, for `auth = "pop3"` (rule G15), by a connection made and closed for it.

`PasswordCheck`, once begun, finds a server as a link does (net/upstream/connector.py: TLS, the next server where one
fails), then logs in (session/upstream/pop3_login.py).  It calls `then` once, with UNKNOWN where no server answers in
time.

Promises: the password goes to the server and is forgotten with this object; it is in no log line, error or event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import UpstreamUnavailable
from ...gate.verdict import Password
from ..sockets.leg import LegOwner
from ..upstream.connector import Connector

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...session.upstream.pop3_login import PopLogin
    from ..service import Shared
    from ..sockets.leg import Leg
    from ..timers import Queue
    from ..upstream.announcement import Announcement
    from ..upstream.upstream import Upstream


class PasswordCheck(LegOwner):
    """One try; `stop` calls it off."""

    __slots__ = ("_connector", "_deadlines", "_leg", "_login", "_server_failed", "_then", "_upstream", "queue")

    def __init__(
        self,
        shared: Shared,
        upstream: Upstream,
        login: PopLogin,
        then: Callable[[Password], None],
        server_failed: Callable[[str, str], None],
        announcement: Announcement | None = None,
    ) -> None:
        """`announcement`: of the client, where it is shown.  Nothing happens before `begin`."""
        self.queue: Queue | None = None
        """The queue of its deadline (net/timers.py)."""
        self._deadlines, self._upstream, self._login = shared.deadlines, upstream, login
        self._then: Callable[[Password], None] | None = then
        """Called with the result, once; None: it has been, or is not to be."""
        self._server_failed = server_failed
        """Called with the name of each server that does not serve, and why."""
        self._leg: Leg | None = None
        """The connection to the server, once it is found."""
        self._connector: Connector | None = Connector(
            upstream,
            shared.poller,
            shared.deadlines,
            found=self._found,
            failed=self._not_found,
            server_failed=server_failed,
            announcement=announcement,
        )
        """The search for it, until then."""

    def begin(self) -> None:
        """Connect.  It may be over at once: no server can be reached."""
        if self._connector is not None:
            self._connector.start()

    def stop(self) -> None:
        """Call it off: nobody wants the result any more."""
        self._then = None
        self._end(Password.UNKNOWN)

    def _found(self, leg: Leg, data: bytes) -> None:
        self._connector = None
        self._leg = leg
        leg.hand_to(self)
        self.received(leg, data)

    def _not_found(self) -> None:
        self._end(Password.UNKNOWN)

    def _end(self, result: Password) -> None:
        if self._connector is not None:
            self._connector.stop()
            self._connector = None
        if self._leg is not None:
            self._leg.close()
            self._leg = None
        self._deadlines.disarm(self)
        then, self._then = self._then, None
        if then is not None:
            then(result)

    def _failed(self, why: str) -> None:
        self._server_failed(str(self._upstream), f"password check: {why}")
        self._end(Password.UNKNOWN)

    # What the leg reports

    def received(self, leg: Leg, data: bytes) -> None:
        login = self._login
        try:
            login.upstream_bytes(data)
        except UpstreamUnavailable as error:
            self._failed(str(error))
            return
        if login.result is not None:
            self._end(login.result)
            return
        leg.send(login.take_to_upstream())
        self._deadlines.arm(self, self._upstream.connect_timeout)  # for each reply

    def ended(self, leg: Leg) -> None:
        self._failed("the server closed the connection")

    def lost(self, leg: Leg, why: str) -> None:
        self._failed(why)

    def expired(self) -> None:
        self._failed("no answer in time")
