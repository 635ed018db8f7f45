"""How the servers of an upstream are shown the client's address, if they are (rule S12).

There are three ways: a PROXY header, the first octets of every connection, before TLS; XCLIENT
(session/upstream/handshake.py); and the client's own address as the source of the connection.  A connection is
*announced*, with an `Announcement` of the client, or *unannounced*: then it is popgate's own, and a PROXY header, which
the server expects on every connection, names popgate's own address.  Not LOCAL or UNKNOWN: to some servers that is a
health check, and Postfix refuses UNKNOWN.

Not here: who is announced (net/link/upstream_side.py), and the connection (net/upstream/connector.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from ...config.endpoint import CLIENT
from ...wire.address import packed, shown
from ...wire.proxyheader import LOCAL_V1, LOCAL_V2, made_v1, made_v2, tls_tlv

if TYPE_CHECKING:
    import socket

    from ...config.schema import Upstream
    from ...wire.proxyheader import Endpoint

SocketName: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""What getsockname() gives for IPv4 and IPv6."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What is said of a client."""

    client: Endpoint
    """Its address and port."""
    destination: Endpoint
    """Where it connected to."""
    tls: tuple[str, str] | None = None
    """Version and cipher of its TLS, where that was there before the upstream was dialled."""
    login: str = ""
    """Whose lease it has, where that is told."""


@dataclass(frozen=True, slots=True)
class Announcing:
    """How one upstream is shown clients' addresses, as configured."""

    proxy: Literal["off", "v1", "v2"] = "off"
    """The version of the PROXY header."""
    xclient: bool = False
    """Whether XCLIENT is said."""
    source: str = ""
    """The address that connections come from: "" (the system's choice), CLIENT, or a fixed one, which shows nobody."""
    always: bool = False
    """Whether clients that may relay are announced, too (`show_client`)."""
    announces: bool = field(init=False)
    """Whether clients' addresses are shown in any way."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "announces", self.proxy != "off" or self.xclient or self.source == CLIENT)

    @classmethod
    def from_config(cls, upstream: Upstream) -> Announcing:
        """By the keys of [upstream.NAME]."""
        return cls(upstream.send_proxy, upstream.xclient, upstream.source, upstream.show_client == "always")

    def source_address(self, announcement: Announcement | None) -> str:
        """The address to connect from; "": the system's choice."""
        if self.source != CLIENT:
            return self.source
        return shown(announcement.client[0]) if announcement else ""

    def proxy_header(
        self, announcement: Announcement | None, sock: socket.socket, target: SocketName | str, *, probe: bool = False
    ) -> bytes:
        """The first octets of a connection to `target` that has just been begun: by then its own address is known.

        `probe`: it is for no client, but to see how the server is.
        """
        if self.proxy == "off":
            return b""
        if probe and self.proxy == "v2":
            return LOCAL_V2  # v1's UNKNOWN is refused by Postfix
        if announcement is None:
            if isinstance(target, str):  # a unix socket: there are no addresses
                return LOCAL_V1 if self.proxy == "v1" else LOCAL_V2
            announcement = Announcement(endpoint(sock.getsockname()), endpoint(target))
        if self.proxy == "v1":
            return made_v1(announcement.client, announcement.destination)
        tlvs = [tls_tlv(*announcement.tls)] if announcement.tls else []
        return made_v2(announcement.client, announcement.destination, tlvs)


def endpoint(name: SocketName) -> Endpoint:
    """A socket's name as address and port; a zone id is left out."""
    return packed(name[0].partition("%")[0]), name[1]
