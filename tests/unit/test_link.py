"""net/link/link.py: one link with real sockets on both sides; leases, limits, flow and ends."""

from __future__ import annotations

import contextlib
import gc
import socket
from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import StoreUnavailable
from proxy.leases.base import Lease
from proxy.leases.memory import MemoryStore
from proxy.net.link.link import Link
from proxy.net.sockets.leg import Leg
from proxy.net.sockets.splice import MOST
from proxy.net.upstream.upstream import Server
from proxy.session.contract import Wait
from proxy.wire.address import packed

from ..support.gate import CLIENT, WAITS, Gate, SlowStore
from ..support.workshop import Peer, Workshop, refused_port

if TYPE_CHECKING:
    from collections.abc import Callable

FOREIGN = b"RCPT TO:<x@far.test>\r\n"


@pytest.fixture
def pop(workshop: Workshop) -> Gate:
    return Gate(workshop, "pop3")


@pytest.fixture
def slow(workshop: Workshop) -> tuple[Gate, SlowStore]:
    store = SlowStore()
    return Gate(workshop, "pop3", store=store), store


@pytest.fixture
def smtp(workshop: Workshop) -> Gate:
    return Gate(workshop, "smtp")


def grant(gate: Gate, seconds: float, address: str = CLIENT) -> None:
    gate.workshop.run(lambda: gate.store.grant(packed(address), "anna", "pop3", seconds, lambda problem: None))


# The lease


def test_G5_the_lease_is_in_the_store_before_the_client_sees_ok(slow: tuple[Gate, SlowStore]) -> None:
    gate, store = slow
    client, _ = gate.greet()
    gate.log_in()
    gate.until(lambda: store.grants)
    address, login, source, window, then = store.grants[0]
    assert (address, login, source, window) == (packed(CLIENT), "anna", "pop3", 1800.0)
    gate.workshop.rest(0.02)
    assert client.look()[client.told :] == b"", "held"
    gate.workshop.run(lambda: then(1))
    gate.gets(client, b"+OK logged in\r\n")
    assert gate.leased == ["anna"]
    assert gate.workshop.log.of("leased")[0]["login"] == "anna"


