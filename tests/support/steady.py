"""Clients without a break: POP3 logins and SMTP messages, each on a connection of its own, side by side, and what
became of each.

Run in a thread, so that a test can restart the gate meanwhile.  A client that is told in order to come again (421,
-ERR [SYS/TEMP], before its message was taken) does so; anything else that is not a success is counted by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

from .talk import Talk, ToldToComeAgain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Steady:
    """A context manager; `outcomes` may be read at any time, `sent` holds the messages that were answered 250."""

    def __init__(self, pop3: tuple[str, int], smtp: tuple[str, int], side_by_side: int = 6) -> None:
        self.outcomes: Counter[str] = Counter()
        self.sent: set[bytes] = set()
        self.longest = 0.0
        """Seconds that a client waited for its greeting."""
        self._pop3, self._smtp, self._side_by_side = pop3, smtp, side_by_side
        self._numbers = itertools.count(1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let the sessions under way end."""
        self._over.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(2 * self._side_by_side)))

    async def _client(self, number: int) -> None:
        while not self._over.is_set():
            name, session = ("pop3", self._login) if number % 2 else ("smtp", self._send)
            with self._counted(name):
                await session()

    @contextlib.contextmanager
    def _counted(self, name: str) -> Iterator[None]:
        try:
            yield
        except ToldToComeAgain:
            self.outcomes[f"{name} told to come again"] += 1
        except ConnectionRefusedError:
            self.outcomes[f"{name} refused"] += 1
        except ConnectionError as error:
            self.outcomes[f"{name} {type(error).__name__}"] += 1
        except TimeoutError:
            self.outcomes[f"{name} without an answer"] += 1
        except AssertionError as error:
            self.outcomes[f"{name} {error}"] += 1
        else:
            self.outcomes[name] += 1

    @contextlib.asynccontextmanager
    async def _greeted(self, address: tuple[str, int], greeting: bytes) -> AsyncIterator[Talk]:
        async with Talk(address) as talk:
            try:
                await talk.expect(greeting)
            finally:
                self.longest = max(self.longest, talk.waited)
            yield talk

    async def _login(self) -> None:
        async with self._greeted(self._pop3, b"+OK") as talk:
            for command in (b"USER alice", b"PASS secret", b"STAT", b"QUIT"):
                await talk.ask(command, b"+OK")

    async def _send(self) -> None:
        mark = b"steady-%d" % next(self._numbers)
        async with self._greeted(self._smtp, b"220") as talk:
            await talk.ask(b"HELO client", b"250")
            await talk.ask(b"MAIL FROM:<alice@example.com>", b"250")
            await talk.ask(b"RCPT TO:<bob@example.com>", b"250")
            await talk.ask(b"DATA", b"354")
            await talk.ask(b"Subject: " + mark + b"\r\n\r\nbody\r\n.", b"250")
            self.sent.add(mark)
            talk.say(b"QUIT")
            await talk.expect(b"221", b"421")  # closing, which it would be anyway
