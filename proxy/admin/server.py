"""The process that answers HTTP; `run` is called in it after the fork (process.py).

It is nicer than the workers (nice(2)), so that mail does not wait for a page where there are few cores.  Orders of the
supervisor come as to a worker (node/channel.py): `reload`, with a configuration that was checked.  When that channel
closes the supervisor is gone, and so is this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Final

from aiohttp import web

from ..errors import ConfigError
from ..node.channel import Frames, config_of
from ..node.workers import ignore_signals
from ..runtime import log_of, point_log
from .door import Door
from .facts import Facts, ask
from .site import Site

if TYPE_CHECKING:
    from ..config import Config
    from ..node.channel import Message
    from .context import AdminContext

NICENESS: Final = 5
MAX_LINE: Final = 4096
"""Octets of the request line, and of each header."""
BACKLOG: Final = 16
TICK: Final = 5.0
"""Seconds between two looks whether a minute of the history is over."""


def run(context: AdminContext) -> int:
    """Serve until the supervisor is gone; the exit code of the process."""
    ignore_signals()  # the supervisor ends it
    with contextlib.suppress(OSError):  # where a sandbox forbids it
        os.nice(NICENESS)
    asyncio.run(Server(context).serve())
    return 0


class Server:
    """See the module."""

    def __init__(self, context: AdminContext) -> None:
        self._context, self._config = context, context.config
        self._frames = Frames()
        facts = Facts(partial(ask, context.config.admin.control))
        config = context.config
        self._log = log_of(config)
        self._site = Site(config, context.figures, context.counters, facts, self._log, context.token)

    async def serve(self) -> None:
        loop, channel = asyncio.get_running_loop(), self._context.channel
        over: asyncio.Future[None] = loop.create_future()
        runner = web.AppRunner(
            self._site.application(),
            handler_cancellation=True,
            access_log=None,
            logger=_silence(),
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
        )
        await runner.setup()
        assert runner.server is not None
        channel.setblocking(False)
        loop.add_reader(channel.fileno(), self._orders, over)
        door = Door(runner.server, loop)
        self._site.watch_through(door)
        self._tick(loop)
        server = await loop.create_server(door, sock=self._context.sock, backlog=BACKLOG)
        try:
            await over
        finally:
            loop.remove_reader(channel.fileno())
            server.close()
            await runner.cleanup()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(TICK, self._tick, loop)
        self._site.history.tick()

    def _orders(self, over: asyncio.Future[None]) -> None:
        try:
            data = self._context.channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        for message in self._frames.feed(data):
            self._obey(message)
        if not data and not over.done():
            over.set_result(None)

    def _obey(self, message: Message) -> None:
        order = message.get("order")
        if order == "reload":
            self._config = config_of(message["config"])
            self._adopt(self._config)
        elif order == "reopen-log":
            self._adopt(self._config)
        elif order == "log-level":
            self._log.set_level(message["level"])

    def _adopt(self, config: Config) -> None:
        """Log by this configuration, its file opened again."""
        try:
            point_log(self._log, config)
            self._site.adopt(config)
        except ConfigError as error:  # what the supervisor could write to a moment ago
            self._log.line("error", "popgate", "reload-failed", ("why", str(error)))


def _silence() -> logging.Logger:
    """For aiohttp: what strangers send it is no news, and what goes wrong in our own answers site.py says."""
    logger = logging.Logger("aiohttp")
    logger.addHandler(logging.NullHandler())
    return logger
