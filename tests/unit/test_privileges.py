"""privileges.py: binding, and becoming somebody else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from proxy.errors import ConfigError
from proxy.privileges import become, bind_all

from ..support.configuration import loaded
from ..support.needs import need

if TYPE_CHECKING:
    from pathlib import Path


def test_every_address_of_every_listener(tmp_path: Path) -> None:
    text = """
[listener.smtp]
bind = ["127.0.0.1:0", "127.0.0.2:0"]
[listener.more]
protocol = "smtp"
bind = ["127.0.0.1:0"]
upstream = "smtp"
"""
    sockets = bind_all(loaded(tmp_path, text))
    try:
        assert [(name, sock.getsockname()[0]) for name, sock in sockets] == [
            ("smtp", "127.0.0.1"),
            ("smtp", "127.0.0.2"),
            ("more", "127.0.0.1"),
        ]
        for _, sock in sockets:
            assert not sock.getblocking()
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    finally:
        for _, sock in sockets:
            sock.close()


def test_N4_no_reuseport(tmp_path: Path) -> None:
    """Each worker's own queue would die with it."""
    ((_, sock),) = bind_all(loaded(tmp_path, ""))
    with sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0


def test_both_families_share_a_port(tmp_path: Path) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 here")
    problems = []
    for _ in range(20):  # another program may have that port on IPv4, in some tries
        ((_, first),) = bind_all(loaded(tmp_path, '[listener.smtp]\nbind = ["[::]:0"]\n'))
        with first:
            port = first.getsockname()[1]
            try:
                ((_, second),) = bind_all(loaded(tmp_path, f'[listener.smtp]\nbind = ["0.0.0.0:{port}"]\n'))
            except ConfigError as error:
                problems += error.problems
            else:
                second.close()
                return
    raise AssertionError(problems)


def test_all_that_can_t_be_bound_is_named_with_its_cure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            bind_all(loaded(tmp_path, f'[listener.smtp]\nbind = ["127.0.0.1:0", "127.0.0.1:{port}", "192.0.2.99:0"]\n'))
    in_use, foreign = caught.value.problems
    assert in_use.startswith(f"listener.smtp: can't listen on 127.0.0.1:{port}: Address already in use; `ss -ltnp`")
    assert foreign.startswith("listener.smtp: can't listen on 192.0.2.99:0: Cannot assign requested address; check")


def test_an_unknown_user_is_named() -> None:
    with pytest.raises(ConfigError, match="no user 'nobody-of-that-name'"):
        become("nobody-of-that-name")


def test_nobody_named_nobody_changed() -> None:
    before = os.getresuid()
    become("")
    assert os.getresuid() == before


IMPORTS = """
import os
from proxy.config.schema import Config, Endpoint, Listener
from proxy.errors import ConfigError
from proxy.privileges import become, bind_all
"""  # before it becomes nobody, to whom the virtual environment may be closed


def as_nobody(code: str) -> str:
    """What a program says that became nobody and then runs `code`."""
    need("root")
    program = f"{IMPORTS}become('nobody')\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_root_becomes_another_for_good() -> None:
    code = """
print(len(set(os.getresuid())), os.getuid() != 0, len(set(os.getresgid())), os.getgid() != 0, 0 not in os.getgroups())
try:
    os.setuid(0)
except PermissionError:
    print("never again")
become('nobody')
"""
    assert as_nobody(code).split("\n")[:2] == ["1 True 1 True True", "never again"]


def test_who_is_not_root_can_t_become_another() -> None:
    code = "try:\n    become('root')\nexcept ConfigError as error:\n    print(error)"
    assert "only root can become 'root'" in as_nobody(code)


def test_a_port_that_is_not_permitted_is_named_with_its_cure() -> None:
    code = """
try:
    bind_all(Config(listeners={"smtp": Listener("smtp", "smtp", (Endpoint("127.0.0.1", 25),))}))
except ConfigError as error:
    print(error)
else:
    print("permitted")
"""
    said = as_nobody(code)
    if said.startswith("permitted"):
        pytest.skip("here everybody may bind low ports")
    assert "listener.smtp: can't listen on 127.0.0.1:25: Permission denied" in said
    assert "CAP_NET_BIND_SERVICE" in said
