"""Who is announced to the upstream (rule S12), and the search for a connection that fits; functions of a link.

A server that is shown the client's address judges that address, and refuses the very clients that have a lease.  So a
client of SMTP that may relay when it connects gets an unannounced connection, everyone else an announced one: the
server's own rule is a second lock then.  Whether it may is asked once, here; a store that is down means "announced".
If it may later, the session asks to be moved (session/smtp/session.py).

With `show_client = "always"` everyone is announced; by XCLIENT with the login of its lease, where it has one.  In mode
"shadow" everyone is, too: there the server decides, as if popgate were not there (G12).  To POP3 servers everyone is
announced: they relay nothing.

How an upstream is shown an address: net/upstream/announcement.py.  Where that is not configured nothing is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...gate.verdict import Outcome
from ..upstream.announcement import Announcement, endpoint
from ..upstream.transparent import original_destination

if TYPE_CHECKING:
    import socket

    from ...gate.verdict import Verdict
    from ...session.events import UnannouncedAsked
    from ...wire.proxyheader import Endpoint, ProxyHeader
    from ..service import Service
    from ..sockets.leg import Leg
    from .link import Link


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


def find_upstream(link: Link) -> None:
    """Find out whether the client is to be announced, and dial."""
    upstream, policy = link.service.upstream, link.service.policy
    announcing = upstream.announcing
    if not announcing.announces:
        _dial(link, None)
    elif upstream.protocol == "pop3":
        _dial(link, announcement(link))
    elif announcing.always and announcing.xclient:
        policy.look(link.address, lambda verdict: _looked(link, verdict))
    elif announcing.always or policy.gate.mode == "shadow":
        _dial(link, announcement(link))
    else:
        policy.look(link.address, lambda verdict: _looked(link, verdict))


def _looked(link: Link, verdict: Verdict) -> None:
    if link.final is not None:
        return
    may_relay = verdict.outcome is Outcome.ALLOW
    if link.service.upstream.announcing.always:
        _dial(link, announcement(link, verdict.login if may_relay else ""))
    elif may_relay:
        _dial(link, None)
    else:
        link.session.upstream_announced()
        _dial(link, announcement(link))


def _dial(link: Link, announcement: Announcement | None) -> None:
    link.announced = announcement is not None
    link.dial(link.found_upstream, link.no_upstream, announcement)


def announcement(link: Link, login: str = "") -> Announcement:
    """What is said of the client; `login`: whose lease it has, if that is to be told."""
    assert link.ends is not None
    client, destination = link.ends
    version, _, cipher = link.tls.partition(":")
    return Announcement(client, destination, (version, cipher) if link.tls else None, login)


def move(link: Link, event: UnannouncedAsked) -> None:
    """The session wants to go on with an unannounced connection."""

    def found(leg: Leg, offer: bytes) -> None:
        link.take_upstream(leg)
        link.announced = False
        link.check_verdict()
        link.call(link.session.answer, event, offer)

    def failed() -> None:
        link.call(link.session.answer, event, None)

    link.dial(found, failed, None, (event.hello, event.mail))
