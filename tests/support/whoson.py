"""whoson as others speak it, written from the protocol's description and the C programs' behaviour, not from proxy/.

`Libwhoson` is the C library's client, 1.08: a trailing space behind QUERY and LOGOUT, datagrams sent again after 100 ms
doubling, a kept stream connection, the reply cut at its first line.  `Whosond` is the C daemon with its weaknesses:
what would have crashed the real one is kept in `crashes`, where tests look.
"""

from __future__ import annotations

import select
import socket
import socketserver
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MAX = 511  # octets of a request or reply that the C programs can hold
TRIES = 5  # datagrams without an answer, until it gives up
KEPT_NAME = 128  # octets of a name that the C daemon keeps


class Libwhoson:
    """wso_login, wso_logout, wso_query: (0 yes, 1 no, -1 can't tell; the reply's text)."""

    def __init__(self, kind: str, address: tuple[str, int] | str) -> None:
        """kind: "udp", "tcp" or "unix"."""
        self.kind, self.address = kind, address
        self._kept: socket.socket | None = None

    def login(self, address: str, name: str) -> tuple[int, bytes]:
        return self.raw(b"LOGIN %s %s\r\n\r\n" % (address.encode(), name.encode()))

    def logout(self, address: str) -> tuple[int, bytes]:
        return self.raw(b"LOGOUT %s \r\n\r\n" % address.encode())

    def query(self, address: str) -> tuple[int, bytes]:
        return self.raw(b"QUERY %s \r\n\r\n" % address.encode())

    def raw(self, request: bytes) -> tuple[int, bytes]:
        reply = self._datagram(request) if self.kind == "udp" else self._stream(request)
        if reply is None:
            return -1, b""
        line = reply.split(b"\r")[0].split(b"\n")[0]
        return {b"+": 0, b"-": 1}.get(line[:1], -1), line[1:]

    def __enter__(self) -> Libwhoson:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """A later question connects anew."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _datagram(self, request: bytes) -> bytes | None:
        assert isinstance(self.address, tuple)
        family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            wait = 0.1
            for _ in range(TRIES):
                sock.sendto(request, self.address)
                end = time.monotonic() + wait
                while select.select([sock], [], [], max(0.0, end - time.monotonic()))[0]:
                    reply, source = sock.recvfrom(1023)
                    if source[0] == self.address[0]:  # the port is not looked at
                        return reply
                wait *= 2
        return None

    def _stream(self, request: bytes) -> bytes | None:
        for _ in range(3):
            try:
                sock = self._kept or self._connected()
                sock.sendall(request)
                reply = b""
                while not reply.endswith(b"\r\n\r\n"):
                    data = sock.recv(1023)
                    if not data:
                        raise ConnectionResetError
                    reply += data
                return reply
            except OSError:
                self.close()
        return None

    def _connected(self) -> socket.socket:
        family = socket.AF_UNIX if self.kind == "unix" else socket.AF_INET
        self._kept = sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(10.0)
        sock.connect(self.address)
        return sock


class Whosond:
    """The C daemon on UDP and TCP of one port each, and a unix socket if `path` names one.

    `records`: address to name, its lifetime left to tests; `requests`: all lines as they came; `crashes`: requests that
    would have ended the real one.  `mute` answers nothing; `answer`, if set, is what every request gets.
    """

    def __init__(self, path: str = "") -> None:
        self.records: dict[bytes, bytes] = {}
        self.requests: list[bytes] = []
        self.crashes: list[bytes] = []
        self.mute = False
        self.answer: bytes | None = None
        daemon = self

        class Datagram(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, sock = self.request
                reply = daemon.treat(data)
                if reply is not None:
                    sock.sendto(reply, self.client_address)

        class Stream(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                waiting = b""
                while data := self.request.recv(512):
                    waiting += data
                    while b"\r\n\r\n" in waiting:
                        request, _, waiting = waiting.partition(b"\r\n\r\n")
                        reply = daemon.treat(request + b"\r\n\r\n")
                        if reply is not None:
                            self.request.sendall(reply)

        self._servers: list[socketserver.BaseServer] = [
            socketserver.ThreadingUDPServer(("127.0.0.1", 0), Datagram),
            socketserver.ThreadingTCPServer(("127.0.0.1", 0), Stream),
        ]
        if path:
            self._servers.append(socketserver.ThreadingUnixStreamServer(path, Stream))
        for server in self._servers:
            server.daemon_threads = True  # type: ignore[attr-defined]
            server.block_on_close = False  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        udp, tcp = (server.server_address for server in self._servers[:2])  # type: ignore[attr-defined]
        self.udp = f"udp:127.0.0.1:{udp[1]}"
        self.tcp = f"tcp:127.0.0.1:{tcp[1]}"
        self.unix = f"unix:{path}"

    def __enter__(self) -> Whosond:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def treat(self, request: bytes) -> bytes | None:
        self.requests.append(request)
        if len(request) > MAX or not request.endswith(b"\r\n\r\n") or b"\0" in request:
            self.crashes.append(request)
            return None
        if self.mute:
            return None
        return self.answer if self.answer is not None else self._reply(request.split(b"\r\n")[0]) + b"\r\n\r\n"

    def _reply(self, line: bytes) -> bytes:
        verb, *words = line.split(None, 2)
        actions: dict[bytes, Callable[[list[bytes]], bytes]] = {
            b"LOGIN": self._login,
            b"LOGOUT": self._logout,
            b"QUERY": self._query,
        }
        action = actions.get(verb.upper())
        if action is None:
            return b"*Protocol error: no valid verb found"
        return action(words) if words else b"*" + verb.upper() + b" addr-spec required"

    def _login(self, words: list[bytes]) -> bytes:
        self.records[words[0]] = words[1][:KEPT_NAME] if len(words) > 1 else b""
        return b"+LOGIN OK"

    def _logout(self, words: list[bytes]) -> bytes:
        known = self.records.pop(words[0], None) is not None
        return b"+LOGOUT record deleted" if known else b"+LOGOUT no such record, nothing done"

    def _query(self, words: list[bytes]) -> bytes:
        if len(words) > 1:
            return b"*QUERY only one argument allowed"
        name = self.records.get(words[0])
        return b"-Not logged in" if name is None else b"+" + name
