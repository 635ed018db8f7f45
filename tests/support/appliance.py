"""The sample appliance of the demo, in a thread of its own: the quick upstream for tests that need no real one.

`address` in the configuration's form: `pop3`, `smtp`.  Users alice, bob and carol with password "secret", as in
Dovecot's house.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from proxy.demo.appliance import Appliance, Message

from .dovecot import PASSWORD, USERS

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 20.0  # seconds for a message that is on its way


class SampleAppliance:
    """A context manager; `appliance.relayed` and `.mailboxes` may be read at any time.

    host, ports: where it listens, for POP3 and SMTP; to bring one back that was closed.
    """

    def __init__(self, host: str = "127.0.0.1", ports: tuple[int, int] = (0, 0)) -> None:
        self.appliance = Appliance(dict.fromkeys(USERS, PASSWORD))
        self._where = (host, ports)
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(WAIT)
        self.pop3 = "{}:{}".format(*self.appliance.pop3)
        self.smtp = "{}:{}".format(*self.appliance.smtp)

    def __enter__(self) -> SampleAppliance:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all connections and listens no more; may come twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(WAIT)

    def again(self) -> SampleAppliance:
        """Another one where this one was."""
        host, port = self.appliance.pop3
        return SampleAppliance(host, (port, self.appliance.smtp[1]))

    @property
    def relayed(self) -> list[Message]:
        return self.appliance.relayed

    def relayed_to(self, recipient: str) -> list[Message]:
        return [message for message in self.relayed if recipient.encode() in message.recipients]

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve(self._ready.set))
        self._loop.close()

    async def _serve(self, ready: Callable[[], None]) -> None:
        await self.appliance.start(*self._where)
        ready()
        await self._over.wait()
        await self.appliance.close()
