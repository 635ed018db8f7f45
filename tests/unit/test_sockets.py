"""sockets.py: what is bound, what systemd gave, and whose it is."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from proxy.errors import ConfigError
from proxy.node.activation import Inherited
from proxy.node.sockets import bind_all

from ..support.configuration import loaded
from ..support.needs import need
from ..support.nobody import as_nobody

if TYPE_CHECKING:
    from collections.abc import Iterator
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
        assert [(one.listener, one.address()[0]) for one in sockets] == [
            ("smtp", "127.0.0.1"),
            ("smtp", "127.0.0.2"),
            ("more", "127.0.0.1"),
        ]
        for sock in [one.sock for one in sockets]:
            assert not sock.getblocking()
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    finally:
        for one in sockets:
            one.sock.close()


def test_N4_no_reuseport(tmp_path: Path) -> None:
    """Each worker's own queue would die with it."""
    (one,) = bind_all(loaded(tmp_path, ""))
    with one.sock:
        assert one.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
        assert not one.kept


def test_both_families_share_a_port(tmp_path: Path) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 here")
    problems = []
    for _ in range(20):  # another program may have that port on IPv4, in some tries
        (first,) = bind_all(loaded(tmp_path, '[listener.smtp]\nbind = ["[::]:0"]\n'))
        with first.sock:
            port = first.address()[1]
            try:
                (second,) = bind_all(loaded(tmp_path, f'[listener.smtp]\nbind = ["0.0.0.0:{port}"]\n'))
            except ConfigError as error:
                problems += error.problems
            else:
                second.sock.close()
                return
    raise AssertionError(problems)


def test_all_that_can_t_be_bound_is_named_with_its_cure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            bind_all(loaded(tmp_path, f'[listener.smtp]\nbind = ["127.0.0.1:0", "127.0.0.1:{port}", "192.0.2.99:0"]\n'))
    in_use, foreign = caught.value.problems
    assert in_use.startswith(f"listener.smtp: can't listen on 127.0.0.1:{port}: Address already in use; `ss -lntup`")
    assert foreign.startswith("listener.smtp: can't listen on 192.0.2.99:0: Cannot assign requested address; check")


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


# --- from systemd


