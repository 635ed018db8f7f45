"""The control socket: how `popgate status`, `leases`, `reload`, `drain` reach the running popgate.

A unix socket, mode 0600: whoever may open it may administrate.  One line of JSON asks, one line answers, then it is
closed; the answer to `popgate trace` is a stream of lines, until either end hangs up. `ControlServer` is the
supervisor's end, under its selector; it never waits for an asker, and forgets those that don't ask or don't read within
`PATIENCE`.  `ask` and `follow` are the command line's end.

What the questions mean is ../supervisor.py and ../questions.py.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import PopgateError
from .unix import listen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .channel import Message

PATIENCE: Final = 10.0
"""Seconds for a question to come, for its answer, and for the answer to be read."""
_MAX_QUESTION: Final = 65536
"""Octets of a question."""
MAX_UNREAD: Final = 262_144
"""Octets of a stream that may wait for its asker: some 2,000 lines."""
_MAX_ASKERS: Final = 64
"""Connections at a time; more are closed: an administrator has two hands."""


@dataclass(slots=True, eq=False)
class Asker:
    """One connection to the control socket: first its question comes, then its answer goes."""

    sock: socket.socket
    """Non-blocking."""
    until: float
    """When it is forgotten."""
    question: bytes = b""
    """What has come of it."""
    unsent: bytes = b""
    """What has not gone yet."""
    gone: Callable[[], None] | None = None
    """Of a stream: called once, when it ends."""


class ControlServer:
    """The listening end; `asked(question, asker)` is answered by `answer(asker, ...)`, at once or later."""

    def __init__(
        self,
        path: Path,
        selector: selectors.BaseSelector,
        asked: Callable[[Message, Asker], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raise ConfigError when the socket can't be made, or another popgate answers there."""
        self._path = path
        self._selector = selector
        self._asked = asked
        self._clock = clock
        self.askers: set[Asker] = set()
        """Those that ask, wait, or follow a stream."""
        self._sock = listen("admin.control", path, 0o600, _MAX_ASKERS)
        selector.register(self._sock, selectors.EVENT_READ, self._accept)

    def answer(self, asker: Asker, answer: Message) -> None:
        """Answer and hang up; an asker that has gone is no matter."""
        if asker in self.askers:
            asker.unsent = json.dumps(answer).encode() + b"\n"
            asker.until = self._clock() + PATIENCE
            self._selector.register(asker.sock, selectors.EVENT_WRITE, lambda _: self._send(asker))
            self._send(asker)

    def stream(self, asker: Asker, seconds: float, gone: Callable[[], None]) -> None:
        """Answer by `push`, any number of times within `seconds`; `gone` is called when nobody listens any more."""
        if asker not in self.askers:
            return
        asker.until, asker.gone = self._clock() + seconds, gone
        self._selector.register(asker.sock, selectors.EVENT_READ, lambda _: self._carry(asker))

    def push(self, asker: Asker, message: Message) -> bool:
        """A line of a stream; False: too much waits for this asker, and the line is lost."""
        if asker not in self.askers or len(asker.unsent) > MAX_UNREAD:
            return False
        waiting = bool(asker.unsent)
        asker.unsent += json.dumps(message).encode() + b"\n"
        if not waiting:
            self._carry(asker)
        return True

    def tick(self) -> None:
        """Forget askers that take too long; call about once a second."""
        now = self._clock()
        for asker in [asker for asker in self.askers if asker.until <= now]:
            self._drop(asker)

    def forget(self) -> None:
        """In a child: these are not its sockets."""
        self._sock.close()
        for asker in self.askers:
            asker.sock.close()

    def close(self) -> None:
        for asker in list(self.askers):
            self._drop(asker)
        self._selector.unregister(self._sock)
        self._sock.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _accept(self, _: object) -> None:
        try:
            sock, _address = self._sock.accept()
        except OSError:
            return
        if len(self.askers) >= _MAX_ASKERS:
            sock.close()
            return
        sock.setblocking(False)
        asker = Asker(sock, self._clock() + PATIENCE)
        self.askers.add(asker)
        self._selector.register(sock, selectors.EVENT_READ, lambda _: self._read(asker))

    def _read(self, asker: Asker) -> None:
        try:
            data = asker.sock.recv(_MAX_QUESTION)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        asker.question += data
        if b"\n" in asker.question:
            self._selector.unregister(asker.sock)
            question = _parsed(asker.question)
            if question is not None:
                self._asked(question, asker)
            else:
                self.answer(asker, {"error": "a question is one line with a JSON object"})
        elif not data or len(asker.question) > _MAX_QUESTION:
            self._drop(asker)

    def _send(self, asker: Asker) -> None:
        try:
            asker.unsent = asker.unsent[asker.sock.send(asker.unsent) :]
        except BlockingIOError:
            return
        except OSError:
            asker.unsent = b""
        if not asker.unsent:
            self._drop(asker)

    def _carry(self, asker: Asker) -> None:
        """Send of a stream what goes, and see whether its asker is still there."""
        try:
            if asker.unsent:
                asker.unsent = asker.unsent[asker.sock.send(asker.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(asker)
            return
        try:
            if not asker.sock.recv(4096):
                self._drop(asker)
                return
        except BlockingIOError:
            pass
        except OSError:
            self._drop(asker)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if asker.unsent else 0)
        self._selector.modify(asker.sock, wanted, lambda _: self._carry(asker))

    def _drop(self, asker: Asker) -> None:
        with contextlib.suppress(KeyError):  # it waits for its answer
            self._selector.unregister(asker.sock)
        self.askers.discard(asker)
        asker.sock.close()
        if asker.gone is not None:
            gone, asker.gone = asker.gone, None
            gone()


def _parsed(line: bytes) -> Message | None:
    try:
        question = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return question if isinstance(question, dict) else None


class NotRunning(PopgateError):
    """Nobody answers at the control socket."""


def ask(path: Path, question: Message) -> dict[str, Any]:
    """Ask the running popgate; raise NotRunning when there is none, PopgateError when it does not answer."""
    with _connected(path) as sock:
        try:
            sock.sendall(json.dumps(question).encode() + b"\n")
            text = b"".join(iter(lambda: sock.recv(65536), b""))
        except OSError as error:
            raise PopgateError(f"popgate does not answer at {path}: {error}") from error
    answer = _parsed(text)
    if answer is None:
        raise PopgateError(f"popgate hung up at {path} without an answer")
    return answer


def follow(path: Path, question: Message) -> Iterator[dict[str, Any]]:
    """Ask for a stream, and yield its lines until popgate ends it; raise as `ask` does."""
    with _connected(path) as sock:
        sock.sendall(json.dumps(question).encode() + b"\n")
        sock.settimeout(None)
        with sock.makefile("rb") as lines:
            for line in lines:
                answer = _parsed(line)
                if answer is not None:
                    yield answer


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        # Not settimeout: Linux does not wait in the queue of a unix socket for one that is non-blocking.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(PATIENCE), 0))
        try:
            sock.connect(str(path))
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            raise NotRunning(f"popgate does not run ({path}: {error.strerror})") from error
        except PermissionError as error:
            raise PopgateError(f"{path}: {error.strerror}; ask as root or as popgate's user") from error
        except OSError as error:  # the queue of one that is stopped or stuck is full
            raise PopgateError(f"popgate does not answer at {path}: {error.strerror}") from error
        sock.settimeout(PATIENCE)
        yield sock
