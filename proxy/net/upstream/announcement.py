"""How the servers of an upstream are shown the client's address, where they are (rule S12).

Three ways: a PROXY header, the first octets of every connection, before TLS; XCLIENT, said by a speech
(session/upstream/handshake.py); the client's own address as the source of the connection.  A connection is *announced*,
with an `Announcement` of the client, or *unannounced*: then it is popgate's own, and a PROXY header, which the server
expects on every connection, names popgate's own address.  Not LOCAL or UNKNOWN: to some servers that is a health check,
and Postfix takes no UNKNOWN.

Who is announced is decided by net/link/upstream_side.py, the connection is made by net/upstream/connector.py.
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
    destination: Endpoint
    """Where it connected to."""
    tls: tuple[str, str] | None = None
    """Version and cipher of its TLS, where that was there before the upstream was dialled."""
    login: str = ""
    """Whose lease it has, where that is told."""


@dataclass(frozen=True, slots=True)
class Showing:
    """The keys of one upstream."""

    proxy: Literal["off", "v1", "v2"] = "off"
    xclient: bool = False
    source: str = ""
    """The address that connections come from: "", CLIENT, or a fixed one, which shows nobody."""
    always: bool = False
    """Whether clients that may relay are announced, too."""
    announces: bool = field(init=False)
    """Whether there is any way of showing."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "announces", self.proxy != "off" or self.xclient or self.source == CLIENT)

    @classmethod
    def of(cls, upstream: Upstream) -> Showing:
        """What the configuration says."""
        return cls(upstream.send_proxy, upstream.xclient, upstream.source, upstream.show_client == "always")

    def source_of(self, announcement: Announcement | None) -> str:
        """The address to connect from; "": the system's choice."""
        if self.source != CLIENT:
            return self.source
        return shown(announcement.client[0]) if announcement else ""

    def header(
        self, announcement: Announcement | None, sock: socket.socket, target: SocketName | str, *, probe: bool = False
    ) -> bytes:
        """The first octets of a connection that has just been begun to `target` (its own address is settled).

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
