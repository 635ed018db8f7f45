"""The sample appliance: an old mail server as popgate's users have one.

POP3 with users and passwords in the clear, and an SMTP server that relays for everybody because it knows no better.
No TLS, no SMTP AUTH.  What it is told to relay it only keeps (`relayed`); mail for its own domain goes into its
users' mailboxes, so that it can be fetched again by POP3.

It is honest, not strong: line ends may be CRLF or LF (old servers are lax), replies come in order, nothing is limited
but the size of a message.  Do not let it near a network.  For tests it is the quick appliance; the real ones are
Dovecot and Postfix, and an old server that says odd things is scripted elsewhere.

RFC 1939 (POP3), RFC 2449 (CAPA), RFC 5321 (SMTP).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable

SIZE = 64 << 20  # octets of a message, offered by EHLO; kept in memory, so not without a limit
BANNER = "appliance.example.com"


@dataclass(frozen=True, slots=True)
class Message:
    """One accepted message; `octets` are the data as it came, with the doubled dots undone."""

    sender: bytes
    recipients: tuple[bytes, ...]
    octets: bytes


class Appliance:
    """Both servers.  `await start()`, then `pop3` and `smtp` are (host, port); `await close()` ends all connections.

    users: login -> password.  domain: mail for login@domain is delivered here, all other is `relayed`.
    """

    def __init__(self, users: dict[str, str], domain: str = "example.com") -> None:
        self.relayed: list[Message] = []
        self.mailboxes: dict[str, list[bytes]] = {login: [] for login in users}
        self.pop3 = ("", 0)
        self.smtp = ("", 0)
        self._users = users
        self._domain = domain.encode()
        self._numbers = itertools.count(1)
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()  # one a connection

    async def start(self, host: str = "127.0.0.1", ports: tuple[int, int] = (0, 0)) -> None:
        """Listens on two ports of `host`, for POP3 and SMTP; 0 is any free one."""
        for handler, port in zip((self._pop3, self._smtp), ports, strict=True):
            self._servers.append(await asyncio.start_server(handler, host, port, limit=1 << 20, backlog=1024))
        self.pop3, self.smtp = (server.sockets[0].getsockname()[:2] for server in self._servers)

    async def close(self) -> None:
        await stop_serving(self._servers, self._tasks)

    async def _pop3(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stamp = f"<{next(self._numbers)}.{id(self)}@{BANNER}>".encode()
        await self._serve(writer, _Pop3(self, reader, writer, stamp).talk())

    async def _smtp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._serve(writer, _Smtp(self, reader, writer).talk())

    async def _serve(self, writer: asyncio.StreamWriter, talk: Awaitable[None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # Clients that cut the connection, or send an endless line (LimitOverrunError is a ValueError), are its
            # daily bread.
            with contextlib.suppress(ConnectionError, ValueError, asyncio.CancelledError):
                await talk
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    def knows(self, login: bytes, password: bytes) -> bool:
        return self._users.get(login.decode(errors="replace"), None) == password.decode(errors="replace")

    def knows_digest(self, login: bytes, stamp: bytes, digest: bytes) -> bool:
        """APOP: MD5 of the greeting's stamp and the password (RFC 1939 7)."""
        password = self._users.get(login.decode(errors="replace"))
        if password is None:
            return False
        right = hashlib.md5(stamp + password.encode(), usedforsecurity=False).hexdigest()
        return hmac.compare_digest(right.encode(), digest.lower())

    def keep(self, message: Message) -> str:
        """Delivers or "relays" `message`; its queue id."""
        away = False
        for recipient in message.recipients:
            login, _, domain = recipient.rpartition(b"@")
            box = self.mailboxes.get(login.decode(errors="replace"))
            if domain.lower() == self._domain and box is not None:
                box.append(message.octets)
            else:
                away = True
        if away:
            self.relayed.append(message)
        return f"A{next(self._numbers):06d}"


async def stop_serving(servers: list[asyncio.Server], tasks: set[asyncio.Task[None]]) -> None:
    """Closes `servers` and cuts their connections, each of which is one of `tasks`."""
    # asyncio takes a few turns to accept a connection, and would leave its socket open if the server were closed
    # meanwhile.
    for _ in range(10):
        await asyncio.sleep(0)
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _command(reader: asyncio.StreamReader) -> tuple[bytes, bytes] | None:
    """The next command as (verb in capitals, the rest); None at end of file."""
    line = await reader.readline()
    if not line:
        return None
    verb, _, rest = line.rstrip(b"\r\n").partition(b" ")
    return verb.upper(), rest.strip()


