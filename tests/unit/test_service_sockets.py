"""node/service_sockets.py and node/unix.py: the sockets where other servers ask."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from proxy.errors import ConfigError
from proxy.node.service_sockets import bind_paths, bind_ports
from proxy.node.unix import listen

from ..support.configuration import loaded

if TYPE_CHECKING:
    from pathlib import Path

PORTS = """
[whoson]
listen = ["udp:127.0.0.1:0", "tcp:127.0.0.1:0", "unix:{folder}/whoson.sock"]
[postfix]
policy = "{policy}"
"""


def test_ports_are_bound_first_and_paths_apart(tmp_path: Path) -> None:
    config = loaded(tmp_path, PORTS.format(folder=tmp_path, policy="127.0.0.1:0"))
    ports, paths = bind_ports(config), bind_paths(config)
    try:
        assert [one.name for one in ports] == ["whoson.listen", "whoson.listen", "postfix.policy"]
        assert [one.sock.type for one in ports] == [socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_STREAM]
        assert str(ports[0]).startswith("udp:127.0.0.1:")
        assert str(ports[1]) == f"127.0.0.1:{ports[1].sock.getsockname()[1]}"
        assert [(one.name, str(one)) for one in paths] == [("whoson.listen", f"unix:{tmp_path}/whoson.sock")]
        for one in [*ports, *paths]:
            assert not one.sock.getblocking()
            if one.sock.type == socket.SOCK_STREAM:
                assert one.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            elif one.sock.type == socket.SOCK_DGRAM:
                assert one.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
    finally:
        for one in [*ports, *paths]:
            one.sock.close()


def test_who_may_open_a_unix_socket(tmp_path: Path) -> None:
    """LOGIN opens the gate; Postfix only asks, and runs as another user."""
    config = loaded(tmp_path, PORTS.format(folder=tmp_path, policy=f"unix:{tmp_path}/policy.sock"))
    before = os.umask(0o022)
    try:
        for one in bind_paths(config):
            one.sock.close()
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "whoson.sock").stat().st_mode) == 0o660
    assert stat.S_IMODE((tmp_path / "policy.sock").stat().st_mode) == 0o666


def test_all_that_can_t_be_bound_is_named_with_its_cure(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.create_server(("127.0.0.1", 0)) as tcp:
        udp.bind(("127.0.0.1", 0))
        text = f"""
[whoson]
listen = ["udp:127.0.0.1:0", "udp:127.0.0.1:{udp.getsockname()[1]}", "tcp:192.0.2.99:9876"]
[postfix]
policy = "127.0.0.1:{tcp.getsockname()[1]}"
"""
        with pytest.raises(ConfigError) as caught:
            bind_ports(loaded(tmp_path, text))
    in_use, foreign, policy = caught.value.problems
    assert in_use.startswith("whoson.listen: can't listen on udp:127.0.0.1:")
    assert in_use.endswith("Address already in use; `ss -lntup` shows who has it")
    assert foreign.startswith("whoson.listen: can't listen on tcp:192.0.2.99:9876: Cannot assign requested address")
    assert policy.startswith("postfix.policy: can't listen on 127.0.0.1:")


def test_a_path_that_can_t_be_made_is_named_and_the_others_let_go(tmp_path: Path) -> None:
    (tmp_path / "policy.sock").write_text("mine")
    config = loaded(tmp_path, PORTS.format(folder=tmp_path, policy=f"unix:{tmp_path}/policy.sock"))
    with pytest.raises(ConfigError, match=r"postfix.policy: can't make .*: a file that is no socket is there"):
        bind_paths(config)
    assert (tmp_path / "policy.sock").read_text() == "mine"
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(str(tmp_path / "whoson.sock"))


def test_a_socket_that_nobody_serves_any_more_is_replaced_and_one_that_is_served_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listen("whoson.listen", path, 0o660, 1).close()
    with (
        listen("whoson.listen", path, 0o660, 1),
        pytest.raises(ConfigError, match=r"whoson.listen: a popgate is running already at .*/s"),
    ):
        listen("whoson.listen", path, 0o660, 1)
    with pytest.raises(ConfigError, match="check the folder"):
        listen("whoson.listen", tmp_path / "none" / "s", 0o660, 1)
