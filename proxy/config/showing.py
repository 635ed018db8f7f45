"""Combinations that can't be meant, as in check.py, among the keys that show the client's address upstream (rule S12).

And what an administrator should know before choosing them: `warnings`.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, NamedTuple

from .endpoint import CLIENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .endpoint import Endpoint
    from .schema import Config, Listener, Upstream


class Problem(NamedTuple):
    """A problem of several keys."""

    names: tuple[str, ...]
    """Of the upstream; the first is where it is told."""
    text: str
    """What is wrong, and what to do."""
    others: tuple[str, ...] = ()
    """Whole keys elsewhere."""


def ways(upstream: Upstream) -> list[str]:
    """The names of the keys by which the client's address is shown."""
    used = {
        "send_proxy": upstream.send_proxy != "off",
        "xclient": upstream.xclient,
        "source": upstream.source == CLIENT,
    }
    return [name for name, is_used in used.items() if is_used]


def impossible(upstream: Upstream, users: Sequence[Listener]) -> Iterator[Problem]:
    """What can't be meant of an upstream; `users`: the listeners in front of it."""
    shown_by = ways(upstream)
    if len(shown_by) > 1:
        yield Problem(tuple(shown_by), f"shows the client's address, and so does {shown_by[1]}; keep one of them")
    if upstream.xclient and any(one.protocol == "pop3" for one in users):
        cure = 'take it out; send_proxy and source = "client" are for POP3 too'
        yield Problem(("xclient",), f"XCLIENT is a command of SMTP; {cure}", _keys(users, "protocol"))
    if upstream.show_client == "always" and not shown_by:
        cure = 'set send_proxy, xclient or source = "client", or take it out'
        yield Problem(("show_client", "send_proxy", "xclient", "source"), f"the address is not shown at all; {cure}")
    yield from _source(upstream, users)
    yield from _original(upstream, users)


def _source(upstream: Upstream, users: Sequence[Listener]) -> Iterator[Problem]:
    if not upstream.source:
        return
    literals = [found for server in upstream.servers if (found := _address(server)) is not None]
    if any(server.path for server in upstream.servers):
        yield Problem(("source", "servers"), "a unix socket has no source address; take one of them out")
    if upstream.source != CLIENT:
        version = ip_address(upstream.source).version
        other = next((found for found in literals if found.version != version), None)
        if other is not None:
            text = f"{upstream.source} can't reach {other}: one is IPv4, the other IPv6; give it an upstream of its own"
            yield Problem(("source", "servers"), text)
        return
    for user in users:
        if user.accept_proxy_from:
            text = (
                "in a pool the server's answers would have to find the node that the client is on; set send_proxy or "
                f"xclient instead, or take accept_proxy_from out of listener.{user.name}"
            )
            yield Problem(("source",), text, (f"listener.{user.name}.accept_proxy_from",))
    reached = {found.version for found in literals} if len(literals) == len(upstream.servers) else {4, 6}
    for user in users if literals else ():
        for end in user.bind:
            if ip_address(end.host).version not in reached:
                text = (
                    f"clients of listener.{user.name} at {end} can't be the source of a connection to its servers: "
                    "IPv4 and IPv6; give that listener an upstream of its own"
                )
                yield Problem(("source", "servers"), text, (f"listener.{user.name}.bind",))


def _original(upstream: Upstream, users: Sequence[Listener]) -> Iterator[Problem]:
    """No servers: the one that the client wanted to reach, which only a transparent listener knows."""
    if upstream.servers:
        return
    others = [one.name for one in users if not one.transparent]
    if others or not users:
        where = f" (listener.{others[0]} is not transparent)" if others else ""
        text = f"must not be empty but for listeners with transparent = true{where}; name at least one"
        yield Problem(("servers",), text, _keys(users, "transparent"))


def _address(server: Endpoint) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(server.host)
    except ValueError:
        return None


def _keys(users: Sequence[Listener], name: str) -> tuple[str, ...]:
    return tuple([f"listener.{one.name}.{name}" for one in users])


def warnings(config: Config) -> Iterator[str]:
    """What is possible, but seldom meant."""
    for upstream in config.upstreams.values():
        where = f"upstream.{upstream.name}"
        shown_by = ways(upstream)
        smtp = any(one.protocol == "smtp" and one.upstream == upstream.name for one in config.listeners.values())
        if smtp and shown_by and upstream.show_client == "always":
            login = "unless it takes their login by XCLIENT" if upstream.xclient else "unless it knows their addresses"
            yield f'{where}.show_client = "always": the server refuses to relay for clients that have a lease, {login}'
