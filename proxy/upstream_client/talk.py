"""A connection on which popgate itself asks a server: one question, one awaited answer, in the clear or under TLS.

Promises: every problem leaves here as `UpstreamUnavailable` with a reason in words; an answer is awaited for
`patience` seconds in all, so that a trickle does not stretch it.  How large an answer may grow is bounded by who cuts
it (wire/replies.py, wire/pop3.py).

asyncio's streams do the waiting; TLS is ours, on memory BIOs: `start_tls` of the streams would take octets that came
in the clear for octets that came through TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from ..config.values import duration_text
from ..errors import UpstreamUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ..config.endpoint import Endpoint
    from ..net.tls.contexts import UpstreamTls
    from ..net.upstream.announcement import Announcing

T = TypeVar("T")

_CHUNK: Final = 16384  # octets: a TLS record holds no more
_CLEAR: Final = (
    b"2",
    b"4",
    b"5",
    b"+",
    b"-",
)  # how a mail server's greeting begins; a TLS record begins with octet 20-24


class Address(NamedTuple):
    """One address of a server."""

    family: int
    host: str
    """Numeric; the path of a unix socket."""
    port: int


class HandshakeFailed(UpstreamUnavailable):
    """The server answered, but TLS with it can't be as configured: its certificate is worth a second look."""


class Silent(UpstreamUnavailable):
    """What was awaited did not come in time."""


class _Tls(NamedTuple):
    """TLS over the connection."""

    side: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO


class Talk:
    """One connection; closed by `close`, whatever happened."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: float) -> None:
        self._reader, self._writer = reader, writer
        self._patience = patience
        self._tls: _Tls | None = None

    def say(self, line: bytes) -> None:
        """Send one line, given without its CRLF; lines are short, so that nothing ever waits here."""
        octets = line + b"\r\n"
        if self._tls is not None:
            self._tls.side.write(octets)
            octets = self._tls.outgoing.read()
        self._writer.write(octets)

    async def until(self, what: str, feed: Callable[[bytes], None], take: Callable[[], T | None]) -> T:
        """Feed what comes until `take` has something; `what` names it: "answer to EHLO"."""
        async with _awaiting(what, self._patience):
            while (found := take()) is None:
                data = await self._receive()
                if not data:
                    raise UpstreamUnavailable(f"no {what}: it hung up")
                feed(data)
            return found

    async def start_tls(self, tls: UpstreamTls, host: str) -> ssl.SSLObject:
        """Shake hands and check certificate and pin; HandshakeFailed says what TLS had against it."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        side = tls.context.wrap_bio(incoming, outgoing, server_hostname=tls.server_hostname(host))
        heard = b""
        async with _awaiting("TLS handshake", self._patience):
            while not self._shaken(tls, side, outgoing, heard):
                data = await self._reader.read(_CHUNK)
                heard = heard or data
                if data:
                    incoming.write(data)
                else:
                    incoming.write_eof()
        tls.check(side)
        self._tls = _Tls(side, incoming, outgoing)
        return side

    def _shaken(self, tls: UpstreamTls, side: ssl.SSLObject, outgoing: ssl.MemoryBIO, heard: bytes) -> bool:
        """Do what can be done of the handshake; whether it is through.  `heard`: the first octets of the server."""
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLCertVerificationError as error:
            # not in the words of tls.refused, which send the reader to this self-test
            raise HandshakeFailed(f"the certificate is refused: {error.verify_message}") from error
        except ssl.SSLError as error:
            if heard.startswith(_CLEAR):
                raise UpstreamUnavailable('it speaks in the clear here; try tls = "starttls" or "off"') from None
            raise HandshakeFailed(str(tls.refused(error, side))) from error
        finally:
            self._writer.write(outgoing.read())  # the alert too
        return True

    async def _receive(self) -> bytes:
        """Some octets, decrypted; b"" at the end."""
        if self._tls is None:
            return await self._reader.read(_CHUNK)
        while True:
            try:
                return self._tls.side.read(_CHUNK)
            except ssl.SSLWantReadError:
                data = await self._reader.read(_CHUNK)
                if not data:
                    return b""
                self._tls.incoming.write(data)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                raise UpstreamUnavailable(f"TLS broke: {_reason(error)}") from error

    async def close(self) -> None:
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def addresses(server: Endpoint, patience: float) -> list[Address]:
    """The addresses of a server, at least one; UpstreamUnavailable where the name has none."""
    if server.path:
        return [Address(socket.AF_UNIX, server.path, 0)]
    loop = asyncio.get_running_loop()
    async with _awaiting(f"address of {server.host}", patience):
        infos = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(Address(family, str(target[0]), server.port) for family, _, _, _, target in infos))


async def connect(address: Address, patience: float, announcing: Announcing, *, probe: bool = False) -> Talk:
    """Connect as popgate does for a client that is not announced; UpstreamUnavailable with the reason.

    `probe`: tell a server that takes PROXY headers that there is no client.
    """
    source = (announcing.source_address(None), 0) if announcing.source_address(None) else None
    target: tuple[str, int] | str = (address.host, address.port)
    async with _awaiting("connection", patience):
        if address.family == socket.AF_UNIX:
            target = address.host
            reader, writer = await asyncio.open_unix_connection(target)
        else:
            reader, writer = await asyncio.open_connection(*target, family=address.family, local_addr=source)
    writer.write(announcing.proxy_header(None, writer.get_extra_info("socket"), target, probe=probe))
    return Talk(reader, writer, patience)


@contextlib.asynccontextmanager
async def _awaiting(what: str, patience: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(patience):
            yield
    except TimeoutError:
        raise Silent(f"no {what} within {duration_text(patience)}") from None
    except OSError as error:
        # asyncio puts words of its own into strerror; getaddrinfo's errors have negative numbers
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise UpstreamUnavailable(f"no {what}: {reason}") from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
