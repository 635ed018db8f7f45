"""The servers behind popgate: their addresses, and how a connection to one begins.

`Upstream.addresses` gives the addresses of all servers, in the configured order; `dial` begins a connection
without waiting for it.  A server that is named is looked up when the first client wants it and then remembered for
`REMEMBER` seconds; a look-up never blocks the loop.  An address at which popgate itself listens is left out: a loop
would eat all descriptors (rule N10).

Not here: which server is next (net/upstream/pool.py); the dialogue before the session (session/upstream/opening.py) and
the attempts (net/upstream/connector.py); how the client's address is shown (net/upstream/announcement.py).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from ...errors import UpstreamUnavailable
from ...session.upstream import handshake
from ...session.upstream.opening import Opening, PopOpening, SmtpOpening
from ...shared_memory.server_health import ServerHealth, keys_of
from ...wire.address import shown
from ..local_addresses import is_local
from .announcement import Announcing
from .pool import Pools
from .transparent import make_transparent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ...wire.proxyheader import Endpoint
    from ..tls.contexts import UpstreamTls
    from .announcement import Announcement, SocketName
    from .pool import Pool

UNANNOUNCED: Final = Announcing()
"""The servers are never shown a client's address."""
_IP_BIND_ADDRESS_NO_PORT: Final = 24  # linux/in.h
REMEMBER: Final = 60.0
"""Seconds that a looked-up name is believed: mail servers move by hand, and the old address lives on for a while."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


class Exhausted(UpstreamUnavailable):
    """It is popgate that has run out of descriptors, ports or memory; the server is not to blame."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a connection goes."""

    family: int
    """AF_INET, AF_INET6 or AF_UNIX."""
    target: SocketName | str
    """What `connect` takes."""
    host: str
    """The name that TLS compares with the certificate."""
    shown: str
    """As in the configuration, for the log."""
    server: int = 0
    """The number of its server in the configuration."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server as configured: a host and port, or the path of a unix socket."""

    host: str
    """A name or an address."""
    port: int
    path: str = ""
    """Where it is a unix socket."""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


ORIGINAL: Final = Server("original", 0)
"""Stands for the server that the client of a transparent listener wanted."""


AddressesByServer: TypeAlias = dict[int, list[Address]]
"""The addresses of each server, by its number; a server without any is not in it."""
Replay: TypeAlias = tuple[bytes, bytes]
"""The lines of EHLO and MAIL that bring a fresh connection to where a session is (session/upstream/handshake.py)."""


def by_server(addresses: Iterable[Address]) -> AddressesByServer:
    """Addresses by their server, in order."""
    found: AddressesByServer = {}
    for address in addresses:
        found.setdefault(address.server, []).append(address)
    return found


