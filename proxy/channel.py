"""Messages between supervisor and worker: a socket pair for each worker, JSON objects behind their length.

A checked configuration travels from the supervisor to its workers as a pickle inside such a message (`config_text`),
so that all of them serve by the very same one, whatever has become of the files meanwhile.  Never the other way: what
comes from a worker, which talks to the world, is only ever read as JSON.
"""

from __future__ import annotations

import base64
import json
import pickle
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import socket

    from .config import Config

Message = dict[str, Any]
_LENGTH: Final = struct.Struct("!I")
MAX: Final = 64 * 1024 * 1024
"""Octets of one message; a list of a million leases has about that."""


def packed(message: Message) -> bytes:
    """The octets of a message."""
    body = json.dumps(message).encode()
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Messages out of octets as they arrive."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = b""

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
            self._data = self._data[_LENGTH.size + length :]
        return found


def send(sock: socket.socket, message: Message) -> None:
    """Send the whole message, waiting where the other side is slow; OSError when it is gone."""
    sock.sendall(packed(message))


def config_text(config: Config) -> str:
    """A configuration for a message to a worker."""
    return base64.b64encode(pickle.dumps(config)).decode("ascii")


def config_of(text: str) -> Config:
    """The other end of `config_text`; only for what the supervisor sent."""
    config: Config = pickle.loads(base64.b64decode(text))  # noqa: S301 - our own supervisor's octets
    return config
