"""neighbours/whoson_server.py: who may ask and say what, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxy.config.schema import Gate
from proxy.errors import StoreUnavailable
from proxy.gate.policy import RelayPolicy
from proxy.leases.memory import MemoryStore
from proxy.neighbours.whoson_server import WhosonServer
from proxy.wire.address import Networks, packed

from ..support.clocks import FakeClock
from ..support.gate import SlowStore
from ..support.workshop import KeptLog

if TYPE_CHECKING:
    from proxy.neighbours.query_server import Answer

ASKS, TELLS, NOBODY = packed("127.0.0.1"), packed("10.0.0.1"), packed("198.51.100.9")
HOME = packed("192.0.2.7")


class Nobody:
    """Others that must not be asked and not be told."""

    def ask(self, address: bytes, then: Any) -> None:
        raise AssertionError("a question was passed on")

    def tell(self, address: bytes, login: str) -> None:
        raise AssertionError("what others told us was told on")


class Bench:
    def __init__(self, store: Any = None, **rules: Any) -> None:
        self.clock, self.log = FakeClock(), KeptLog()
        self.store = MemoryStore(self.clock) if store is None else store
        gate = Gate(trusted_networks=("203.0.113.0/24",), never_lease=("192.0.2.66",), **rules)
        policy = RelayPolicy(gate, self.store, is_own=lambda address: False, others=Nobody())
        self.server = WhosonServer(policy, Networks(["127.0.0.0/8"]), Networks(["10.0.0.0/8"]), self.log)

    def ask(self, line: bytes, peer: bytes | None = None) -> bytes:
        answers: list[Answer] = []
        self.server.answer([line, b"x-extension: ignored"], peer, answers.append)
        (answer,) = answers
        assert answer.octets.endswith(b"\r\n\r\n")
        assert answer.last == (line == b"QUIT")
        return answer.octets[:-4]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_whole_story_in_the_c_daemon_s_words(bench: Bench) -> None:
    assert bench.ask(b"QUERY 192.0.2.7 ") == b"-Not logged in"
    assert bench.ask(b"LOGIN 192.0.2.7 alice") == b"+LOGIN OK"
    assert bench.ask(b"QUERY 192.0.2.7 ") == b"+alice"
    assert bench.ask(b"LOGOUT 192.0.2.7 ") == b"+LOGOUT record deleted"
    assert bench.ask(b"LOGOUT 192.0.2.7 ") == b"+LOGOUT no such record, nothing done"
    assert bench.ask(b"QUERY 192.0.2.7 ") == b"-Not logged in"
    assert bench.ask(b"QUIT") == b"+QUIT OK"


def test_G1_a_login_makes_a_lease_of_this_source_for_the_window(bench: Bench) -> None:
    bench.ask(b"LOGIN 192.0.2.7 alice", TELLS)
    leases: list[Any] = []
    bench.store.all(leases.extend)
    (lease,) = leases
    assert (lease.address, lease.login, lease.source, lease.left) == (HOME, "alice", "whoson", 1800.0)
    assert bench.log.lines == [
        ("info", "whoson", "leased", {"client": "192.0.2.7", "login": "alice", "by": "10.0.0.1", "seconds": 1800})
    ]
    bench.clock.advance(1800.0)
    assert bench.ask(b"QUERY 192.0.2.7") == b"-Not logged in"


def test_a_login_that_names_nobody_is_shown_as_ours(bench: Bench) -> None:
    bench.ask(b"LOGIN 192.0.2.7")
    assert bench.ask(b"QUERY 192.0.2.7") == b"+(whoson)"


def test_a_query_does_not_renew(bench: Bench) -> None:
    bench.ask(b"LOGIN 192.0.2.7 alice")
    bench.clock.advance(1799.0)
    assert bench.ask(b"QUERY 192.0.2.7") == b"+alice"
    bench.clock.advance(1.0)
    assert bench.ask(b"QUERY 192.0.2.7") == b"-Not logged in"


def test_pop_logins_are_told_and_a_logout_ends_them_too(bench: Bench) -> None:
    bench.store.grant(HOME, "bob", "pop3", 600.0, lambda _: None)
    bench.store.grant(HOME, "alice", "pop3", 60.0, lambda _: None)
    assert bench.ask(b"QUERY 192.0.2.7") == b"+bob"
    assert bench.ask(b"LOGOUT 192.0.2.7") == b"+LOGOUT record deleted"
    assert bench.ask(b"QUERY 192.0.2.7") == b"-Not logged in"
    assert bench.log.of("logged-out") == [{"client": "192.0.2.7", "leases": 2, "by": "unix"}]


def test_G3_no_lease_where_no_login_makes_one(bench: Bench) -> None:
    assert bench.ask(b"LOGIN 192.0.2.66 alice") == b"-LOGIN this address is not taken"
    assert bench.ask(b"LOGIN fe80::1 alice") == b"-LOGIN this address is not taken"
    assert bench.ask(b"QUERY 192.0.2.66") == b"-Not logged in"
    bench.ask(b"LOGIN 192.0.2.66 bob")
    assert [(level, words["why"]) for level, _, _, words in bench.log.lines] == [
        ("warning", "never_lease"),
        ("warning", "link-local address"),
        ("debug", "never_lease"),
    ]


def test_G3_no_more_logins_at_an_address_than_the_limit() -> None:
    bench = Bench(max_logins_per_address=1)
    assert bench.ask(b"LOGIN 192.0.2.7 alice") == b"+LOGIN OK"
    assert bench.ask(b"LOGIN 192.0.2.7 bob") == b"-LOGIN this address is not taken"
    assert bench.ask(b"LOGIN 192.0.2.7 alice") == b"+LOGIN OK"
    assert bench.log.of("no-lease")[0]["why"] == "max_logins_per_address"


def test_G13_no_relay_logins_hold_here_too() -> None:
    bench = Bench(no_relay_logins=("scanner",))
    assert bench.ask(b"LOGIN 192.0.2.7 Scanner") == b"-LOGIN this address is not taken"
    assert bench.ask(b"QUERY 192.0.2.7") == b"-Not logged in"


def test_G2_a_network_by_ipv6_prefix() -> None:
    bench = Bench(ipv6_prefix=64)
    bench.ask(b"LOGIN 2001:db8::1 alice")
    assert bench.ask(b"QUERY 2001:db8::2") == b"+alice"
    assert bench.ask(b"QUERY 2001:db8:0:1::1") == b"-Not logged in"
    assert bench.ask(b"LOGOUT 2001:db8::3") == b"+LOGOUT record deleted"


def test_a_trusted_network_is_nobody_s_login(bench: Bench) -> None:
    assert bench.ask(b"QUERY 203.0.113.5") == b"-Not logged in"


@pytest.mark.parametrize(
    ("peer", "line", "denied"),
    [
        (ASKS, b"QUERY 192.0.2.7", False),
        (ASKS, b"LOGIN 192.0.2.7 alice", True),
        (ASKS, b"LOGOUT 192.0.2.7", True),
        (TELLS, b"QUERY 192.0.2.7", True),
        (TELLS, b"LOGIN 192.0.2.7 alice", False),
        (TELLS, b"LOGOUT 192.0.2.7", False),
        (None, b"QUERY 192.0.2.7", False),
        (None, b"LOGIN 192.0.2.7 alice", False),
    ],
)
def test_who_may_say_what(bench: Bench, peer: bytes | None, line: bytes, denied: bool) -> None:
    assert (bench.ask(line, peer) == b"*Access denied") is denied


def test_strangers_are_not_welcome(bench: Bench) -> None:
    assert [bench.server.allows(peer) for peer in (ASKS, TELLS, None, NOBODY)] == [True, True, True, False]


@pytest.mark.parametrize("line", [b"", b"LIST", b"LOGIN", b"QUERY not-an-address", b"\xff\x00"])
def test_what_is_no_request_is_answered_with_an_error(bench: Bench, line: bytes) -> None:
    assert bench.ask(line).startswith(b"*")
    assert bench.log.lines == []


def test_G7_a_store_that_is_down_can_t_tell() -> None:
    class Down(MemoryStore):
        def revoke(self, address: Any, login: Any, then: Any) -> None:
            then(StoreUnavailable("busy"))

    bench = Bench(Down(FakeClock()))
    bench.store.close()
    for line in (b"QUERY 192.0.2.7", b"LOGIN 192.0.2.7 alice", b"LOGOUT 192.0.2.7"):
        assert bench.ask(line) == b"*Can't tell now, try again later"
    assert bench.log.of("not-leased")[0]["login"] == "alice"


def test_the_answer_to_a_login_waits_for_the_store() -> None:
    store = SlowStore()
    bench = Bench(store)
    answers: list[Answer] = []
    bench.server.answer([b"LOGIN 192.0.2.7 alice"], None, answers.append)
    assert answers == []
    store.grants[0][4](None)
    assert [answer.octets for answer in answers] == [b"+LOGIN OK\r\n\r\n"]