class Upstream:
    """The servers of one [upstream.NAME]."""

    def __init__(
        self,
        name: str,
        protocol: str,
        servers: Sequence[Server],
        *,
        tls: UpstreamTls | None,
        implicit: bool,
        connect_timeout: float,
        is_ours: Callable[[str, int], bool],
        announcing: Announcing = UNANNOUNCED,
        pool: Pool | None = None,
        health_interval: float = 0.0,
    ) -> None:
        """Without a `pool` it is alone on the node."""
        self.name, self.protocol = name, protocol
        self.servers = servers
        """As configured."""
        self.tls = tls
        """None: connections stay in the clear."""
        self.implicit = implicit
        """TLS comes before the greeting."""
        self.connect_timeout = connect_timeout
        """Seconds until a greeting, for each server."""
        self.health_interval = health_interval
        """Seconds between probes; 0: none."""
        self.pool = pool or _alone(name, servers)
        """Which server is next."""
        self.announcing = announcing
        """How a client's address is shown."""
        self.is_original = ORIGINAL in servers
        """Each client goes where it wanted to go."""
        self.wants_ends = announcing.announces or self.is_original
        """It matters where the client is, and where it wanted to go."""
        self.is_plain = tls is None and announcing == UNANNOUNCED
        """A connection is fit for a session as it is: nothing is shown, and nothing said, before."""
        self._is_ours = is_ours
        """Whether popgate listens at this host address and port."""
        self._addresses: list[Address] | None = None
        """What the last look-up found."""
        self._until = 0.0
        """How long that is believed, on the loop's clock."""
        self.fixed_addresses: AddressesByServer | None = None
        """The addresses of all servers, where none is a name."""
        if not self.is_original and all(server.path or _is_literal(server.host) for server in servers):
            self.fixed_addresses = by_server(self._look_up())

    def __str__(self) -> str:
        return self.name

    @property
    def healthy(self) -> bool:
        """Whether a server is thought to be up, as far as the node knows, without asking it."""
        return self.pool.healthy

    def addresses(self, then: Callable[[list[Address]], None]) -> None:
        """Call `then` with the addresses to try: at once when they are known, else from the loop; none if all fails."""
        if self.fixed_addresses is not None:
            then([address for addresses in self.fixed_addresses.values() for address in addresses])
            return
        loop = asyncio.get_running_loop()
        if self._addresses is not None and loop.time() < self._until:
            then(self._addresses)
            return
        look_up = loop.run_in_executor(None, self._look_up)
        look_up.add_done_callback(lambda done: then(self._remembered(done.result(), loop.time())))

    def original(self, client: Endpoint, wanted: Endpoint) -> list[Address]:
        """The address of the server that a client wanted to reach; raise UpstreamUnavailable if that would be a loop.

        N10: a connection to this machine, or from it, has come here a second time.
        """
        host, port = shown(wanted[0]), wanted[1]
        text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if self._is_ours(host, port) or is_local(host):
            raise UpstreamUnavailable(f"the client wanted {text}, which is this machine: a loop")
        if is_local(shown(client[0])):
            raise UpstreamUnavailable("the client is this machine: a loop")
        family = socket.AF_INET if len(wanted[0]) == 4 else socket.AF_INET6
        return [Address(family, (host, port), host, text)]

    def opening(self, announcement: Announcement | None = None, replay: Replay | None = None) -> Opening | None:
        """What must be said on a fresh connection before the session, or None.

        `replay`: for a session that was begun on another connection, or on none.
        """
        starttls = self.tls is not None and not self.implicit
        if self.protocol == "pop3":
            return PopOpening() if starttls else None
        name, dialogue = _our_name(), None
        if replay is not None:
            dialogue = handshake.replay(*replay)
        elif announcement is not None and self.announcing.xclient:
            client, destination = announcement.client, announcement.destination
            dialogue = handshake.introduction(name, client, destination, announcement.login)
        return SmtpOpening(name, starttls=starttls, handshake=dialogue) if starttls or dialogue else None

    def _look_up(self) -> list[Address]:
        """Resolve all names; in a thread, where there are any."""
        found = []
        for number, server in enumerate(self.servers):
            try:
                found += self._resolve(number, server)
            except OSError:
                continue
        return found

    def _remembered(self, addresses: list[Address], now: float) -> list[Address]:
        """What was found now, or what was found before: a resolver that fails takes no server away."""
        if addresses:
            self._until = now + REMEMBER
            self._addresses = addresses
        return addresses or self._addresses or []

    def _resolve(self, number: int, server: Server) -> list[Address]:
        if server.path:
            return [Address(socket.AF_UNIX, server.path, "", str(server), number)]
        infos = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
        return [
            Address(family, target, server.host, str(server), number)  # type: ignore[arg-type]
            for family, _, _, _, target in infos
            if not self._is_ours(str(target[0]), server.port)  # N10: no loops
        ]


def _alone(name: str, servers: Sequence[Server]) -> Pool:
    """A pool that nobody shares."""
    board = ServerHealth(1)
    upstream, keys = keys_of(name, servers)
    board.enlist([upstream, *keys])
    return Pools(board.row(0), time.monotonic).pool(name, servers)


def dial(address: Address, source: str = "", *, foreign: bool = False) -> socket.socket:
    """Begin a connection; raise UpstreamUnavailable if that fails at once.

    `source`: the address to connect from, "": the system's choice; `foreign`: it is a client's
    (net/upstream/transparent.py).
    """
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise _unavailable(error) from error
    try:
        if address.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # A client on this machine is shown by the address of this machine, because nothing from loopback leaves it.
            if source and not (foreign and _is_loopback(source) and not _is_loopback(str(address.target[0]))):
                _bind(sock, source, foreign)
        sock.connect(address.target)
    except BlockingIOError:
        pass
    except UpstreamUnavailable:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise _unavailable(error) from error
    return sock


def _unavailable(error: OSError) -> UpstreamUnavailable:
    kind = Exhausted if error.errno in _EXHAUSTED else UpstreamUnavailable
    return kind(error.strerror or str(error))


def _bind(sock: socket.socket, source: str, foreign: bool) -> None:
    if (":" in source) is not (sock.family == socket.AF_INET6):
        raise UpstreamUnavailable(f"{source} can't be the source of a connection to it: IPv4 and IPv6")
    if foreign:
        make_transparent(sock)
    sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)  # the port is chosen with the target: more are free
    sock.bind((source, 0))


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"


def _our_name() -> str:
    """What popgate calls itself in EHLO."""
    name = socket.gethostname()
    return name if name.isascii() and name.isprintable() and " " not in name else "localhost"


def _is_literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