class Givers:
    """Listening sockets as systemd would make them."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []

    def give(self, name: str, address: tuple[str, int] = ("127.0.0.1", 0)) -> Inherited:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sockets.append(socket.create_server(address, family=family))
        return Inherited(name, self.sockets[-1])

    def given_for_nothing(self, folder: Path, text: str, *given: Inherited) -> list[str]:
        """The problems; all sockets are closed then."""
        with pytest.raises(ConfigError) as caught:
            bind_all(loaded(folder, text), given)
        assert all(one.sock.fileno() == -1 for one in given)
        return caught.value.problems


@pytest.fixture
def givers() -> Iterator[Givers]:
    made = Givers()
    yield made
    for sock in made.sockets:
        sock.close()


def test_N4_a_socket_takes_the_place_of_the_bind_with_its_address(tmp_path: Path, givers: Givers) -> None:
    given = givers.give("popgate.socket")
    port = given.sock.getsockname()[1]
    text = f'[listener.smtp]\nbind = ["127.0.0.1:0", "127.0.0.1:{port}", "127.0.0.2:{port}"]\n'
    first, second, third = bind_all(loaded(tmp_path, text), [given])
    with first.sock, third.sock:
        assert second.sock is given.sock
        assert [one.kept for one in (first, second, third)] == [False, True, False]
        assert third.address() == ("127.0.0.2", port)
        assert given.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert given.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_N4_addresses_are_compared_as_such_not_as_texts(tmp_path: Path, givers: Givers) -> None:
    try:
        given = givers.give("popgate.socket", ("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    port = given.sock.getsockname()[1]
    (one,) = bind_all(loaded(tmp_path, f'[listener.smtp]\nbind = ["[0:0:0:0::1]:{port}"]\n'), [given])
    assert one.kept
    assert str(one) == f"[::1]:{port}"


def test_N4_sockets_of_a_listener_s_name_are_its_own_wherever_they_listen(tmp_path: Path, givers: Givers) -> None:
    first, second = givers.give("smtp"), givers.give("smtp", ("127.0.0.2", 0))
    found = bind_all(loaded(tmp_path, '[listener.smtp]\nbind = ["192.0.2.99:25"]\n'), [first, second])
    assert [(one.listener, one.sock, one.kept) for one in found] == [
        ("smtp", first.sock, True),
        ("smtp", second.sock, True),
    ]


def test_N4_a_listener_without_one_binds_itself(tmp_path: Path, givers: Givers) -> None:
    text = '[listener.more]\nprotocol = "smtp"\nupstream = "smtp"\nbind = ["127.0.0.1:0"]\n'
    found = {one.listener: one for one in bind_all(loaded(tmp_path, text), [givers.give("more")])}
    with found["smtp"].sock:
        assert {name: one.kept for name, one in found.items()} == {"smtp": False, "more": True}


def test_N4_what_no_listener_wants_is_named_with_its_cure(tmp_path: Path, givers: Givers) -> None:
    given = givers.give("popgate.socket")
    place = f"127.0.0.1:{given.sock.getsockname()[1]}"
    (problem,) = givers.given_for_nothing(tmp_path, "", given)
    assert problem.startswith(f"systemd passes a socket on {place} (named popgate.socket), and no listener wants it")
    assert f'FileDescriptorName= smtp, or a listener bind = ["{place}"]' in problem


def test_N4_two_on_one_address_are_one_too_many(tmp_path: Path, givers: Givers) -> None:
    given = givers.give("popgate.socket")
    twin = Inherited("popgate.socket", given.sock.dup())
    port = given.sock.getsockname()[1]
    problems = givers.given_for_nothing(tmp_path, f'[listener.smtp]\nbind = ["127.0.0.1:{port}"]\n', given, twin)
    assert len(problems) == 1


def test_N4_one_that_has_another_listener_s_name_is_not_taken_by_address(tmp_path: Path, givers: Givers) -> None:
    given = givers.give("smtp")
    port = given.sock.getsockname()[1]
    text = f"""
[listener.more]
protocol = "smtp"
upstream = "smtp"
bind = ["127.0.0.1:{port}"]
"""
    with pytest.raises(ConfigError, match=f"listener.more: can't listen on 127.0.0.1:{port}: Address already in use"):
        bind_all(loaded(tmp_path, text), [given])


def test_a_transparent_listener_may_bind_what_is_not_ours(tmp_path: Path) -> None:
    need("root")
    text = '[listener.smtp]\ntransparent = true\nbind = ["192.0.2.10:0", "[2001:db8::10]:0"]\n'
    sockets = bind_all(loaded(tmp_path, text))
    assert [one.address()[0] for one in sockets] == ["192.0.2.10", "2001:db8::10"]
    for one in sockets:
        one.sock.close()


def test_a_transparent_listener_without_the_right_to_it() -> None:
    code = """
try:
    bind_all(Config(listeners={"smtp": Listener("smtp", "smtp", (Endpoint("127.0.0.1", 0),), transparent=True)}))
except ConfigError as error:
    print(error)
"""
    said = as_nobody(code)
    assert "listener.smtp: can't listen on 127.0.0.1:0: Operation not permitted; it takes root" in said
    assert "CAP_NET_RAW" in said


def test_a_transparent_listener_takes_what_systemd_made(tmp_path: Path) -> None:
    """With Transparent=yes; without it the right is needed."""
    need("root")
    config = loaded(tmp_path, "[listener.smtp]\ntransparent = true\n")
    sock = socket.create_server(("127.0.0.1", 0))
    (one,) = bind_all(config, [Inherited("smtp", sock)])
    with one.sock:
        assert one.sock.getsockopt(socket.IPPROTO_IP, 19)
    code = """
from proxy.node.activation import Inherited
sock = socket.create_server(("127.0.0.1", 0))
listener = Listener("smtp", "smtp", (Endpoint("127.0.0.1", 0),), transparent=True)
try:
    bind_all(Config(listeners={"smtp": listener}), [Inherited("smtp", sock)])
except ConfigError as error:
    print(error)
"""
    assert "listener.smtp: transparent = true needs Transparent=yes" in as_nobody(code)