class _Pop3:
    """One POP3 session."""

    def __init__(
        self, appliance: Appliance, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stamp: bytes
    ) -> None:
        self.appliance = appliance
        self.reader = reader
        self.writer = writer
        self.stamp = stamp
        self.user = b""  # named by USER, not yet proven
        self.box: list[bytes] | None = None  # the mailbox, once logged in
        self.deleted: set[int] = set()

    async def talk(self) -> None:
        self.writer.write(b"+OK " + BANNER.encode() + b" ready " + self.stamp + b"\r\n")
        while (command := await _command(self.reader)) is not None:
            verb, rest = command
            self.writer.write(self._answer(verb, rest))
            await self.writer.drain()
            if verb == b"QUIT":
                return

    def _answer(self, verb: bytes, rest: bytes) -> bytes:
        match verb:
            case b"CAPA":
                return b"+OK\r\nUSER\r\nTOP\r\nUIDL\r\n.\r\n"
            case b"QUIT":
                self._expunge()
                return b"+OK bye\r\n"
            case b"NOOP":
                return b"+OK\r\n"
        if self.box is None:
            return self._before_login(verb, rest)
        return self._after_login(self.box, verb, rest)

    def _before_login(self, verb: bytes, rest: bytes) -> bytes:
        match verb:
            case b"USER":
                self.user = rest
                return b"+OK password?\r\n"
            case b"PASS":
                return self._login(self.user, self.appliance.knows(self.user, rest))
            case b"APOP":
                login, _, digest = rest.partition(b" ")
                return self._login(login, self.appliance.knows_digest(login, self.stamp, digest))
        return b"-ERR log in first\r\n"

    def _login(self, login: bytes, proven: bool) -> bytes:
        if not proven:
            return b"-ERR [AUTH] no such user and password\r\n"
        self.box = self.appliance.mailboxes[login.decode()]
        return b"+OK %d messages\r\n" % len(self.box)

    def _after_login(self, box: list[bytes], verb: bytes, rest: bytes) -> bytes:
        kept = [(number, octets) for number, octets in enumerate(box, 1) if number not in self.deleted]
        match verb:
            case b"STAT":
                return b"+OK %d %d\r\n" % (len(kept), sum(len(octets) for _, octets in kept))
            case b"LIST" | b"UIDL" if not rest:
                second = (lambda o: b"%d" % len(o)) if verb == b"LIST" else _uid
                return b"+OK\r\n" + b"".join(b"%d %s\r\n" % (n, second(o)) for n, o in kept) + b".\r\n"
            case b"RSET":
                self.deleted.clear()
                return b"+OK\r\n"
        number, _, lines = rest.partition(b" ")
        wanted = dict(kept).get(int(number)) if number.isdigit() else None
        if wanted is None:
            return b"-ERR no such message or command\r\n"
        match verb:
            case b"LIST":
                return b"+OK %d %d\r\n" % (int(number), len(wanted))
            case b"UIDL":
                return b"+OK %d %s\r\n" % (int(number), _uid(wanted))
            case b"RETR":
                return b"+OK\r\n" + _stuffed(wanted) + b".\r\n"
            case b"TOP" if lines.isdigit():
                head, _, body = wanted.partition(b"\r\n\r\n")
                part = b"".join(line + b"\r\n" for line in body.split(b"\r\n")[: int(lines)])
                return b"+OK\r\n" + _stuffed(head + b"\r\n\r\n" + part) + b".\r\n"
            case b"DELE":
                self.deleted.add(int(number))
                return b"+OK\r\n"
        return b"-ERR no such message or command\r\n"

    def _expunge(self) -> None:
        if self.box is not None:
            self.box[:] = [octets for number, octets in enumerate(self.box, 1) if number not in self.deleted]


def _uid(octets: bytes) -> bytes:
    return hashlib.sha256(octets).hexdigest()[:32].encode()


def _stuffed(octets: bytes) -> bytes:
    """Dots doubled, as RFC 1939 3 wants it; a message always ends in CRLF."""
    if not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    return (b"." if octets.startswith(b".") else b"") + octets.replace(b"\r\n.", b"\r\n..")


class _Smtp:
    """One SMTP session: takes every sender and every recipient."""

    def __init__(self, appliance: Appliance, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.appliance = appliance
        self.reader = reader
        self.writer = writer
        self.sender: bytes | None = None
        self.recipients: list[bytes] = []

    async def talk(self) -> None:
        self.writer.write(b"220 " + BANNER.encode() + b" ESMTP\r\n")
        while (command := await _command(self.reader)) is not None:
            verb, rest = command
            if verb == b"DATA" and self.recipients:
                await self._data()
            else:
                self.writer.write(self._answer(verb, rest))
            await self.writer.drain()
            if verb == b"QUIT":
                return

    def _answer(self, verb: bytes, rest: bytes) -> bytes:
        path = rest[rest.find(b"<") + 1 : rest.find(b">")]
        match verb:
            case b"EHLO":
                self._forget()
                return f"250-{BANNER}\r\n250-SIZE {SIZE}\r\n250-8BITMIME\r\n250 PIPELINING\r\n".encode()
            case b"HELO":
                self._forget()
                return f"250 {BANNER}\r\n".encode()
            case b"MAIL":
                self._forget()
                self.sender = path
                return b"250 sender ok\r\n"
            case b"RCPT" if self.sender is not None:
                self.recipients.append(path)
                return b"250 recipient ok\r\n"
            case b"RSET":
                self._forget()
                return b"250 ok\r\n"
            case b"NOOP":
                return b"250 ok\r\n"
            case b"QUIT":
                return b"221 bye\r\n"
            case b"RCPT" | b"DATA":
                return b"503 in another order, please\r\n"
        return b"500 what?\r\n"

    async def _data(self) -> None:
        self.writer.write(b"354 end with a line of one dot\r\n")
        lines, size = [], 0
        while (line := await self.reader.readline()) not in (b".\r\n", b".\n"):
            if not line.endswith(b"\n"):
                raise ConnectionError("closed in mid-message, which then is none")
            size += len(line)
            if size <= SIZE:
                lines.append(line.removeprefix(b"."))
        if size > SIZE:
            self.writer.write(b"552 too big\r\n")
        else:
            queued = self.appliance.keep(Message(self.sender or b"", tuple(self.recipients), b"".join(lines)))
            self.writer.write(f"250 queued as {queued}\r\n".encode())
        self._forget()

    def _forget(self) -> None:
        self.sender = None
        self.recipients = []
