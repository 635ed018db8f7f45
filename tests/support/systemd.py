"""What systemd does for a service, without systemd: listens to sd_notify(3)."""

from __future__ import annotations

import socket


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

    def close(self) -> None:
        self.sock.close()
