"""A loop, a poller, deadlines and a kept log on a bench, and peers that a test moves by hand.

Nothing here has a thread or sleeps for a state: `until` gives the loop one turn after the other until a condition
holds, and fails after `PATIENCE`.  The clock of the deadlines stands still until the test moves it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

from proxy.log import LEVELS, Log
from proxy.net.sockets.poller import Poller
from proxy.net.timers import Deadlines

from .clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 10.0  # s until `until` gives up; every state here is a few turns away
_EAGER = 50  # turns of `until` at full speed; later ones leave the core to others


class KeptLog(Log):
    """Lines as (level, subject, event, words), instead of text."""

    def __init__(self) -> None:
        super().__init__("debug")
        self.lines: list[tuple[str, str, str, dict[str, Any]]] = []

    def line(self, level: str, subject: str, event: str, *words: tuple[str, str | int | float | None]) -> None:
        assert level in LEVELS
        self.lines.append((level, subject, event, dict(words)))

    def of(self, event: str) -> list[dict[str, Any]]:
        """The words of all lines of an event."""
        return [words for _, _, kind, words in self.lines if kind == event]

    def level_of(self, event: str) -> str:
        return next(level for level, _, kind, _ in self.lines if kind == event)


class CountingPoller(Poller):
    """Counts its turns: a leg that spins shows."""

    __slots__ = ("over", "turns")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.turns = 0
        self.over = False
        super().__init__(loop)

    def shut(self) -> None:
        if not self.over:
            self.over = True
            super().shut()

    def _turn(self) -> None:
        self.turns += 1
        super()._turn()


class Peer:
    """The test's end of a connection: `got` is what came so far, `over` that no more comes (`reset`: by force)."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.got = bytearray()
        self.over = self.reset = False
        self.told = 0  # of `got`, what a test has already asked for (tests/support/gate.py)

    def look(self) -> bytearray:
        """Read what is here, and return all that came so far."""
        while not self.over:
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                break
            except OSError:
                self.reset = True
                data = b""
            self.got += data
            self.over = not data
        return self.got

    def ended(self) -> bool:
        self.look()
        return self.over

    def send(self, data: bytes) -> None:
        """Send all of it: small pieces only, the kernel must take them at once."""
        assert self.sock.send(data) == len(data)

    def flood(self, limit: int = 1 << 26) -> int:
        """Send until the kernel takes no more; return how many octets went."""
        block, sent = b"x" * 65536, 0
        while sent < limit:
            try:
                sent += self.sock.send(block)
            except BlockingIOError:
                break
        return sent

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Leave with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


class TlsPeer:
    """A peer that speaks TLS by hand: `shake` until it is true, then `look` and `send`."""

    def __init__(self, peer: Peer, context: ssl.SSLContext, *, server: bool = False, name: str | None = None) -> None:
        self.peer = peer
        self._seen = len(peer.got)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.side = context.wrap_bio(self._in, self._out, server_side=server, server_hostname=name)
        self.done = self.over = False
        self.told = 0
        self.got = b""

    def _feed(self) -> None:
        data = self.peer.look()
        self._in.write(bytes(data[self._seen :]))
        self._seen = len(data)

    def _flush(self) -> None:
        if out := self._out.read():
            self.peer.send(out)

    def shake(self) -> bool:
        """Make a step; raise ssl.SSLError if it failed."""
        self._feed()
        try:
            if not self.done:
                self.side.do_handshake()
                self.done = True
        except ssl.SSLWantReadError:
            pass
        finally:
            self._flush()
        return self.done

    def look(self) -> bytes:
        self._feed()
        try:
            while data := self.side.read(65536):
                self.got += data
            self.over = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.over = True
        return self.got

    def send(self, data: bytes) -> None:
        self.side.write(data)
        self._flush()


class Workshop:
    """See the module."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.loop = new_loop()
        self.poller = CountingPoller(self.loop)
        self.clock = FakeClock()
        self.deadlines = Deadlines(self.clock.now)
        self.log = KeptLog()
        self.trouble: list[dict[str, Any]] = []  # exceptions that reached the loop: none may
        self.loop.set_exception_handler(lambda _, context: self.trouble.append(context))
        self._open: list[socket.socket] = []
        self.at_end: list[Callable[[], None]] = []

    def keep(self, sock: socket.socket) -> socket.socket:
        """Close it at the end of the test, if nobody else did."""
        self._open.append(sock)
        return sock

    def run(self, action: Callable[[], Any]) -> Any:
        """Call `action` from within the loop."""

        async def inside() -> Any:
            return action()

        return self.loop.run_until_complete(inside())

    def turns(self, count: int) -> None:
        """Let the loop turn; what is ready has been treated after a few."""

        async def turning() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turning())

    def rest(self, seconds: float) -> None:
        """Let the loop run: for what must *not* happen meanwhile."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def until(self, condition: Callable[[], object]) -> None:
        """Let the loop turn until `condition` holds."""

        async def waiting() -> None:
            end = time.monotonic() + PATIENCE
            turns = 0
            while not condition():
                assert time.monotonic() < end, f"waited in vain; log: {self.log.lines}"
                turns += 1
                await asyncio.sleep(0 if turns < _EAGER else 0.001)

        self.loop.run_until_complete(waiting())

    def advance(self, seconds: float) -> None:
        """Time goes by, and the worker's tick comes: it has come before, too, as many times a second."""
        self.run(self.deadlines.tick)
        self.clock.advance(seconds)
        self.run(self.deadlines.tick)

    def pair(self) -> tuple[socket.socket, Peer]:
        """Our end, non-blocking, and the peer's end of a TCP connection over loopback."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            theirs = self.keep(socket.create_connection(listening.getsockname()))
            ours = self.keep(listening.accept()[0])
        ours.setblocking(False)
        return ours, Peer(theirs)

    def server(self) -> socket.socket:
        """A listening socket, non-blocking, on a port of the kernel's choice."""
        sock = self.keep(socket.create_server(("127.0.0.1", 0)))
        sock.setblocking(False)
        return sock

    def accepted(self, server: socket.socket) -> Peer:
        """The next connection to `server`."""
        found: list[socket.socket] = []

        def there() -> bool:
            try:
                found.append(server.accept()[0])
            except BlockingIOError:
                return False
            return True

        self.until(there)
        return Peer(self.keep(found[0]))

    def close(self) -> None:
        for action in self.at_end:
            action()
        self.poller.shut()
        for sock in self._open:
            sock.close()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        assert not self.trouble, self.trouble


def refused_port() -> int:
    """A port of loopback at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
