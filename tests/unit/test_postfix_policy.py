"""neighbours/postfix_policy.py and wire/postfix.py: what a Postfix asks, and what it is answered."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import Gate
from proxy.errors import ProtocolError
from proxy.gate.patience import Patience
from proxy.gate.policy import RelayPolicy
from proxy.leases.memory import MemoryStore
from proxy.neighbours.postfix_policy import PolicyService
from proxy.neighbours.query_server import Answer
from proxy.wire import postfix
from proxy.wire.address import packed

from ..support.clocks import FakeClock
from ..support.workshop import KeptLog

HOME, OTHER = packed("192.0.2.7"), packed("192.0.2.99")
ASKED = b"""request=smtpd_access_policy
protocol_state=RCPT
protocol_name=ESMTP
client_address=192.0.2.7
client_name=unknown
client_port=41298
reverse_client_name=unknown
server_address=192.0.2.25
server_port=25
helo_name=laptop
sender=alice@example.com
recipient=friend@example.org
recipient_count=0
queue_id=
instance=2d9b.6748a1c0.7e5d1.0
size=0
etrn_domain=
stress=
sasl_method=
sasl_username=
sasl_sender=
ccert_subject=
ccert_issuer=
ccert_fingerprint=
ccert_pubkey_fingerprint=
encryption_protocol=
encryption_cipher=
encryption_keysize=0
policy_context=
""".splitlines()
"""As Postfix 3.7 sends it."""


class Bench:
    def __init__(self, **rules: Any) -> None:
        self.clock, self.log = FakeClock(), KeptLog()
        self.store = MemoryStore(self.clock)
        self.store.grant(OTHER, "bob", "pop3", 1800.0, lambda _: None)
        gate = Gate(trusted_networks=("203.0.113.0/24",), local_domains=("example.com",), **rules)
        patience = Patience(self.store, self.clock.now, 10)
        self.service = PolicyService(
            RelayPolicy(gate, self.store, is_own=lambda address: False, patience=patience), self.log
        )

    def ask(self, **changes: str) -> bytes:
        answers: list[Answer] = []
        attributes = postfix.parse(ASKED) | changes
        lines = [f"{name}={value}".encode("utf-8", "surrogateescape") for name, value in attributes.items()]
        self.service.answer(lines, packed("127.0.0.1"), answers.append)
        (answer,) = answers
        assert not answer.last
        return answer.octets


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_no_lease_leaves_it_to_postfix(bench: Bench) -> None:
    assert bench.ask() == b"action=DUNNO\n\n"


def test_a_lease_permits_and_its_end_ends_that(bench: Bench) -> None:
    bench.store.grant(HOME, "alice", "pop3", 60.0, lambda _: None)
    assert bench.ask() == b"action=OK\n\n"
    assert bench.ask(client_address="192.0.2.8") == b"action=DUNNO\n\n"
    bench.clock.advance(60.0)
    assert bench.ask() == b"action=DUNNO\n\n"
    words = {"client": "192.0.2.7", "sender": "alice@example.com", "recipient": "friend@example.org"}
    assert bench.log.lines[0] == (
        "info",
        "postfix",
        "judged",
        words | {"verdict": "allow", "why": "lease of alice"},
    )
    assert [level for level, *_ in bench.log.lines] == ["info", "debug", "debug"]


def test_a_trusted_network_is_permitted(bench: Bench) -> None:
    assert bench.ask(client_address="203.0.113.5") == b"action=OK\n\n"


def test_G7_a_store_that_is_down_defers_what_would_be_refused_and_nothing_else(bench: Bench) -> None:
    bench.store.close()
    assert bench.ask().startswith(b"action=DEFER_IF_REJECT 4.3.0 ")


def test_G10_the_sender_is_judged_as_in_a_session() -> None:
    bench = Bench(sender="match")
    assert bench.ask(client_address="192.0.2.99", sender="bob@example.com") == b"action=OK\n\n"
    assert bench.ask(client_address="192.0.2.99", sender="alice@example.com") == b"action=DUNNO\n\n"


def test_G12_what_is_only_watched_is_not_permitted_elsewhere() -> None:
    """In mode "shadow" every client is let through here; another server must not relay for the world by that."""
    bench = Bench(mode="shadow")
    assert bench.ask() == b"action=DUNNO\n\n"
    assert bench.ask(client_address="192.0.2.99") == b"action=OK\n\n"
    bench.store.close()
    assert bench.ask(client_address="192.0.2.99") == b"action=DUNNO\n\n"


def test_G11_a_budget_that_is_spent_defers() -> None:
    bench = Bench(max_messages=1)
    bench.store.charge(OTHER, "bob", "pop3", 1, 1, 1800.0)
    assert bench.ask(client_address="192.0.2.99").startswith(b"action=DEFER_IF_REJECT ")


@pytest.mark.parametrize("address", ["unknown", "", "192.0.2.07", "fe80::1%eth0", "\udcff"])
def test_a_client_without_an_address_is_postfix_s_own_affair(bench: Bench, address: str) -> None:
    assert bench.ask(client_address=address) == b"action=DUNNO\n\n"


def test_an_ipv6_address_as_postfix_writes_it(bench: Bench) -> None:
    bench.store.grant(packed("2001:db8::7"), "alice", "pop3", 60.0, lambda _: None)
    assert bench.ask(client_address="2001:db8::7") == b"action=OK\n\n"
    bench.store.grant(HOME, "alice", "pop3", 60.0, lambda _: None)
    assert bench.ask(client_address="::ffff:192.0.2.7") == b"action=OK\n\n"


@pytest.mark.parametrize("lines", [[b"EHLO me"], [b"request=junk"], [b"client_address=192.0.2.7"], [b"request"]])
def test_what_is_no_request_ends_the_connection_unanswered(bench: Bench, lines: list[bytes]) -> None:
    for _ in range(2):
        answers: list[Any] = []
        bench.service.answer(lines, None, answers.append)
        assert answers == [Answer(b"", last=True)]
    assert len(bench.log.of("bad-request")) == 1


def test_everybody_who_can_connect_may_ask(bench: Bench) -> None:
    assert bench.service.allows(HOME)
    assert bench.service.allows(None)


def test_the_last_of_equal_names_counts_and_unknown_ones_are_taken() -> None:
    found = postfix.parse([b"request=smtpd_access_policy", b"new=1=2", b"sender=a", b"sender=b", b"recipient="])
    assert found == {"request": "smtpd_access_policy", "new": "1=2", "sender": "b", "recipient": ""}


@given(st.lists(st.one_of(st.binary(max_size=40), st.just(b"request=smtpd_access_policy")), max_size=5))
def test_any_lines_are_a_request_or_an_error(lines: list[bytes]) -> None:
    kinds = [line.partition(b"=")[2] for line in lines if line.partition(b"=")[0] == b"request"]
    is_request = all(b"=" in line for line in lines) and kinds[-1:] == [b"smtpd_access_policy"]
    try:
        assert postfix.parse(lines)
    except ProtocolError:
        assert not is_request
    else:
        assert is_request
