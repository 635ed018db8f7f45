"""net/upstream/upstream.py: the addresses of a server, and dialling."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from proxy.config import endpoint
from proxy.errors import UpstreamUnavailable
from proxy.net.tls.contexts import upstream_context
from proxy.net.upstream import upstream
from proxy.net.upstream.announcement import Announcing
from proxy.net.upstream.upstream import ORIGINAL, REMEMBER, Address, Server, Upstream, dial
from proxy.session.upstream.opening import PopOpening, SmtpOpening
from proxy.wire.address import packed

from ..support.workshop import Workshop, refused_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def made(*servers: Server, is_ours: Callable[[str, int], bool] = lambda host, port: False, **words: Any) -> Upstream:
    given = {"protocol": "smtp", "tls": None, "implicit": False, "connect_timeout": 10.0, **words}
    return Upstream("up", given.pop("protocol"), servers, is_ours=is_ours, **given)


def ask(workshop: Workshop, upstream: Upstream) -> list[Address]:
    answers: list[list[Address]] = []
    workshop.run(lambda: upstream.addresses(answers.append))
    workshop.until(lambda: answers)
    assert len(answers) == 1
    return answers[0]


class Names:
    """A resolver: what it was asked, and what it answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **known: list[str]) -> None:
        self.known = {name.replace("_", "."): addresses for name, addresses in known.items()}
        self.asked: list[str] = []
        monkeypatch.setattr(socket, "getaddrinfo", self.answer)

    def answer(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        if host not in self.known:
            raise socket.gaierror(-2, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.known[host]]


def targets(addresses: list[Address]) -> list[Any]:
    return [address.target for address in addresses]


@pytest.mark.parametrize(
    ("server", "text"),
    [
        (Server("192.0.2.1", 25), "192.0.2.1:25"),
        (Server("2001:db8::1", 25), "[2001:db8::1]:25"),
        (Server("mail.test", 110), "mail.test:110"),
        (Server("", 0, "/run/up"), "unix:/run/up"),
    ],
)
def test_a_server_is_shown_as_configured(server: Server, text: str) -> None:
    assert str(server) == text


def test_literal_addresses_are_known_at_once_and_in_order(workshop: Workshop) -> None:
    upstream = made(Server("192.0.2.1", 25), Server("", 0, "/run/up"), Server("2001:db8::1", 26))
    answers: list[list[Address]] = []
    workshop.run(lambda: upstream.addresses(answers.append))
    assert len(answers) == 1, "before the method returned"
    assert [address.shown for address in answers[0]] == ["192.0.2.1:25", "unix:/run/up", "[2001:db8::1]:26"]
    assert [address.host for address in answers[0]] == ["192.0.2.1", "", "2001:db8::1"]
    assert str(upstream) == "up"


def test_a_name_is_looked_up_and_believed_for_a_minute(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, mail_test=["192.0.2.1", "192.0.2.2"])
    upstream = made(Server("mail.test", 25))
    assert names.asked == []
    assert targets(ask(workshop, upstream)) == [("192.0.2.1", 25), ("192.0.2.2", 25)]
    assert ask(workshop, upstream)[0].host == "mail.test"
    assert len(names.asked) == 1
    names.known["mail.test"] = ["192.0.2.3"]
    upstream._until -= REMEMBER + 1
    assert targets(ask(workshop, upstream)) == [("192.0.2.3", 25)]


def test_a_look_up_that_fails_later_keeps_the_old_addresses(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch, mail_test=["192.0.2.1"])
    upstream = made(Server("mail.test", 25))
    ask(workshop, upstream)
    names.known.clear()
    upstream._until -= REMEMBER + 1
    assert targets(ask(workshop, upstream)) == [("192.0.2.1", 25)]


def test_one_bad_name_does_not_hide_the_other_servers(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, b_test=["192.0.2.2"])
    assert targets(ask(workshop, made(Server("a.test", 25), Server("b.test", 25)))) == [("192.0.2.2", 25)]


def test_nothing_resolves_is_an_empty_list(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch)
    assert ask(workshop, made(Server("a.test", 25))) == []


def test_N10_an_address_of_our_own_is_never_dialled(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, mail_test=["192.0.2.1", "192.0.2.2"], l_192_0_2_1=[])

    def ours(host: str, port: int) -> bool:
        return (host, port) == ("192.0.2.1", 25)

    assert targets(ask(workshop, made(Server("mail.test", 25), is_ours=ours))) == [("192.0.2.2", 25)]
    assert len(ask(workshop, made(Server("mail.test", 26), is_ours=ours))) == 2


def test_an_opening_only_where_tls_is_asked_for() -> None:
    tls = upstream_context(tls_verify=False)
    assert made(Server("192.0.2.1", 25)).opening() is None
    assert made(Server("192.0.2.1", 25), tls=tls, implicit=True).opening() is None
    assert isinstance(made(Server("192.0.2.1", 25), tls=tls).opening(), SmtpOpening)
    assert isinstance(made(Server("192.0.2.1", 25), tls=tls, protocol="pop3").opening(), PopOpening)


def address(target: Any, family: int = socket.AF_INET) -> Address:
    return Address(family, target, "", "")


def test_N2_dialling_does_not_wait_and_sets_nodelay(workshop: Workshop) -> None:
    server = workshop.server()
    sock = workshop.keep(dial(address(server.getsockname())))
    assert sock.getblocking() is False
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert workshop.accepted(server)


@pytest.mark.parametrize(
    ("source", "foreign", "bound"),
    [("127.0.0.1", True, False), ("127.0.0.1", False, True), ("192.0.2.7", True, True), ("192.0.2.7", False, True)],
)
def test_a_client_on_this_machine_comes_from_its_address(
    monkeypatch: pytest.MonkeyPatch, source: str, foreign: bool, bound: bool
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(upstream, "make_transparent", lambda _: None)
    monkeypatch.setattr(socket.socket, "bind", lambda _, name: asked.append(name))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: None)
    dial(address(("203.0.113.9", 25)), source, foreign=foreign).close()
    assert asked == ([(source, 0)] if bound else [])


def test_dialling_what_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(UpstreamUnavailable, match="No such file"):
        dial(address(str(tmp_path / "none"), socket.AF_UNIX))
    with pytest.raises(UpstreamUnavailable):
        dial(address(("255.255.255.255", refused_port())))


def test_dialling_without_a_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", full)
    with pytest.raises(UpstreamUnavailable, match="Too many open files"):
        dial(address(("192.0.2.1", 25)))


# Where the client wanted to go

CLIENT, WANTED = (packed("192.0.2.7"), 40000), (packed("198.51.100.1"), 25)


def test_where_the_client_wanted_to_go() -> None:
    upstream = made(ORIGINAL)
    assert upstream.is_original
    [found] = upstream.original(CLIENT, WANTED)
    assert found == Address(socket.AF_INET, ("198.51.100.1", 25), "198.51.100.1", "198.51.100.1:25")
    [found] = upstream.original(CLIENT, (packed("2001:db8::1"), 25))
    assert (found.family, found.target, found.shown) == (socket.AF_INET6, ("2001:db8::1", 25), "[2001:db8::1]:25")


@pytest.mark.parametrize(
    ("client", "wanted"),
    [
        (CLIENT, (packed("127.0.0.1"), 25)),
        ((packed("127.0.0.5"), 40000), WANTED),
        (CLIENT, (packed("203.0.113.9"), 25)),
    ],
)
def test_N10_to_this_machine_or_from_it_is_a_loop(client: Any, wanted: Any) -> None:
    upstream = made(ORIGINAL, is_ours=lambda host, port: (host, port) == ("203.0.113.9", 25))
    with pytest.raises(UpstreamUnavailable, match="this machine: a loop"):
        upstream.original(client, wanted)


def test_places_of_literals_are_known_and_those_of_names_are_not(tmp_path: Path) -> None:
    there, socket_ = Server("192.0.2.1", 25), Server("", 0, str(tmp_path / "sock"))
    upstream = made(there, Server("192.0.2.2", 25), socket_, is_ours=lambda host, port: host == "192.0.2.2")
    assert upstream.fixed_addresses is not None
    assert {server: targets(addresses) for server, addresses in upstream.fixed_addresses.items()} == {
        0: [("192.0.2.1", 25)],
        2: [socket_.path],
    }
    assert made(there, Server("mail.example", 25)).fixed_addresses is None
    assert made(ORIGINAL).fixed_addresses is None


def test_plain_is_what_shows_nothing_and_says_nothing_before_the_session(tmp_path: Path) -> None:
    assert made(Server("192.0.2.1", 25)).is_plain
    for announcing in (
        Announcing(proxy="v1"),
        Announcing(xclient=True),
        Announcing(source=endpoint.CLIENT),
        Announcing(source="192.0.2.9"),
    ):
        assert not made(Server("192.0.2.1", 25), announcing=announcing).is_plain
    tls = upstream_context(tls_verify=False)
    for implicit in (True, False):
        assert not made(Server("192.0.2.1", 25), tls=tls, implicit=implicit).is_plain


@pytest.mark.parametrize(
    ("announcing", "wants"),
    [
        (Announcing(), False), (Announcing(source="192.0.2.9"), False), (Announcing(proxy="v2"), True),
        (Announcing(xclient=True), True), (Announcing(source=endpoint.CLIENT), True),
    ],
)  # fmt: skip
def test_where_the_client_is_matters_where_it_is_shown(announcing: Announcing, wants: bool) -> None:
    assert made(Server("192.0.2.1", 25), announcing=announcing).wants_ends is wants
    assert made(ORIGINAL, announcing=announcing).wants_ends
