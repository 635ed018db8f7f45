"""A steady load on a pool: many clients, each with an address of its own, and a note of what became of every attempt.

Four kinds of people, side by side in one event loop, in a thread of its own, so that a test can do its worst meanwhile:

- newcomers log in by POP3 and then send a message to the outside, by each of the doors in turn, in the clear and by
  TLS; told to come again, deferred or cut off they come again, as mail programs do, until they have got through;
- regulars are newcomers of earlier who send again without a login;
- strangers have never logged in, and send to the outside;
- neighbours have never logged in either, and send to a local recipient.

What may have happened is the test's to judge: `attempts` says who, when, from which port (by which a balancer's log
knows where the connection went), and how it ended.  Each message has a mark of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from .ports import client_host
from .talk import Talk, ToldToComeAgain, Unexpected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

PEOPLE = {"newcomer": 16, "regular": 4, "stranger": 6, "neighbour": 3}  # side by side
DOORS = (("pop3", "smtp"), ("pop3s", "smtps"), ("pop3", "submission"))
PACE: Final = 0.1  # s that somebody takes at most between two commands: so that there are many sessions under way
COME_AGAIN: Final = 0.5  # s until somebody who did not get through comes again
_TRIES: Final = 60
_marks = itertools.count(1)


@dataclass(slots=True)
class Attempt:
    """One connection."""

    who: str
    door: str
    source: str
    mark: bytes
    begun: float
    """time.monotonic(), as `ended`."""
    ended: float = 0.0
    port: int = 0
    """The client's."""
    outcome: str = ""
    """"done", "refused", "deferred" (451), "told to come again", "cut off", "no answer"; or an odd reply."""
    whole: bool = False
    """Whether the client had sent the end of its message."""

    def overlaps(self, begun: float, ended: float) -> bool:
        return self.begun <= ended and begun <= self.ended


class Load:
    """A context manager.  `attempts` may be read at any time; `stranded` are newcomers who never got through."""

    def __init__(self, doors: Mapping[str, tuple[str, int]]) -> None:
        """`doors`: where clients connect, by name."""
        self.attempts: list[Attempt] = []
        self.stranded: list[str] = []
        self._doors = doors
        self._turns = itertools.cycle(DOORS)
        self._known: deque[tuple[str, str]] = deque(maxlen=500)  # who got through: address, door
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(120)

    def stop(self) -> None:
        """Let everybody come to an end."""
        self.__exit__()
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as failure:
            self._failure = failure

    async def _run(self) -> None:
        rounds = {
            "newcomer": self._newcomer,
            "regular": self._regular,
            "stranger": self._stranger,
            "neighbour": self._neighbour,
        }
        async with asyncio.TaskGroup() as group:
            for who, number in PEOPLE.items():
                for _ in range(number):
                    group.create_task(self._rounds(rounds[who]))

    async def _rounds(self, once: Callable[[], Awaitable[None]]) -> None:
        while not self._over.is_set():
            await _pause()
            await once()

    # Who comes

    async def _newcomer(self) -> None:
        source, (pop3, smtp) = client_host(), next(self._turns)
        for attempt in (lambda: self._login(pop3, source), lambda: self._send("newcomer", smtp, source)):
            for _ in range(_TRIES):
                if (outcome := await attempt()) in ("done", "refused"):
                    break
                await asyncio.sleep(COME_AGAIN)
            if outcome != "done":
                self.stranded.append(source)
                return
        self._known.append((source, smtp))

    async def _regular(self) -> None:
        if self._known:
            source, door = random.choice(self._known)
            await self._send("regular", door, source)

    async def _stranger(self) -> None:
        await self._send("stranger", next(self._turns)[1], client_host())

    async def _neighbour(self) -> None:
        await self._send("neighbour", "smtp", client_host(), b"bob@example.com")

    # What they do

    async def _login(self, door: str, source: str) -> str:
        async def dialogue(talk: Talk, _: Attempt) -> None:
            await talk.expect(b"+OK")
            for command in (b"USER alice", b"PASS secret", b"STAT", b"QUIT"):
                await _pause()
                await talk.ask(command, b"+OK")

        return await self._attempt("login", door, source, dialogue)

    async def _send(self, who: str, door: str, source: str, recipient: bytes = b"friend@example.org") -> str:
        async def dialogue(talk: Talk, attempt: Attempt) -> None:
            await talk.expect(b"220")
            if door == "submission":
                await talk.ask(b"EHLO client", b"250")
                await talk.ask(b"STARTTLS", b"220")
                await talk.starttls(self._tls)
            mail, rcpt = b"MAIL FROM:<alice@example.com>", b"RCPT TO:<" + recipient + b">"
            for command, code in ((b"EHLO client", b"250"), (mail, b"250"), (rcpt, b"250"), (b"DATA", b"354")):
                await _pause()
                await talk.ask(command, code)
            talk.say(b"Subject: " + attempt.mark + b"\r\n")
            await _pause()
            attempt.whole = True
            await talk.ask(b"body\r\n.", b"250")
            attempt.outcome = "done"
            talk.say(b"QUIT")
            await talk.expect(b"221", b"421", b"")  # closing, which it would be anyway

        return await self._attempt(who, door, source, dialogue)

    async def _attempt(
        self, who: str, door: str, source: str, dialogue: Callable[[Talk, Attempt], Awaitable[None]]
    ) -> str:
        attempt = Attempt(who, door, source, b"load-%d" % next(_marks), time.monotonic())
        talk = Talk(self._doors[door], source, self._tls if door in ("pop3s", "smtps") else None)
        outcome = "done"
        try:
            async with talk:
                await dialogue(talk, attempt)
        except ToldToComeAgain:
            outcome = "told to come again"
        except TimeoutError:
            outcome = "no answer"
        except OSError:  # ssl.SSLError is one: cut off in a handshake
            outcome = "cut off"
        except Unexpected as error:
            code = error.reply[:3]
            outcome = {b"554": "refused", b"451": "deferred"}.get(code) or error.reply.decode("latin-1").strip()
        attempt.outcome = attempt.outcome or outcome
        attempt.port, attempt.ended = talk.own[1], time.monotonic()
        self.attempts.append(attempt)
        return attempt.outcome


async def _pause() -> None:
    await asyncio.sleep(random.uniform(0, PACE))