def test_a_login_and_a_relayed_message_are_noted_for_the_report(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.greet()
    gate.log_in()
    gate.gets(gate.client, b"+OK logged in\r\n")
    assert [(one.login, one.protocol, one.need) for one in gate.notes.take()] == [("anna", "pop3", "clear")]


@pytest.mark.parametrize(
    ("rules", "never", "noted"),
    [
        ({"no_relay_logins": ("anna",)}, [], ["clear", "no lease: no_relay_logins"]),
        ({"no_relay_logins": ("anna",)}, [CLIENT], ["clear"]),
    ],
    ids=["the login's reason", "the address's reason"],
)
def test_G13_a_login_that_made_no_lease_is_noted_for_why(
    workshop: Workshop, rules: dict[str, tuple[str, ...]], never: list[str], noted: list[str]
) -> None:
    """Not if any login from there makes none: a balancer without its header would fill the store with them."""
    gate = Gate(workshop, "pop3")
    gate.rules, gate.never = {**rules}, never
    gate.greet()
    gate.log_in()
    gate.gets(gate.client, b"+OK logged in\r\n")
    assert [one.need for one in gate.notes.take()] == noted


@pytest.mark.parametrize(
    ("trusted", "reply", "noted"),
    [
        (False, b"250 queued", [("anna", "lease"), ("anna", "clear")]),
        (True, b"250 queued", [("", "clear")]),
        (False, b"552 too big", []),
    ],
)
def test_what_lets_a_message_relay_is_noted_for_the_report(
    workshop: Workshop, trusted: bool, reply: bytes, noted: list[tuple[str, str]]
) -> None:
    gate = Gate(workshop, "smtp")
    gate.trusted = [CLIENT] if trusted else []
    grant(gate, 1800.0)
    gate.greet()
    gate.say_ehlo()
    gate.start_mail()
    gate.talk(
        ("C", b"RCPT TO:<v@far.test>\r\n"), (">U", b"RCPT TO:<v@far.test>\r\n"),
        ("U", b"250 ok\r\n"), (">C", b"250 ok\r\n"),
        ("C", b"DATA\r\n"), (">U", b"DATA\r\n"), ("U", b"354 go\r\n"), (">C", b"354 go\r\n"),
        ("C", b"x\r\n.\r\n"), (">U", b"x\r\n.\r\n"), ("U", reply + b"\r\n"), (">C", reply + b"\r\n"),
    )  # fmt: skip
    assert [(one.login, one.need) for one in gate.notes.take()] == noted


def test_G5_store_down_the_ok_goes_out_after_its_timeout_and_says_so_in_the_log(slow: tuple[Gate, SlowStore]) -> None:
    gate, store = slow
    client, _ = gate.greet()
    gate.log_in()
    gate.until(lambda: store.grants)
    gate.workshop.run(lambda: store.grants[0][4](StoreUnavailable("busy")))
    gate.gets(client, b"+OK logged in\r\n")
    assert gate.leased == ["anna"], "the store writes it late, and then it is renewed (G4)"
    assert gate.workshop.log.of("not-leased") == [{"client": CLIENT, "id": "1-1", "login": "anna", "why": "busy"}]


def test_G5_a_client_that_leaves_while_its_ok_is_held_still_has_its_lease(slow: tuple[Gate, SlowStore]) -> None:
    gate, store = slow
    client, up = gate.greet()
    gate.log_in()
    gate.until(lambda: store.grants)
    client.close()
    gate.workshop.turns(10)
    gate.workshop.run(lambda: store.grants[0][4](1))
    gate.until(up.ended)
    up.close()
    gate.end()
    assert gate.workshop.log.of("leased")


def test_G5_reset_while_the_ok_is_held_and_the_answer_after_the_end(slow: tuple[Gate, SlowStore]) -> None:
    gate, store = slow
    client, up = gate.greet()
    gate.log_in()
    gate.until(lambda: store.grants)
    client.abort()
    up.abort()
    gate.workshop.rest(0.02)
    gate.workshop.run(lambda: store.grants[0][4](1))
    gate.workshop.advance(5.0)
    gate.end()


def test_P4_octets_behind_password_and_ok_keep_their_order(slow: tuple[Gate, SlowStore]) -> None:
    gate, store = slow
    client, up = gate.greet()
    gate.talk(("C", b"USER a\r\n"), (">U", b"USER a\r\n"), ("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
    gate.talk(("C", b"PASS x\r\nSTAT\r\nLI"), (">U", b"PASS x\r\n"), ("U", b"+OK in\r\n* later"))
    gate.until(lambda: store.grants)
    client.send(b"ST\r\n")
    up.send(b" and more\r\n")
    gate.workshop.rest(0.02)
    gate.workshop.run(lambda: store.grants[0][4](1))
    gate.gets(client, b"+OK in\r\n* later and more\r\n")
    gate.gets(up, b"STAT\r\nLIST\r\n")


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_G3_never_lease_gives_mail_but_no_lease_and_a_warning(slow: tuple[Gate, SlowStore], address: str) -> None:
    gate, store = slow
    gate.never = ["192.0.2.0/24", "2001:db8::/32"]
    gate.open(address)
    gate.up = gate.accepted()
    gate.talk(("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
    gate.log_in()
    gate.gets(gate.client, b"+OK logged in\r\n")
    assert store.grants == []
    assert gate.workshop.log.of("no-lease")[0]["why"] == "never_lease"
    assert gate.workshop.log.level_of("no-lease") == "warning"


def test_G3_own_address_gives_no_lease(slow: tuple[Gate, SlowStore]) -> None:
    gate, store = slow
    gate.own = lambda address: address == packed(CLIENT)
    gate.greet()
    gate.log_in()
    gate.gets(gate.client, b"+OK logged in\r\n")
    assert store.grants == []
    assert gate.workshop.log.of("no-lease")[0]["why"] == "own address"


def test_G2_a_login_over_a_mapped_address_opens_the_gate_for_ipv4(workshop: Workshop) -> None:
    store = MemoryStore(workshop.clock)
    pop, smtp = Gate(workshop, "pop3", store=store), Gate(workshop, "smtp", store=store)
    pop.open("::ffff:192.0.2.7")
    pop.up = pop.accepted()
    pop.talk(("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
    pop.log_in()
    pop.gets(pop.client, b"+OK logged in\r\n")
    smtp.greet()
    smtp.say_ehlo()
    smtp.start_mail()
    smtp.talk(("C", FOREIGN), (">U", FOREIGN))


# The audit trail


@pytest.mark.parametrize("reply", [b"250 queued as 1A", b"552 too big"])
def test_N11_G11_a_client_that_resets_behind_its_message_is_logged_and_charged(
    workshop: Workshop, reply: bytes
) -> None:
    """Else a user could send without a trace, and without an end, by leaving rudely."""
    store = SlowStore()
    gate = Gate(workshop, "smtp", store=store)
    gate.rules = {"max_messages": 9}
    client, up = gate.greet()
    gate.say_ehlo()
    gate.start_mail()
    client.send(FOREIGN)
    gate.until(lambda: store.questions)
    lease = Lease(packed(CLIENT), "anna", "pop3", 0.0, 1800.0, 1800.0)
    workshop.run(lambda: store.questions[0][1]([lease]))
    gate.talk(
        (">U", FOREIGN), ("U", b"250 ok\r\n"), (">C", b"250 ok\r\n"),
        ("C", b"DATA\r\n"), (">U", b"DATA\r\n"), ("U", b"354 go\r\n"), (">C", b"354 go\r\n"),
        ("C", b"x\r\n.\r\n"), (">U", b"x\r\n.\r\n"),
    )  # fmt: skip
    client.abort()
    gate.until(lambda: gate.link.closing.client_left)
    workshop.turns(3)
    assert gate.closed == []
    up.send(reply + b"\r\n")
    words = gate.end()
    assert words["why"].startswith("client lost: Connection reset")
    assert [line["reply"] for line in workshop.log.of("relayed")] == [reply.decode()]
    accepted = reply.startswith(b"250")
    assert [charge[3:5] for charge in store.charges] == [(1, 1)] * accepted
    assert words["msgs"] == accepted


def test_N11_a_bounce_has_a_sender_in_the_log_too(workshop: Workshop) -> None:
    gate = Gate(workshop, "smtp")
    gate.trusted = [CLIENT]
    gate.greet()
    gate.say_ehlo()
    gate.talk(
        ("C", b"MAIL FROM:<>\r\n"), (">U", b"MAIL FROM:<>\r\n"), ("U", b"250 ok\r\n"), (">C", b"250 ok\r\n"),
        ("C", FOREIGN), (">U", FOREIGN), ("U", b"250 ok\r\n"), (">C", b"250 ok\r\n"),
        ("C", b"DATA\r\n"), (">U", b"DATA\r\n"), ("U", b"354 go\r\n"), (">C", b"354 go\r\n"),
        ("C", b"x\r\n.\r\n"), (">U", b"x\r\n.\r\n"), ("U", b"250 queued\r\n"), (">C", b"250 queued\r\n"),
    )  # fmt: skip
    (words,) = workshop.log.of("relayed")
    assert (words["sender"], words["why"]) == ("<>", "trusted network")


def test_a_client_that_resets_behind_its_message_does_not_wait_for_ever(smtp: Gate) -> None:
    client, up = smtp.greet()
    smtp.say_ehlo()
    smtp.start_mail()
    smtp.start_text()
    smtp.talk(("C", b"x\r\n.\r\n"), (">U", b"x\r\n.\r\n"))
    client.abort()
    smtp.until(lambda: smtp.link.closing.client_left)
    smtp.workshop.advance(WAITS[Wait.MESSAGE_REPLY] + 1)
    assert "upstream silent" in smtp.end()["why"]
    smtp.until(up.ended)


# Asking


def test_G6_the_verdict_ends_at_the_lease_s_second_within_a_transaction(smtp: Gate) -> None:
    smtp.greet()
    smtp.say_ehlo()
    grant(smtp, 100.0)
    smtp.start_mail()
    smtp.talk(("C", FOREIGN), (">U", FOREIGN), ("U", b"250 ok\r\n"), (">C", b"250 ok\r\n"))
    smtp.workshop.clock.advance(99.0)
    smtp.talk(("C", FOREIGN), (">U", FOREIGN), ("U", b"250 ok\r\n"), (">C", b"250 ok\r\n"))
    smtp.workshop.clock.advance(1.0)
    smtp.talk(("C", FOREIGN), (">C", b"554 5.7.1 <x@far.test>: Relay access denied\r\n"))
    assert smtp.up.look()[smtp.up.told :] == b""
    smtp.talk(("C", b"DATA\r\n"), (">U", b"DATA\r\n"), ("U", b"354 go\r\n"), (">C", b"354 go\r\n"))


def test_G6_a_recipient_that_waited_behind_a_slow_upstream_is_judged_by_the_clock_when_its_turn_comes(
    smtp: Gate,
) -> None:
    """Without PIPELINING upstream, popgate keeps the client's pipelined lines: they are used when replies come."""
    smtp.greet()
    smtp.say_ehlo(b"")
    grant(smtp, 100.0)
    smtp.start_mail()
    smtp.talk(("C", FOREIGN + FOREIGN), (">U", FOREIGN))
    smtp.workshop.clock.advance(100.0)
    smtp.talk(("U", b"250 ok\r\n"), (">C", b"250 ok\r\n554 5.7.1 <x@far.test>: Relay access denied\r\n"))
    assert smtp.up.look()[smtp.up.told :] == b""


def test_G6_a_renewed_lease_is_found_when_the_old_second_is_over(smtp: Gate) -> None:
    smtp.greet()
    smtp.say_ehlo()
    grant(smtp, 100.0)
    smtp.start_mail()
    smtp.talk(("C", FOREIGN), (">U", FOREIGN), ("U", b"250 ok\r\n"), (">C", b"250 ok\r\n"))
    grant(smtp, 200.0)
    smtp.workshop.clock.advance(150.0)
    smtp.talk(("C", FOREIGN), (">U", FOREIGN))


def test_G6_one_look_up_a_transaction_and_none_for_local_mail(workshop: Workshop) -> None:
    store = SlowStore()
    gate = Gate(workshop, "smtp", store=store)
    client, up = gate.greet()
    gate.say_ehlo()
    gate.start_mail()
    local = b"RCPT TO:<u@local.test>\r\n"
    gate.talk(("C", local), (">U", local))
    assert store.questions == []
    gate.talk(("C", FOREIGN + b"RCPT TO:<y@far.test>\r\nRSET\r\n"))
    gate.until(lambda: store.questions)
    workshop.run(lambda: store.questions[0][1]([]))
    up.send(b"250 ok\r\n250 reset\r\n")
    gate.until(lambda: client.look().endswith(b"250 reset\r\n"))
    assert client.got[client.told :].count(b"554 5.7.1") == 2
    assert len(store.questions) == 1
    assert [words["recipient"] for words in workshop.log.of("refused")] == ["x@far.test", "y@far.test"]


def test_G7_store_down_defers(workshop: Workshop) -> None:
    store = SlowStore()
    gate = Gate(workshop, "smtp", store=store)
    gate.greet()
    gate.say_ehlo()
    gate.start_mail()
    gate.talk(("C", FOREIGN))
    gate.until(lambda: store.questions)
    workshop.run(lambda: store.questions[0][1](StoreUnavailable("busy")))
    gate.until(lambda: gate.client.look()[gate.client.told :].endswith(b"\r\n"))
    assert gate.client.got[gate.client.told :].startswith(b"451 4.3.0 ")
    assert gate.up.look()[gate.up.told :] == b""
    assert "store down" in workshop.log.of("refused")[0]["why"]


def test_G7_an_answer_after_the_client_has_gone_is_no_trouble(workshop: Workshop) -> None:
    store = SlowStore()
    gate = Gate(workshop, "smtp", store=store)
    gate.greet()
    gate.say_ehlo()
    gate.start_mail()
    gate.talk(("C", FOREIGN))
    gate.until(lambda: store.questions)
    gate.client.abort()
    gate.up.abort()
    workshop.rest(0.02)
    workshop.run(lambda: store.questions[0][1]([]))
    workshop.advance(5.0)
    gate.end()


def test_trusted_networks_are_never_asked_about(workshop: Workshop) -> None:
    store = SlowStore()
    gate = Gate(workshop, "smtp", store=store)
    gate.trusted = ["192.0.2.0/24"]
    gate.greet()
    gate.say_ehlo()
    gate.start_mail()
    gate.talk(("C", FOREIGN), (">U", FOREIGN))
    assert store.questions == []


# The upstream's beginning


def test_failover_to_the_second_server_before_the_client_has_seen_an_octet(pop: Gate) -> None:
    pop.servers.insert(0, Server("127.0.0.1", refused_port()))
    pop.greet()
    assert len(pop.workshop.log.of("upstream-failed")) == 1


@pytest.mark.parametrize("leave", [Peer.close, Peer.abort])
def test_failover_when_the_first_leaves_without_a_greeting(pop: Gate, leave: Callable[[Peer], None]) -> None:
    first = pop.workshop.server()
    pop.servers.insert(0, Server("127.0.0.1", first.getsockname()[1]))
    pop.open()
    leave(pop.accepted(first))
    pop.up = pop.accepted()
    pop.talk(("U", b"+OK\r\n"), (">C", b"+OK\r\n"))


def test_failover_when_the_first_is_silent(pop: Gate) -> None:
    first = pop.workshop.server()
    pop.servers.insert(0, Server("127.0.0.1", first.getsockname()[1]))
    pop.open()
    silent = pop.accepted(first)
    for _ in range(60):
        if silent.ended():
            break
        pop.workshop.advance(10.0)
    pop.up = pop.accepted()
    pop.talk(("U", b"+OK\r\n"), (">C", b"+OK\r\n"))


@pytest.mark.parametrize(("protocol", "reply"), [("pop3", b"-ERR [SYS/TEMP] "), ("smtp", b"421 4.3.2 ")])
def test_no_server_is_a_temporary_error(workshop: Workshop, protocol: str, reply: bytes) -> None:
    gate = Gate(workshop, protocol)
    gate.servers = [Server("127.0.0.1", refused_port()), Server("127.0.0.1", refused_port())]
    client = gate.open()
    gate.until(client.ended)
    assert client.got.startswith(reply)
    assert client.got.count(b"\r\n") == 1
    client.close()
    assert "no upstream" in gate.end()["why"]
    assert len(workshop.log.of("upstream-failed")) == 2


def test_a_name_that_does_not_resolve_is_a_temporary_error(pop: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = socket.getaddrinfo

    def answer(host: str, *rest: Any, **words: Any) -> Any:
        if host == "mail.invalid":
            raise socket.gaierror
        return asked(host, *rest, **words)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    pop.servers = [Server("mail.invalid", 110)]
    client = pop.open()
    pop.until(client.ended)
    assert client.got.startswith(b"-ERR [SYS/TEMP]")


def test_a_client_that_sends_before_the_greeting_is_shown_the_door(smtp: Gate) -> None:
    client = smtp.open()
    client.send(b"EHLO early\r\n")
    smtp.until(client.ended)
    assert client.got[:3] in (b"554", b"421")
    up = smtp.accepted()
    smtp.until(up.ended)
    assert up.got == b""


# Limits


def test_a_silent_client_is_told_and_closed(smtp: Gate) -> None:
    client, up = smtp.greet()
    smtp.workshop.advance(299.0)
    smtp.workshop.turns(5)
    assert not client.ended()
    smtp.workshop.advance(1.0)
    smtp.until(client.ended)
    assert client.got[client.told :].startswith(b"421 ")
    smtp.until(up.ended)
    client.close()
    assert "client silent" in smtp.end()["why"]


def test_octets_that_make_no_command_do_not_prolong_the_wait(smtp: Gate) -> None:
    """RFC 5321 4.5.3.2, each as a total: a client of one octet a minute has no more time than a silent one."""
    client, _ = smtp.greet()
    for _ in range(5):
        smtp.workshop.advance(59.0)
        client.send(b"N")
        smtp.workshop.rest(0.005)
    assert not client.ended()
    smtp.workshop.advance(6.0)
    smtp.until(client.ended)


def test_a_silent_upstream_is_a_temporary_error(smtp: Gate) -> None:
    client, up = smtp.greet()
    smtp.talk(("C", b"EHLO c.test\r\n"), (">U", b"EHLO c.test\r\n"))
    smtp.workshop.advance(301.0)
    smtp.until(client.ended)
    assert client.got[client.told :].startswith(b"421 ")
    smtp.until(up.ended)


def test_a_session_has_an_end(smtp: Gate) -> None:
    smtp.session_timeout = 1000.0
    client, _ = smtp.greet()
    for _ in range(20):
        if client.ended():
            break
        smtp.talk(("C", b"NOOP\r\n"), (">U", b"NOOP\r\n"), ("U", b"250 ok\r\n"), (">C", b"250 ok\r\n"))
        smtp.workshop.advance(100.0)
        smtp.workshop.turns(5)
    assert client.ended()
    assert smtp.workshop.clock.now() < 1000.0 + 1000.0 + 300.0
    assert client.got.endswith(b"421 4.4.2 This session has lasted too long, connect again\r\n")
    client.close()
    assert smtp.end()["why"] == "session too long (waiting for a command)"


def test_a_message_under_way_at_the_end_of_its_session_is_not_called_silent(smtp: Gate) -> None:
    smtp.session_timeout = 100.0
    client, _ = smtp.greet()
    smtp.say_ehlo()
    smtp.start_mail()
    smtp.start_text()
    for _ in range(20):
        client.send(b"text\r\n" * 3)
        smtp.workshop.advance(10.0)
        smtp.workshop.turns(3)
    smtp.until(client.ended)
    assert client.got[client.told :].startswith(b"421 4.4.2 This session")
    client.close()
    assert smtp.end()["why"] == "session too long (receiving a message)"


def test_who_is_silent_is_told_so_also_near_the_end_of_the_session(smtp: Gate) -> None:
    smtp.session_timeout = 400.0
    client, _ = smtp.greet()
    smtp.workshop.advance(0.2)
    smtp.workshop.turns(2)
    smtp.workshop.advance(301.0)
    smtp.until(client.ended)
    assert client.got[client.told :] == b"421 4.4.2 Waited too long for a command\r\n"


@pytest.mark.parametrize("pause", [0.3, 7.0])
def test_a_busy_client_does_not_move_the_end_of_its_session(smtp: Gate, pause: float) -> None:
    smtp.session_timeout = 100.0
    client, _ = smtp.greet()
    while not client.ended() and smtp.workshop.clock.now() < 1000.0 + 200.0:
        client.send(b"VRFY x\r\n")
        smtp.workshop.advance(pause)
        smtp.workshop.turns(2)
    assert smtp.workshop.clock.now() < 1000.0 + 100.0 + 2 * pause + 3.0


def test_a_login_has_an_end_whatever_is_said_before_it(pop: Gate) -> None:
    """limits.login_timeout is from connect to login: each NOOP is in time, and together they last too long."""
    pop.session_timeout = 180.0  # runtime.py takes the lesser of it and login_timeout
    client, _ = pop.greet()
    for _ in range(40):
        if client.ended():
            break
        pop.talk(("C", b"NOOP\r\n"), (">U", b"NOOP\r\n"), ("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
        pop.workshop.advance(10.0)
        pop.workshop.turns(5)
    assert client.ended()
    assert 1170.0 < pop.workshop.clock.now() < 1000.0 + 180.0 + 13.0
    assert client.got.endswith(b"-ERR Waited too long\r\n")


def test_G4_an_open_mailbox_outlives_the_limits_of_a_session(pop: Gate) -> None:
    """Its lease is renewed for `max_age`, so it may be open for as long, while mail moves."""
    pop.session_timeout = 180.0
    client, _ = pop.greet()
    pop.log_in()
    pop.gets(client, b"+OK logged in\r\n")
    for _ in range(30):
        pop.talk(("C", b"NOOP\r\n"), (">U", b"NOOP\r\n"), ("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
        pop.workshop.advance(500.0)
        pop.workshop.turns(5)
        assert not client.ended()
    pop.workshop.advance(602.0)
    pop.until(client.ended)


def test_an_idle_mailbox_is_closed_without_a_word(pop: Gate) -> None:
    client, up = pop.greet()
    pop.log_in()
    pop.gets(client, b"+OK logged in\r\n")
    pop.workshop.advance(602.0)
    pop.until(client.ended)
    assert client.got[client.told :] == b""
    pop.until(up.ended)


def test_drain_ends_between_transactions_and_not_within(smtp: Gate) -> None:
    client, _ = smtp.greet()
    smtp.say_ehlo()
    smtp.start_mail()
    smtp.workshop.run(smtp.link.drain)
    smtp.workshop.turns(5)
    assert not client.ended()
    smtp.talk(("C", b"RSET\r\n"), (">U", b"RSET\r\n"), ("U", b"250 ok\r\n"), (">C", b"250 ok\r\n"))
    smtp.workshop.run(smtp.link.drain)
    smtp.until(client.ended)
    assert client.got[client.told :].startswith(b"421 4.3.2 ")


def test_cut_ends_whatever_is_under_way(pop: Gate) -> None:
    client, up = pop.greet()
    pop.log_in()
    pop.gets(client, b"+OK logged in\r\n")
    pop.workshop.run(pop.link.cut)
    pop.until(client.ended)
    pop.until(up.ended)


# Flow


def logged_in(gate: Gate) -> tuple[Peer, Peer]:
    client, up = gate.greet()
    gate.log_in()
    gate.gets(client, b"+OK logged in\r\n")
    return client, up


def test_a_client_that_never_reads_stops_the_upstream_from_being_read(pop: Gate) -> None:
    """promise 6: what is in flight is the kernel's buffers and one piece, whatever the upstream would send."""
    client, up = logged_in(pop)
    sent = 0
    for _ in range(200):
        sent += up.flood(1 << 24)
        pop.workshop.rest(0.002)
        if not up.flood(1):
            break
    before = pop.link.client.sent
    pop.workshop.rest(0.02)
    assert pop.link.client.sent == before, "no more is taken"
    assert pop.link.client.sent - len(pop.link.client.rest) >= 0
    assert len(pop.link.client.rest) <= MOST
    turns = pop.workshop.poller.turns
    pop.workshop.rest(0.05)
    assert pop.workshop.poller.turns <= turns + 1, "nor does it cost turns"
    sent += up.flood(0)
    goal = client.told + sent
    pop.until(lambda: len(client.look()) >= goal)
    assert set(client.got[client.told :]) == {ord("x")}


@pytest.mark.parametrize("half_closes_first", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_a_mailbox_does_not_go_on_passing_to_nobody(pop: Gate, half_closes_first: bool, full: bool) -> None:
    client, up = logged_in(pop)
    client.send(b"RETR 1\r\n")
    pop.gets(up, b"RETR 1\r\n")
    if full:
        for _ in range(200):
            up.flood(1 << 20)
            pop.workshop.rest(0.002)
            if pop.link.client.rest:
                break
    if half_closes_first:
        client.half_close()
        pop.workshop.turns(5)
    client.abort()
    pop.workshop.turns(5)
    for _ in range(20):
        if not pop.closed:
            up.flood(1 << 16)
            pop.workshop.rest(0.002)
    assert "client lost" in pop.end()["why"]


def test_a_slow_upstream_stops_the_client_from_being_read(smtp: Gate) -> None:
    client, up = smtp.greet()
    smtp.say_ehlo()
    smtp.start_mail()
    smtp.start_text()
    line = b"x" * 998 + b"\r\n"
    body = memoryview(line * 24000)
    at = 0
    for _ in range(300):
        try:
            at += client.sock.send(body[at : at + 65536])
        except BlockingIOError:
            smtp.workshop.rest(0.002)
            upstream = smtp.link.upstream.leg
            assert upstream is not None
            assert len(upstream.rest) <= 2 * 262144
            if upstream.rest and smtp.link.client._held:
                break
    assert at < len(body), "it was stopped"
    while at < len(body):
        up.look()
        try:
            at += client.sock.send(body[at : at + 65536])
        except BlockingIOError:
            smtp.workshop.turns(2)
    client.send(b".\r\n")
    smtp.until(lambda: up.look().endswith(b"x\r\n.\r\n"))
    assert len(up.got) - up.told == len(body) + 3
    up.send(b"250 queued\r\n")
    smtp.gets(client, b"250 queued\r\n")


def test_P4_a_client_that_floods_behind_its_password_is_stopped(slow: tuple[Gate, SlowStore]) -> None:
    gate, store = slow
    client, up = gate.greet()
    gate.log_in()
    gate.until(lambda: store.grants)
    sent = 0
    for _ in range(50):
        sent += client.flood(1 << 20)
        gate.workshop.turns(3)
    assert gate.link.client.received <= 100 + 16384, "the rest waits in the kernel"
    gate.workshop.run(lambda: store.grants[0][4](1))
    gate.gets(client, b"+OK logged in\r\n")
    gate.until(lambda: len(up.look()) - up.told == sent)


# Ends


def test_half_close_of_the_client_reaches_the_upstream_and_mail_still_comes(pop: Gate) -> None:
    client, up = logged_in(pop)
    client.send(b"RETR 1\r\nQUIT\r\n")
    client.half_close()
    pop.until(up.ended)
    assert up.got.endswith(b"RETR 1\r\nQUIT\r\n")
    mail = b"+OK\r\n" + b"line\r\n" * 50000 + b".\r\n+OK bye\r\n"
    at = 0

    def all_said() -> bool:
        nonlocal at
        client.look()
        with contextlib.suppress(BlockingIOError):
            at += up.sock.send(mail[at : at + 65536])
        return at == len(mail)

    pop.until(all_said)
    up.close()
    pop.until(client.ended)
    assert client.got[client.told :] == mail
    assert not client.reset
    pop.end()


def test_G4_a_client_that_left_keeps_no_lease_alive_though_its_server_stays(pop: Gate) -> None:
    client, up = logged_in(pop)
    assert (pop.leased, pop.left) == (["anna"], [])
    client.half_close()
    pop.until(up.ended)
    assert (pop.left, pop.closed) == ([pop.link.id], [])


def test_G4_nor_does_one_that_left_before_its_login_was_answered(slow: tuple[Gate, SlowStore]) -> None:
    gate, store = slow
    client, up = gate.greet()
    gate.log_in()
    gate.until(lambda: store.grants)
    client.half_close()
    gate.until(lambda: gate.link.closing.client_left)
    gate.workshop.run(lambda: store.grants[0][4](1))
    gate.gets(client, b"+OK logged in\r\n")
    gate.until(up.ended)
    assert (gate.leased, gate.closed) == ([], [])


def test_half_close_of_the_upstream_reaches_the_client_behind_all_mail(pop: Gate) -> None:
    client, up = logged_in(pop)
    mail = b"x" * 200000
    up.send(mail[:100000])
    up.send(mail[100000:])
    up.half_close()
    pop.until(client.ended)
    assert client.got[client.told :] == mail


def test_P5_half_a_quit_and_gone_has_logged_in(pop: Gate) -> None:
    """PHPMailer sends QUIT without CRLF and closes."""
    client, up = logged_in(pop)
    client.send(b"QUIT")
    client.close()
    pop.until(up.ended)
    assert up.got.endswith(b"QUIT")
    up.close()
    pop.end()
    assert pop.leased == ["anna"]


@pytest.mark.parametrize("pipelined", [False, True])
def test_P5_a_reset_before_the_reply_to_its_password_is_a_login(pop: Gate, pipelined: bool) -> None:
    """A client that closes with replies unread resets the connection: scripts and printers do."""
    client, up = pop.greet()
    client.send(b"USER anna\r\n")
    if pipelined:
        client.send(b"PASS x\r\n")
        pop.gets(up, b"USER anna\r\n")
        client.abort()
        pop.workshop.turns(5)
        up.send(b"+OK\r\n")
        pop.gets(up, b"PASS x\r\n")
    else:
        pop.talk((">U", b"USER anna\r\n"), ("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
        pop.talk(("C", b"PASS x\r\n"), (">U", b"PASS x\r\n"))
        client.abort()
        pop.workshop.turns(5)
    up.send(b"+OK in\r\n")
    pop.until(up.ended)
    up.close()
    pop.end()
    assert [line["login"] for line in pop.workshop.log.of("leased")] == ["anna"]


def test_quit_without_crlf_ends_an_smtp_session_too(smtp: Gate) -> None:
    client, up = smtp.greet()
    client.send(b"QUIT")
    client.close()
    smtp.until(up.ended)
    assert up.got == b""
    smtp.end()


def test_the_last_words_reach_a_client_that_keeps_sending(smtp: Gate) -> None:
    """Lingering close: with unread octets of the client in the kernel a plain close would reset the connection."""
    client, _ = smtp.greet()
    client.send(b"GARBAGE\r\n" * 40)
    smtp.until(lambda: b"421 " in client.look())
    for _ in range(50):
        client.send(b"MORE\r\n" * 100)
        smtp.workshop.turns(2)
    smtp.until(client.ended)
    assert not client.reset
    assert client.got.endswith(b"421 4.7.0 Too many errors\r\n")
    client.close()
    smtp.end()


def test_lingering_has_an_end(smtp: Gate) -> None:
    client, _ = smtp.greet()
    client.send(b"GARBAGE\r\n" * 40)
    smtp.until(client.ended)
    smtp.workshop.advance(2.1)
    smtp.end()


def test_a_client_that_is_gone_is_not_lingered_for(smtp: Gate) -> None:
    """A flood of connections that reset must not hold descriptors for seconds."""
    client, _ = smtp.greet()
    client.abort()
    assert "client" in smtp.end()["why"]


def test_S9_the_last_replies_reach_a_client_that_sends_on_behind_quit(smtp: Gate) -> None:
    """Octets that nobody reads any more make a close a reset, and what waited to share its packet would be lost: with
    a 250 among it the message would come twice."""
    client, up = smtp.greet()
    smtp.talk(("C", b"QUIT\r\n"), (">U", b"QUIT\r\n"))
    up.send(b"221 bye\r\n")
    client.send(b"\r\n")  # behind it in the same turn: it is not read before the end
    smtp.until(client.ended)
    assert client.look().endswith(b"221 bye\r\n")
    assert smtp.end()["in"] == len("QUIT\r\n"), "or this test shows nothing"


def test_quit_closes_both_sides(smtp: Gate) -> None:
    client, up = smtp.greet()
    smtp.talk(("C", b"QUIT\r\n"), (">U", b"QUIT\r\n"), ("U", b"221 bye\r\n"), (">C", b"221 bye\r\n"))
    smtp.until(client.ended)
    smtp.until(up.ended)
    words = smtp.end()
    assert words["why"] == "quit"
    assert (words["in"], words["client"], words["listener"]) == (6, CLIENT, "door")


@pytest.mark.parametrize("protocol", ["smtp", "pop3"])
def test_a_session_that_is_over_leaves_nothing_to_the_collector(workshop: Workshop, protocol: str) -> None:
    gc.collect()
    gc.disable()
    try:
        gate = Gate(workshop, protocol)
        if protocol == "pop3":
            logged_in(gate)
        else:
            gate.greet()
        farewell = b"221 bye\r\n" if protocol == "smtp" else b"+OK bye\r\n"
        gate.talk(("C", b"QUIT\r\n"), (">U", b"QUIT\r\n"), ("U", farewell), (">C", farewell))
        gate.up.close()
        gate.client.close()
        gate.end()
        workshop.run(workshop.deadlines.tick)
        workshop.at_end.clear()
        gate.closed.clear()
        del gate.link
        assert not [one for one in gc.get_objects() if isinstance(one, (Link, Leg))]
    finally:
        gc.enable()


def test_an_upstream_that_dies_is_a_temporary_error(smtp: Gate) -> None:
    client, up = smtp.greet()
    smtp.talk(("C", b"NOOP\r\n"), (">U", b"NOOP\r\n"))
    up.abort()
    smtp.until(client.ended)
    assert client.got[client.told :].startswith(b"421 4.4.2 ")


# The log


@pytest.mark.parametrize("leave", [Peer.close, Peer.abort])
def test_N11_a_health_check_that_says_nothing_is_logged_at_debug_only(
    smtp: Gate, leave: Callable[[Peer], None]
) -> None:
    client, _ = smtp.greet()
    leave(client)
    smtp.end()
    assert [level for level, _, _, _ in smtp.workshop.log.lines] == ["debug"]


@pytest.mark.parametrize("protocol", ["smtp", "pop3"])
def test_N11_so_is_one_that_says_nothing_but_quit(workshop: Workshop, protocol: str) -> None:
    gate = Gate(workshop, protocol)
    client, up = gate.greet()
    farewell = b"221 bye\r\n" if protocol == "smtp" else b"+OK bye\r\n"
    gate.talk(("C", b"QUIT\r\n"), (">U", b"QUIT\r\n"), ("U", farewell), (">C", farewell))
    up.close()
    client.close()
    gate.end()
    assert [level for level, _, _, _ in workshop.log.lines] == ["debug"]


def test_N11_one_line_a_session_at_info(smtp: Gate) -> None:
    client, _ = smtp.greet()
    client.send(b"VRFY x\r\n")
    smtp.until(lambda: client.look().endswith(b"see\r\n"))
    client.close()
    smtp.end()
    assert smtp.workshop.log.level_of("end") == "info"
    assert len(smtp.workshop.log.lines) == 1


def test_N11_no_password_in_any_line(pop: Gate) -> None:
    client, up = pop.greet()
    pop.talk(("C", b"USER anna\r\n"), (">U", b"USER anna\r\n"), ("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
    pop.talk(("C", b"PASS sEcReT\r\n"), (">U", b"PASS sEcReT\r\n"), ("U", b"-ERR no\r\n"), (">C", b"-ERR no\r\n"))
    up.abort()
    pop.until(client.ended)
    client.close()
    pop.end()
    assert pop.workshop.log.of("login-failed")[0]["login"] == "anna"
    assert "sEcReT" not in repr(pop.workshop.log.lines)


def test_a_bug_ends_one_session_and_its_text_is_not_logged(smtp: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    client, up = smtp.greet()

    def burst(self: object, data: bytes) -> None:
        raise KeyError(data)

    monkeypatch.setattr(type(smtp.link.session), "client_bytes", burst)
    client.send(b"sEcReT\r\n")
    smtp.until(client.ended)
    smtp.until(up.ended)
    client.close()
    smtp.end()
    (bug,) = smtp.workshop.log.of("bug")
    assert bug["error"] == "KeyError"
    assert "burst" in bug["at"]
    assert "sEcReT" not in repr(smtp.workshop.log.lines)
