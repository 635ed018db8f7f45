"""popgate as a client of whoson servers: asks them before it refuses, tells them of logins.

`ask` puts a QUERY to all servers of `[whoson] ask` at once, and the first yes decides; no is the answer when all have
said it.  If one could not be asked, nobody knows: the policy then defers (rule G7), as Exim does.  What they say makes
no lease here, and is told to nobody: two popgates that ask and tell each other keep nothing alive between them.

`tell` sends a LOGIN to the servers of `[whoson] tell`, without waiting for it.  A record lives there as long as that
server thinks right (five minutes in the C daemon), so it is told again while the POP session is open
(neighbours/reminders.py).
LOGOUT is never sent: there is one record an address, and it would end that of everybody else behind the same router.

As libwhoson does: over UDP a new socket for each question, so that a late answer is not taken for another's, tried
again after 100 ms, 200 ms ...; over TCP and unix sockets a connection for each.  The grammar, and what must never be
sent, is wire/whoson.py's.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Final

from ..errors import StoreUnavailable
from ..gate.policy import PeerLogin
from ..wire import whoson

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from ..config import Endpoint
    from ..log import Log

FIRST_WAIT: Final = 0.1
"""Seconds until a datagram is sent again, then twice that and so on: libwhoson's inittimeout."""
TRIES: Final = 5
"""Times that a datagram is sent: libwhoson's maxtries."""
TELL_TIMEOUT: Final = 5.0
"""Seconds for one server to take a LOGIN; five tries over UDP take 3.1."""
UNDER_WAY: Final = 500
"""Questions and LOGINs at a time, in one worker; each holds a descriptor for each server."""
_MAX_REPLY: Final = 1023
"""Octets of a reply that are read, as libwhoson does."""

Outcome = tuple["bool | None", str]
"""What a server said (whoson.parse_reply), or None and why it said nothing."""


class WhosonClient:
    """The `PeerDirectory` of gate/policy.py."""

    def __init__(self, ask: Sequence[Endpoint], tell: Sequence[Endpoint], timeout: float, log: Log) -> None:
        """`timeout`: seconds that a question may take."""
        self._ask, self._tell = tuple(ask), tuple(tell)
        self._timeout, self._log = timeout, log
        self.tasks: set[asyncio.Task[None]] = set()
        """Questions and LOGINs under way."""

    def ask(self, address: bytes, then: Callable[[PeerLogin | StoreUnavailable | None], None]) -> None:
        """Call `then` once, at once or from the loop, with who is logged in elsewhere; None: nobody."""
        if not self._ask:
            then(None)
        elif len(self.tasks) >= UNDER_WAY:
            then(StoreUnavailable("too many whoson questions under way"))
        else:
            self._start(self._ask_all(whoson.request(whoson.QUERY, address), then))

    def tell(self, address: bytes, login: str) -> None:
        """Report a login; what does not arrive is in the log."""
        octets = whoson.request(whoson.LOGIN, address, login)
        for server in self._tell:
            if len(self.tasks) < UNDER_WAY:
                self._start(self._tell_one(server, octets))
            else:
                self._say(server, whoson.LOGIN, "too much under way")

    def _start(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _ask_all(self, octets: bytes, then: Callable[[PeerLogin | StoreUnavailable | None], None]) -> None:
        exchanges = {asyncio.ensure_future(exchange(server, octets, self._timeout)): server for server in self._ask}
        silent: list[str] = []
        waiting = set(exchanges)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    server, (meaning, text) = exchanges[one], one.result()
                    if meaning:
                        then(PeerLogin(str(server), text))
                        return
                    if meaning is None:
                        silent.append(str(server))
                        self._say(server, whoson.QUERY, text)
        finally:
            for one in waiting:
                one.cancel()
        then(StoreUnavailable(f"no answer from {', '.join(silent)}") if silent else None)

    async def _tell_one(self, server: Endpoint, octets: bytes) -> None:
        meaning, text = await exchange(server, octets, TELL_TIMEOUT)
        if not meaning:
            self._say(server, whoson.LOGIN, text)

    def _say(self, server: Endpoint, verb: str, why: str) -> None:
        if self._log.first_this_hour(("whoson", server, verb)):
            words = (("server", str(server)), ("verb", verb), ("why", why))
            self._log.line("warning", "whoson", "unanswered", *words)


async def exchange(server: Endpoint, octets: bytes, seconds: float) -> Outcome:
    """One request and its reply; never raises for what a server does or fails to do."""
    try:
        async with asyncio.timeout(seconds):
            talk = _datagrams if server.transport == "udp" else _stream
            return whoson.parse_reply(await talk(server, octets))
    except TimeoutError:
        return None, "no answer in time"
    except OSError as error:
        return None, os.strerror(error.errno) if error.errno else "it can't be reached"  # asyncio has words of its own


async def _datagrams(server: Endpoint, octets: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect((server.host, server.port))  # the kernel now drops what comes from anybody else
        wait = FIRST_WAIT
        for _ in range(TRIES):
            sock.send(octets)
            try:
                async with asyncio.timeout(wait):
                    return await loop.sock_recv(sock, _MAX_REPLY)
            except TimeoutError:
                wait *= 2
    raise TimeoutError


async def _stream(server: Endpoint, octets: bytes) -> bytes:
    if server.path:
        reader, writer = await asyncio.open_unix_connection(server.path)
    else:
        reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(octets)
        reply = b""
        while b"\n" not in reply and len(reply) < _MAX_REPLY:
            data = await reader.read(_MAX_REPLY)
            if not data:
                break
            reply += data
        return reply
    finally:
        writer.close()
