"""activation.py: what a process inherits by sd_listen_fds(3), tried in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from proxy.errors import ConfigError
from proxy.node import activation

from ..support.systemd import Passed

PROGRAM = """
import fcntl, os, sys
from proxy.node.activation import inherited
from proxy.errors import ConfigError
try:
    found = inherited(os.environ)
except ConfigError as error:
    print(*error.problems, sep="\\n")
    sys.exit(2)
for one in found:
    closed = fcntl.fcntl(one.sock, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    print(one.name, one.sock.fileno(), one.sock.getsockname()[1], bool(closed), one.sock.getblocking())
    one.sock.close()
print([key for key in os.environ if key.startswith("LISTEN_")])
"""


def run(sockets: list[socket.socket], **environ: str) -> tuple[int, list[str]]:
    """Exit code and lines of a program that has `sockets` from descriptor 3 on."""
    pid = environ.pop("LISTEN_PID", None)
    program = PROGRAM if pid is None else f"import os\nos.environ['LISTEN_PID'] = {pid!r}\n{PROGRAM}"
    with Passed(sockets) as passed:
        done = subprocess.run(
            [*passed.argv, sys.executable, "-W", "error", "-c", program],
            env={**os.environ, "LISTEN_FDS": str(len(sockets)), **environ},
            pass_fds=passed.descriptors, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
def server() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_sockets_with_their_names(server: socket.socket) -> None:
    with server, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [sock.getsockname()[1] for sock in (server, other)]
        code, said = run([server, other], LISTEN_FDNAMES="pop3:smtp")
    assert code == 0
    assert said == [f"pop3 3 {ports[0]} True False", f"smtp 4 {ports[1]} True False", "[]"]


def test_sockets_without_names(server: socket.socket) -> None:
    with server:
        assert run([server])[1][0].startswith("unknown 3 ")


@pytest.mark.parametrize("pid", ["1", "", "x"])
def test_sockets_for_another_process_are_not_ours(server: socket.socket, pid: str) -> None:
    """Nor do our children learn of them."""
    with server:
        assert run([server], LISTEN_PID=pid) == (0, ["[]"])


def test_none_is_no_error() -> None:
    assert run([], LISTEN_FDS="0") == (0, ["[]"])
    assert run([], LISTEN_FDS="") == (0, ["[]"])


@pytest.mark.parametrize("number", ["-1", "x", "1025", "²", "9" * 5000])
def test_a_number_that_is_none(number: str) -> None:
    code, said = run([], LISTEN_FDS=number)
    assert code == 2
    assert "is no number of sockets" in said[0]


def test_what_is_no_listening_tcp_socket_is_named_with_its_cure(server: socket.socket) -> None:
    with server, socket.create_connection(server.getsockname()) as client, socket.socket(type=socket.SOCK_DGRAM) as udp:
        code, said = run([server, client, udp], LISTEN_FDNAMES="pop3:accepted:dns", LISTEN_FDS="4")
    assert code == 2
    assert [line.partition(" is no")[0] for line in said] == [
        "descriptor 4 (accepted)",
        "descriptor 5 (dns)",
        "descriptor 6 (unknown)",
    ]
    assert all("Accept=no" in line for line in said)


def test_a_stream_of_sctp_is_no_tcp(server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Played, because few kernels have it."""

    class Sctp(socket.socket):
        proto = socket.IPPROTO_SCTP

    monkeypatch.setattr(activation.socket, "socket", Sctp)
    monkeypatch.setattr(activation, "FIRST", os.dup(server.fileno()))
    with server, pytest.raises(ConfigError) as failure:
        activation.inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
    assert "(family 2, type 1, protocol 132)" in failure.value.problems[0]
