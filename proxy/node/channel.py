"""Messages between supervisor and worker: a socket pair for each worker, JSON objects behind their length.

A checked configuration travels from the supervisor to its workers as a pickle inside such a message (`config_text`),
so that all of them serve by the very same one, whatever has become of the files in the meantime.  Never the other way:
what comes from a worker, which talks to the world, is only ever read as JSON.

`Channel` is the supervisor's end: it never waits, whatever has become of the worker.  The worker's end is worker.py.
"""

from __future__ import annotations

import base64
import json
import pickle
import selectors
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ..config import Config

Message = dict[str, Any]
_LENGTH: Final = struct.Struct("!I")
MAX: Final = 64 * 1024 * 1024
"""Octets of one message; a list of 400,000 leases has about that."""
MAX_UNREAD: Final = 1 << 20
"""Octets that may wait for a worker: some thousand orders.  One that lets that much lie is stopped or stuck."""
_CHUNK: Final = 1 << 20


def packed(message: Message) -> bytes:
    """The octets of a message."""
    body = json.dumps(message).encode()
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Messages out of octets as they arrive."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that are complete now; raise ValueError for what is no message."""
        self._data += data
        found = []
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            if length > MAX:
                raise ValueError("a message of more than 64 MiB")
            if len(self._data) < _LENGTH.size + length:
                break
            message = json.loads(self._data[_LENGTH.size : _LENGTH.size + length])
            if not isinstance(message, dict):
                raise ValueError("a message is an object")
            found.append(message)
            del self._data[: _LENGTH.size + length]
        return found


class Channel:
    """The supervisor's end of the pair to one worker."""

    def __init__(
        self,
        sock: socket.socket,
        selector: selectors.BaseSelector,
        heard: Callable[[Message], None],
        lost: Callable[[], None],
    ) -> None:
        """`heard` for each message; `lost` once, when the worker is gone or says what is no message."""
        sock.setblocking(False)
        self._sock, self._selector = sock, selector
        self._heard, self._lost = heard, lost
        self._frames = Frames()
        self._unsent = b""
        selector.register(sock, selectors.EVENT_READ, self._ready)

    def tell(self, message: Message) -> bool:
        """Say it, now or when the worker reads again; False: too much waits for it already (`lost` tells of the
        rest)."""
        if len(self._unsent) > MAX_UNREAD:
            return False
        self._unsent += packed(message)
        self._send()
        return True

    def close(self) -> None:
        """Also for a child, which has inherited it: nothing is said to the worker."""
        self._sock.close()

    def _ready(self, _: object) -> None:
        self._send()
        try:
            data = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            messages = self._frames.feed(data)
        except ValueError:
            data, messages = b"", []
        for message in messages:
            self._heard(message)
        if not data:
            self._selector.unregister(self._sock)
            self._sock.close()
            self._lost()

    def _send(self) -> None:
        if not self._unsent:
            return
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = b""  # it is gone; `_ready` hears of it
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._selector.modify(self._sock, wanted, self._ready)


def config_text(config: Config) -> str:
    """A configuration for a message to a worker."""
    return base64.b64encode(pickle.dumps(config)).decode("ascii")


def config_of(text: str) -> Config:
    """The other end of `config_text`; only for what the supervisor sent."""
    config: Config = pickle.loads(base64.b64decode(text))  # noqa: S301 - our own supervisor's octets
    return config
