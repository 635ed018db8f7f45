"""Tries a password at a POP3 upstream, for `auth = "pop3"` (rule G15), by a connection made and closed for it.

`PasswordCheck`, once begun, finds a server as a link does (net/upstream/connector.py: TLS, the next server where one
fails), then logs in (session/upstream/pop3_login.py).  It calls `then` once, with UNKNOWN where no server answers in
time.  The password goes to the server and is forgotten with this object; it is in no log line, error or event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import UpstreamUnavailable
from ...gate.verdict import Password
from ..upstream.connector import Connector

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from ...session.upstream.pop3_login import PopLogin
    from ..service import Shared
    from ..sockets.leg import Leg
    from ..timers import Queue
    from ..upstream.announcement import Announcement
    from ..upstream.upstream import Upstream


class PasswordCheck:
    """One try; `stop` calls it off."""

    __slots__ = ("_announcement", "_dialling", "_leg", "_login", "_said", "_shared", "_then", "_upstream", "deadlines")

    def __init__(
        self,
        shared: Shared,
        upstream: Upstream,
        login: PopLogin,
        then: Callable[[Password], None],
        said: Callable[[str, str], None],
        announcement: Announcement | None = None,
    ) -> None:
        """`said(server, why)` for each server that does not serve; `announcement`: of the client, where it is shown."""
        self.deadlines: Queue | None = None
        self._shared, self._upstream, self._login = shared, upstream, login
        self._then: Callable[[Password], None] | None = then
        self._said = said
        self._announcement = announcement
        self._leg: Leg | None = None
        self._dialling: Connector | None = None

    def begin(self) -> None:
        """It may be over at once: nobody can be reached."""
        connector = Connector(
            self._upstream,
            self._shared.poller,
            self._shared.deadlines,
            found=self._found,
            failed=lambda: self._end(Password.UNKNOWN),
            said=self._said,
            announcement=self._announcement,
        )
        if self._then is not None:
            self._dialling = connector

    def stop(self) -> None:
        """Nobody wants to know any more."""
        self._then = None
        self._end(Password.UNKNOWN)

    def _found(self, leg: Leg, data: bytes) -> None:
        self._dialling = None
        self._leg = leg
        leg.hand_to(self)
        self.received(leg, data)

    def _end(self, result: Password) -> None:
        if self._dialling is not None:
            self._dialling.stop()
            self._dialling = None
        if self._leg is not None:
            self._leg.close()
            self._leg = None
        self._shared.deadlines.disarm(self)
        then, self._then = self._then, None
        if then is not None:
            then(result)

    def _failed(self, why: str) -> None:
        self._said(str(self._upstream), f"password check: {why}")
        self._end(Password.UNKNOWN)

    # What the leg says

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
        out, login.to_upstream = login.to_upstream, []
        leg.send(b"".join(out))
        self._shared.deadlines.arm(self, self._upstream.connect_timeout)  # for each reply

    def ended(self, leg: Leg) -> None:
        self._failed("the server closed the connection")

    def lost(self, leg: Leg, why: str) -> None:
        self._failed(why)

    def write_blocked(self, leg: Leg) -> None:
        """What we say ourselves is a line or two."""

    def write_unblocked(self, leg: Leg) -> None:
        """What we say ourselves is a line or two."""

    def tls_established(self, leg: Leg) -> None:
        """It was secured before it was found."""

    def tls_failed(self, leg: Leg, error: ssl.SSLError) -> None:
        """It was secured before it was found."""

    def expired(self) -> None:
        self._failed("no answer in time")
