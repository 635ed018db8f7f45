"""The end of a link: the last words go out, both legs close, one line in the log (rule N11).  Functions of a link.

Promises: the client's last words reach it.  Where it may have sent what we never read, a close would be a reset and
destroy them (RFC 1122 4.2.2.13), so the client's end is waited for, `LINGER` seconds; where it has taken its leave,
they share a packet with the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...session.contract import Wait
from ...session.events import Finished
from ..sockets.leg import CORK, LINGER, OWN_FULL
from . import tallies

if TYPE_CHECKING:
    from .journal import Word
    from .link import Link

_QUIT: Final = len(b"QUIT\r\n")


def finish(link: Link) -> None:
    """Let the last words go out, then close; may come several times."""
    assert link.final is not None
    if link.call_off is not None:
        link.call_off()
        link.call_off = None
    if link.connector is not None:
        link.connector.stop()
        link.connector = None
    if link.upstream is not None:
        link.upstream.send_close_notify()
        link.upstream.close()
        link.upstream = None
    client = link.client
    if client.closed:
        return
    # Whose end was read, or who took its leave, has nothing on its way that a close would answer by a reset.
    with_fin = link.final.clean or link.left
    if with_fin:
        client.send_close_notify()
    client.flush(CORK if with_fin else 0)
    if client.rest:
        # It reads slowly, so it may have sent what we never read: a close would then be a reset, and lose the rest.
        link.final = Finished(link.final.why)
        client.hold(OWN_FULL)  # who never reads is not listened to for all that time
        link.shared.deadlines.arm(link, link.service.waits[Wait.COMMAND])
    elif with_fin:
        close(link, with_fin=True)
    elif not link.lingering:
        link.lingering = True
        client.finish_sending()
        client.hold(0)
        link.shared.deadlines.arm(link, LINGER)


def close(link: Link, *, with_fin: bool = False) -> None:
    """Both legs are closed now, and the session is in the log; once.  `with_fin`: see net/sockets/leg.py."""
    if link.client.closed:
        return
    link.client.close(with_fin=with_fin)
    shared = link.shared
    shared.deadlines.disarm(link)
    if link.open_login is not None:
        shared.counters.logins.remove(shared.worker, link.open_login)
    _log(link)
    shared.closed(link)


def _log(link: Link) -> None:
    assert link.final is not None
    # A health check: connect, perhaps a look or a QUIT, and away.
    said = link.client.received
    silent = (link.left and not said) or (link.final.clean and said <= _QUIT)
    seconds = lasted(link)
    tallies.ended(link, said, link.client.sent, seconds)
    link.say("debug" if silent else "info", "end", *facts(link, seconds), ("why", link.final.why))


def lasted(link: Link) -> float:
    """Seconds since the client came."""
    return link.shared.clock() - link.began


def facts(link: Link, seconds: float) -> list[Word]:
    """What the link is and did, as words for its line; `seconds`: since it began."""
    service = link.service
    words: list[Word] = [("listener", service.name), ("tls", link.tls or "off"), ("upstream", link.upstream_name)]
    if service.upstream.announcing.announces:
        words.append(("announced", "yes" if link.announced else "no"))
    words += link.session.facts()
    words += ("in", link.client.received), ("out", link.client.sent), ("seconds", round(seconds, 3))
    return words
