"""The control socket: how `popgate status`, `leases`, `reload`, `drain` reach the running popgate.

A unix socket, mode 0600: who may open it is who may administrate.  One line of JSON asks, one line answers, then it is
closed. `ControlServer` is the supervisor's end, non-blocking under its selector; `ask` is the command line's.

What the questions mean is supervisor.py and questions.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
from typing import TYPE_CHECKING, Any, Final

from .errors import ConfigError, PopgateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .channel import Message

_MAX_QUESTION: Final = 65536
"""Octets of a question."""
_PATIENCE: Final = 10.0
"""Seconds that the command line waits for an answer."""


class ControlServer:
    """The listening end; `asked(question, asker)` is answered by `answer(asker, ...)`, at once or later."""

    def __init__(self, path: Path, selector: selectors.BaseSelector, asked: Callable[[Message, object], None]) -> None:
        """Raise ConfigError when the socket can't be made, or another popgate answers there."""
        self._path = path
        self._selector = selector
        self._asked = asked
        self._askers: dict[socket.socket, bytes] = {}
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if _answers(path):
            raise ConfigError([f"admin.control: a popgate is running already at {path}"])
        try:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            before = os.umask(0o177)
            try:
                self._sock.bind(str(path))
            finally:
                os.umask(before)
            self._sock.listen(16)
        except OSError as error:
            raise ConfigError([f"admin.control: can't make {path}: {error.strerror}; check the folder"]) from error
        selector.register(self._sock, selectors.EVENT_READ, self._accept)

    def answer(self, asker: object, answer: Message) -> None:
        """Answer and hang up; an asker that has gone is no matter."""
        assert isinstance(asker, socket.socket)
        if asker not in self._askers:
            return
        with contextlib.suppress(OSError):
            asker.settimeout(_PATIENCE)
            asker.sendall(json.dumps(answer).encode() + b"\n")
        self._drop(asker)

    def forget(self) -> None:
        """In a child: these are not its sockets."""
        self._sock.close()
        for asker in self._askers:
            asker.close()

    def close(self) -> None:
        for asker in list(self._askers):
            self._drop(asker)
        self._selector.unregister(self._sock)
        self._sock.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _accept(self, _: object) -> None:
        try:
            asker, _address = self._sock.accept()
        except OSError:
            return
        asker.setblocking(False)
        self._askers[asker] = b""
        self._selector.register(asker, selectors.EVENT_READ, self._read)

    def _read(self, asker: socket.socket) -> None:
        try:
            data = asker.recv(_MAX_QUESTION)
        except OSError:
            data = b""
        text = self._askers[asker] = self._askers[asker] + data
        if b"\n" in text:
            self._selector.unregister(asker)
            try:
                question = json.loads(text)
            except ValueError:
                question = None
            if isinstance(question, dict):
                self._asked(question, asker)
            else:
                self.answer(asker, {"error": "a question is one line with a JSON object"})
        elif not data or len(text) > _MAX_QUESTION:
            self._drop(asker)

    def _drop(self, asker: socket.socket) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(asker)
        self._askers.pop(asker, None)
        asker.close()


class NotRunning(PopgateError):
    """Nobody answers at the control socket."""


def ask(path: Path, question: Message) -> dict[str, Any]:
    """Ask the running popgate; raise NotRunning when there is none, PopgateError when it does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_PATIENCE)
        try:
            sock.connect(str(path))
        except PermissionError as error:
            raise PopgateError(f"{path}: {error.strerror}; ask as root or as popgate's user") from error
        except OSError as error:
            raise NotRunning(f"popgate does not run ({path}: {error.strerror})") from error
        try:
            sock.sendall(json.dumps(question).encode() + b"\n")
            text = b""
            while not text.endswith(b"\n") and (data := sock.recv(65536)):
                text += data
            answer = json.loads(text)
        except (OSError, ValueError) as error:
            raise PopgateError(f"popgate does not answer at {path}: {error}") from error
    assert isinstance(answer, dict)
    return answer


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_PATIENCE)
        try:
            sock.connect(str(path))
        except OSError:
            return False
        return True
