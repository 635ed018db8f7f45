"""What the lab asks of an SMTP server: an address, and what arrived there.

`Exim`, `Sendmail`, `OpenSmtpd`, `Aiosmtpd` are such houses, each in a file of its own, and each service of
`postfix.Postfix` is one by `PostfixDoor`.  All of them trust loopback and host local.test.  What a recipient came
to mean there is read from the envelopes that leave it, at a `Sink` mostly.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from .dialogue import Dialogue
from .process import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .sink import Message

HOSTED = "local.test"
SETTLED = 60.0  # seconds for a queue to run empty


class House(Protocol):
    name: str
    host_name: str
    """As its greeting says it."""
    address: tuple[str, int]
    backlog: int
    """So many new connections may be on their way to it; one more waits for seconds."""
    literal: bytes
    """The domain that it writes for its local recipients, if that is not HOSTED or `host_name`."""

    def arrived(self) -> Sequence[Message]:
        """All messages so far; waits until its queue is empty."""

    def close(self) -> None: ...


def until_empty(left: Callable[[], Sequence[object]]) -> None:
    """Waits until nothing is left of a queue."""
    deadline = time.monotonic() + SETTLED
    while waiting := left():
        assert time.monotonic() < deadline, f"still in the queue: {waiting[:5]}"
        time.sleep(0.05)  # a queue is a folder of another program: there is nothing to wait on


def until_it_greets(address: tuple[str, int]) -> None:
    """Waits for a server that does not say when it listens."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with Dialogue(address) as first:
                first.expect(b"220")
                return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nobody listens on {address}"
            time.sleep(0.02)
