"""What systemd does for a service, without systemd: listens to sd_notify(3), makes and keeps its sockets."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Self

from .process import PATIENCE, Process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Listening:
    """The socket behind $NOTIFY_SOCKET; `environ` names it."""

    def __init__(self, address: str) -> None:
        """`address`: a path, or "@name" in the abstract namespace."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self.sock.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": address, "PATH": "/bin"}

    def heard(self) -> list[str]:
        """All messages since the last call."""
        found = []
        while True:
            try:
                found.append(self.sock.recv(4096).decode())
            except BlockingIOError:
                return found

    def wait(self, start: str, seconds: float = PATIENCE) -> bool:
        """Whether a message that begins so comes within `seconds`; those before it are passed over."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.sock], [], [], left)[0] and self.sock.recv(4096).decode().startswith(start):
                return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()


class Activator:
    """Listening sockets on free ports of 127.0.0.1, passed to every program that it starts (sd_listen_fds(3)).

    A context manager: leaving it closes the sockets.
    """

    def __init__(self, *names: str) -> None:
        """`names`: FileDescriptorName= of each."""
        self._names = names
        self.sockets = {name: socket.create_server(("127.0.0.1", 0), backlog=4096) for name in names}

    def __enter__(self) -> Activator:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self.sockets.values():
            sock.close()

    def address(self, name: str) -> tuple[str, int]:
        host, port = self.sockets[name].getsockname()
        return host, port

    def start(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Process:
        """Run a program that inherits the sockets."""
        names = {"LISTEN_FDS": str(len(self._names)), "LISTEN_FDNAMES": ":".join(self._names)}
        with Passed(list(self.sockets.values())) as passed:
            return Process([*passed.argv, *argv], cwd=cwd, env={**env, **names}, pass_fds=passed.descriptors)


class Passed:
    """Sockets on their way to a program: run `argv` + PROGRAM with `pass_fds=descriptors`, and they are its descriptors
    from 3 on, and $LISTEN_PID is its process id."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self.descriptors = [fcntl.fcntl(sock, fcntl.F_DUPFD, 100) for sock in sockets]  # clear of 3, 4, ...
        places = " ".join([f"{3 + place}<&{number} {number}<&-" for place, number in enumerate(self.descriptors)])
        script = f'LISTEN_PID=$$ exec "$@" {places}'
        self.argv = ["/bin/bash", "-c", script, "bash"]  # dash knows descriptors of one digit only

    def __enter__(self) -> Passed:
        return self

    def __exit__(self, *_: object) -> None:
        for number in self.descriptors:
            os.close(number)
