"""net/link/requests.py: what a link's session asks for: who may relay, with patience; failed logins; passwords by
POP3."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from proxy.gate.patience import Patience
from proxy.leases.memory import MemoryStore
from proxy.net.link.requests import SLOWEST
from proxy.net.upstream.upstream import Server, Upstream
from proxy.wire.address import packed

from ..support.gate import CLIENT, Gate, SlowStore

if TYPE_CHECKING:
    from pathlib import Path

    from ..support.workshop import Peer, Workshop

FOREIGN = b"RCPT TO:<x@far.test>\r\n"
REFUSED = b"554 5.7.1 <x@far.test>: Relay access denied\r\n"
SPENT = b"452 4.7.1 You have sent as much as you may for now, try again later\r\n"
RIGHT = b"235 2.7.0 Authentication successful\r\n"
WRONG = b"535 5.7.8 Authentication credentials invalid\r\n"
UNKNOWN = b"454 4.7.0 Can't check the password now, try again later\r\n"
TOO_MANY = b"421 4.7.0 Too many failed logins\r\n"
HOME = packed(CLIENT)


def plain(login: bytes = b"anna", password: bytes = b"secret") -> bytes:
    return b"AUTH PLAIN " + base64.b64encode(b"\0%b\0%b" % (login, password)) + b"\r\n"


def grant(gate: Gate, login: str = "anna", address: str = CLIENT) -> None:
    gate.workshop.run(lambda: gate.store.grant(packed(address), login, "pop3", 1800.0, lambda _: None))


def introduced(gate: Gate) -> Gate:
    gate.greet()
    gate.say_ehlo()
    return gate


def message(gate: Gate) -> None:
    """DATA and a message that the upstream takes."""
    gate.talk(
        ("C", b"DATA\r\n"), (">U", b"DATA\r\n"), ("U", b"354 go\r\n"), (">C", b"354 go\r\n"),
        ("C", b"x\r\n.\r\n"), (">U", b"x\r\n.\r\n"), ("U", b"250 queued\r\n"), (">C", b"250 queued\r\n"),
    )  # fmt: skip


def accepted(gate: Gate, line: bytes = FOREIGN) -> None:
    gate.talk(("C", line), (">U", line), ("U", b"250 ok\r\n"), (">C", b"250 ok\r\n"))


# Patience


class Patient:
    """Gates of one worker that share a store and its patience."""

    def __init__(self, workshop: Workshop, store: Any = None, **rules: Any) -> None:
        self.workshop = workshop
        self.store = store if store is not None else MemoryStore(workshop.clock)
        self.patience = Patience(self.store, workshop.clock.now, 200)
        self.rules = rules

    def gate(self, protocol: str = "smtp") -> Gate:
        gate = Gate(self.workshop, protocol, store=self.store)
        gate.patience, gate.rules = self.patience, self.rules
        return gate

    def waiting(self) -> Gate:
        """A session whose recipient waits."""
        gate = introduced(self.gate())
        gate.start_mail()
        before = len(self.patience)
        gate.talk(("C", FOREIGN))
        gate.until(lambda: len(self.patience) > before)
        return gate

    def over(self) -> None:
        self.workshop.advance(3.0)
        self.workshop.run(self.patience.tick)


@pytest.fixture
def patient(workshop: Workshop) -> Patient:
    return Patient(workshop)


def test_G9_a_recipient_waits_for_a_login_and_goes_on_with_it(patient: Patient) -> None:
    gate = patient.waiting()
    patient.workshop.rest(0.02)
    assert gate.client.look()[gate.client.told :] == b""
    pop = patient.gate("pop3")
    pop.greet()
    pop.log_in()
    pop.gets(pop.client, b"+OK logged in\r\n")
    gate.gets(gate.up, FOREIGN)
    assert patient.workshop.log.of("refused") == []


def test_G9_nobody_logs_in_and_the_refusal_comes(patient: Patient) -> None:
    gate = patient.waiting()
    patient.workshop.advance(2.9)
    patient.workshop.run(patient.patience.tick)
    patient.workshop.rest(0.02)
    assert gate.client.look()[gate.client.told :] == b""
    patient.workshop.advance(0.1)
    patient.workshop.run(patient.patience.tick)
    gate.gets(gate.client, REFUSED)
    gate.talk(("C", FOREIGN), (">C", REFUSED))
    assert len(patient.patience) == 0, "once a transaction"
    assert [words["why"] for words in patient.workshop.log.of("refused")] == ["no lease"] * 2


def test_G9_replies_owed_to_earlier_commands_go_out_first(patient: Patient) -> None:
    gate = introduced(patient.gate())
    gate.talk(
        ("C", b"MAIL FROM:<a@s.test>\r\nRCPT TO:<u@local.test>\r\n" + FOREIGN),
        (">U", b"MAIL FROM:<a@s.test>\r\nRCPT TO:<u@local.test>\r\n"),
    )
    gate.until(lambda: len(patient.patience))
    gate.talk(("U", b"250 one\r\n"), (">C", b"250 one\r\n"), ("U", b"250 two\r\n"), (">C", b"250 two\r\n"))
    patient.over()
    gate.gets(gate.client, REFUSED)


def test_G9_who_does_not_wait_is_not_held_back(patient: Patient) -> None:
    patient.waiting()
    other = introduced(patient.gate())
    other.start_mail()
    accepted(other, b"RCPT TO:<u@local.test>\r\n")
    assert len(patient.patience) == 1


@pytest.mark.parametrize("how", ["abort", "close"])
def test_G9_a_client_that_is_gone_frees_its_place_when_its_time_is_over(patient: Patient, how: str) -> None:
    """Not before: who is held is not read, and what it said last may be behind what waits (net/sockets/leg.py)."""
    gate = patient.waiting()
    getattr(gate.client, how)()
    patient.workshop.rest(0.02)
    patient.over()
    assert len(patient.patience) == 0
    gate.until(gate.up.ended)
    assert bytes(gate.up.got).count(b"RCPT") == 0
    gate.up.close()
    gate.end()


def test_G9_an_upstream_that_goes_meanwhile_ends_the_wait(patient: Patient) -> None:
    gate = patient.waiting()
    gate.up.close()
    gate.until(lambda: len(patient.patience) == 0)
    gate.until(gate.client.ended)
    assert gate.client.got.endswith(b"421 4.4.2 The connection to the mail server was lost\r\n")


def test_G9_a_drain_that_is_over_its_limit_ends_the_wait(patient: Patient) -> None:
    gate = patient.waiting()
    patient.workshop.run(gate.link.drain)
    assert len(patient.patience) == 1
    patient.workshop.run(gate.link.cut)
    assert len(patient.patience) == 0
    gate.until(gate.client.ended)


def test_G9_a_verdict_that_comes_after_the_end_is_no_trouble(workshop: Workshop) -> None:
    store = SlowStore()
    gate = introduced(Patient(workshop, store).gate())
    gate.start_mail()
    gate.talk(("C", FOREIGN))
    gate.until(lambda: store.questions)
    gate.up.close()
    gate.until(gate.client.ended)
    before = bytes(gate.client.got)
    (_, then) = store.questions[0]
    workshop.run(lambda: then([]))
    assert (store.watcher, len(store.questions)) == (None, 1)
    assert gate.client.look() == before
    assert workshop.log.of("refused") == []


def test_G6_local_mail_asks_nothing_whatever_the_gate_has_been_told(workshop: Workshop) -> None:
    store = SlowStore()
    rules = {
        "sender": "match", "max_messages": 1, "max_recipients": 1, "renew_on_use": True, "max_logins_per_address": 1,
        "lease_after_failures": 1, "shared_networks": ("192.0.2.0/24",),
    }  # fmt: skip
    gate = introduced(Patient(workshop, store, **rules).gate())
    for _ in range(3):
        gate.start_mail()
        accepted(gate, b"RCPT TO:<u@local.test>\r\n")
        accepted(gate, b"RCPT TO:<postmaster>\r\n")
        message(gate)
    assert (store.questions, store.charges, store.renewals, store.watcher) == ([], [], [], None)


# Budgets


def test_G11_a_relayed_message_is_charged_once_it_is_accepted_and_the_next_is_not(workshop: Workshop) -> None:
    gate = introduced(Patient(workshop, max_messages=2, max_recipients=4).gate())
    grant(gate)
    gate.start_mail()
    accepted(gate)
    accepted(gate)
    accepted(gate, b"RCPT TO:<u@local.test>\r\n")
    message(gate)
    gate.start_mail()
    accepted(gate)
    accepted(gate)
    gate.talk(("C", FOREIGN), (">C", SPENT))
    message(gate)
    gate.start_mail()
    gate.talk(("C", FOREIGN), (">C", SPENT))
    [first, second] = workshop.log.of("refused")
    assert (first["why"], second["why"]) == ("lease of anna, 2 recipients at once", "budget spent")
    assert {first["reply"], second["reply"]} == {SPENT[:-2].decode()}


def test_G11_a_message_that_the_upstream_refuses_is_not_charged(workshop: Workshop) -> None:
    gate = introduced(Patient(workshop, max_messages=1).gate())
    grant(gate)
    for reply in (b"552 too big\r\n", b"250 queued\r\n"):
        gate.start_mail()
        accepted(gate)
        gate.talk(
            ("C", b"DATA\r\n"), (">U", b"DATA\r\n"), ("U", b"354 go\r\n"), (">C", b"354 go\r\n"),
            ("C", b"x\r\n.\r\n"), (">U", b"x\r\n.\r\n"), ("U", reply), (">C", reply),
        )  # fmt: skip
    gate.start_mail()
    gate.talk(("C", FOREIGN), (">C", SPENT))


def test_G11_a_local_message_costs_nothing(workshop: Workshop) -> None:
    gate = introduced(Patient(workshop, max_messages=1).gate())
    grant(gate)
    for _ in range(2):
        gate.start_mail()
        accepted(gate, b"RCPT TO:<u@local.test>\r\n")
        message(gate)
    gate.start_mail()
    accepted(gate)


# Logins that open nothing


def logged_in(gate: Gate, address: str = CLIENT, login: bytes = b"anna") -> dict[str, Any]:
    """A POP login that succeeds; the words of the log that say why it made no lease, or none."""
    gate.open(address)
    gate.up = gate.accepted()
    gate.talk(("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
    gate.log_in(login)
    gate.gets(gate.client, b"+OK logged in\r\n")
    return (gate.workshop.log.of("no-lease") or [{}])[-1]


def test_G13_no_relay_logins_read_their_mail_and_open_nothing(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.rules = {"no_relay_logins": ("anna",)}
    assert logged_in(gate)["why"] == "no_relay_logins"
    assert gate.leased == []
    assert len(gate.store) == 0
    assert workshop.log.level_of("no-lease") == "warning"


def test_G13_a_success_behind_failures_opens_nothing(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.rules = {"lease_after_failures": 2}
    for _ in range(2):
        gate.failures.note(0, HOME)
    assert logged_in(gate)["why"] == "failed logins before it"
    assert len(gate.store) == 0
    workshop.clock.advance(600.0)
    logged_in(gate)
    assert len(gate.store) == 1


def test_G2_G13_by_ipv6_the_failures_of_the_network_count(workshop: Workshop) -> None:
    """Else an address for each guess would be one too many to count."""
    gate = Gate(workshop, "pop3")
    gate.rules = {"lease_after_failures": 2, "ipv6_prefix": 64}
    for last in (1, 2):
        gate.open(f"2001:db8::{last}")
        gate.up = gate.accepted()
        gate.talk(("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
        failed(gate, b"-ERR no\r\n")
    assert logged_in(gate, "2001:db8::3")["why"] == "failed logins before it"
    logged_in(gate, "2001:db8:0:1::3")
    assert len(gate.store) == 1


def test_G3_one_login_too_many_gets_its_mail_and_no_lease(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.rules = {"max_logins_per_address": 1}
    grant(gate, "bert")
    assert logged_in(gate)["why"] == "max_logins_per_address"
    assert gate.leased == []
    assert len(gate.store) == 1


@pytest.mark.parametrize(("others", "warned"), [(18, 0), (19, 1)])
def test_G3_without_a_limit_the_twentieth_login_is_a_warning_once_an_hour(
    workshop: Workshop, others: int, warned: int
) -> None:
    gate = Gate(workshop, "pop3")
    for number in range(others):
        grant(gate, f"user{number}")
    logged_in(gate)
    logged_in(gate)
    crowded = workshop.log.of("crowded")
    assert [words["logins"] for words in crowded] == [20] * warned
    assert len(gate.leased) == 2


# Logins that failed


def failed(gate: Gate, reply: bytes, *, held: bool = False) -> None:
    """USER and PASS, refused by the upstream; `held`: the client must not see it yet."""
    gate.talk(("C", b"USER anna\r\n"), (">U", b"USER anna\r\n"), ("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
    gate.talk(("C", b"PASS guess\r\n"), (">U", b"PASS guess\r\n"), ("U", reply))
    if held:
        gate.workshop.rest(0.02)
        assert gate.client.look()[gate.client.told :] == b""
    else:
        gate.gets(gate.client, reply)


def test_G13_failures_are_logged_and_counted_for_the_address(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.greet()
    failed(gate, b"-ERR no\r\n")
    assert gate.failures.of(HOME) == 1
    assert workshop.log.of("login-failed") == [{"client": CLIENT, "id": "1-1", "login": "anna"}]
    assert workshop.log.of("slowed") == []


@pytest.mark.parametrize(("before", "seconds"), [(3, 1.0), (5, 3.0), (500, SLOWEST)])
def test_G13_over_the_limit_the_reply_waits_and_the_session_ends(
    workshop: Workshop, before: int, seconds: float
) -> None:
    gate = Gate(workshop, "pop3")
    gate.failed_logins_per_address = 3
    for _ in range(before):
        gate.failures.note(0, HOME)
    gate.greet()
    failed(gate, b"-ERR no\r\n", held=True)
    workshop.advance(seconds - 0.1)
    workshop.rest(0.02)
    assert gate.client.look()[gate.client.told :] == b""
    workshop.advance(0.1)
    gate.until(gate.client.ended)
    assert gate.client.got[gate.client.told :].startswith(b"-ERR no\r\n-ERR ")
    gate.client.close()
    assert "too many failed logins" in gate.end()["why"]
    assert workshop.log.of("slowed")[0]["failures"] == before + 1


def test_G13_at_the_limit_it_does_not_wait_yet(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.failed_logins_per_address = 3
    gate.greet()
    for _ in range(3):
        failed(gate, b"-ERR no\r\n")
    failed(gate, b"-ERR no\r\n", held=True)


def test_G13_trusted_networks_and_other_addresses_are_not_slowed(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.failed_logins_per_address = 1
    gate.trusted = [CLIENT]
    gate.greet()
    failed(gate, b"-ERR no\r\n")
    failed(gate, b"-ERR no\r\n")
    gate.open("192.0.2.8")
    gate.up = gate.accepted()
    gate.talk(("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
    failed(gate, b"-ERR no\r\n")


def test_G13_a_right_password_is_never_slowed(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.failed_logins_per_address = 1
    for _ in range(50):
        gate.failures.note(0, HOME)
    logged_in(gate)
    assert len(gate.store) == 1


def test_G13_who_leaves_while_its_reply_is_held_disturbs_nobody(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.failed_logins_per_address = 1
    gate.failures.note(0, HOME)
    gate.greet()
    failed(gate, b"-ERR no\r\n", held=True)
    gate.client.abort()
    gate.up.close()
    gate.end()
    workshop.advance(SLOWEST)


def test_G13_who_closes_while_its_reply_is_held_keeps_no_place(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.failed_logins_per_address = 1
    gate.failures.note(0, HOME)
    gate.greet()
    failed(gate, b"-ERR no\r\n", held=True)
    gate.client.close()
    assert gate.end()["why"] == "client left"


def test_G13_nor_who_closed_before_it_was_refused_and_half_a_close_does_not_make_it_fast(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.failed_logins_per_address = 1
    gate.failures.note(0, HOME)
    gate.greet()
    gate.talk(("C", b"USER anna\r\n"), (">U", b"USER anna\r\n"), ("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
    gate.talk(("C", b"PASS wrong\r\n"), (">U", b"PASS wrong\r\n"))
    gate.client.half_close()
    workshop.rest(0.02)
    gate.up.send(b"-ERR no\r\n")
    assert gate.end()["why"] == "client left"
    assert gate.client.look()[gate.client.told :] == b""


def test_G13_an_upstream_that_hangs_up_behind_its_refusal_changes_nothing(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.failed_logins_per_address = 1
    gate.failures.note(0, HOME)
    gate.greet()
    failed(gate, b"-ERR no\r\n", held=True)
    gate.up.close()
    workshop.rest(0.02)
    workshop.advance(1.0)
    gate.until(gate.client.ended)
    assert gate.client.got[gate.client.told :].startswith(b"-ERR no\r\n")


def test_G13_by_smtp_the_upstream_s_535_is_slowed_too(workshop: Workshop) -> None:
    gate = Gate(workshop, "smtp")
    gate.failed_logins_per_address = 1
    gate.failures.note(0, HOME)
    gate.greet()
    gate.say_ehlo(b"250-PIPELINING\r\n250-AUTH PLAIN\r\n")
    gate.talk(("C", plain()), (">U", plain()), ("U", b"535 no\r\n"))
    workshop.rest(0.02)
    assert gate.client.look()[gate.client.told :] == b""
    workshop.advance(1.0)
    gate.gets(gate.client, b"535 no\r\n" + TOO_MANY)
    gate.until(gate.client.ended)


# AUTH by POP3


class Door(Gate):
    """An SMTP listener with auth = "pop3", as under TLS, and the POP3 server that checks passwords (`box`)."""

    def __init__(self, workshop: Workshop, limit: int = 0, box: Server | None = None, **rules: Any) -> None:
        """`limit`: failed_logins_per_address; `box`: where it is thought to be."""
        super().__init__(workshop, "smtp")
        self.auth = "pop3"
        self.failed_logins_per_address = limit
        self.rules = rules
        self.box = workshop.server()
        self.password_upstream = Upstream(
            "box",
            "pop3",
            [box or Server("127.0.0.1", self.box.getsockname()[1])],
            tls=None,
            implicit=False,
            connect_timeout=10.0,
            is_ours=lambda host, port: False,
        )
        self.greet()
        self.pretend_tls()
        self.say_ehlo()

    def asked(self, password: bytes = b"secret") -> Peer:
        """AUTH, up to PASS at the POP3 server."""
        self.client.send(plain(password=password))
        box = self.workshop.accepted(self.box)
        for said, heard in ((b"+OK\r\n", b"USER anna\r\n"), (b"+OK\r\n", b"PASS %b\r\n" % password)):
            box.send(said)
            self.gets(box, heard)
        return box


def test_G15_the_right_password_opens_this_session_and_not_the_address(workshop: Workshop) -> None:
    door = Door(workshop)
    box = door.asked()
    assert door.client.look()[door.client.told :] == b""
    box.send(b"+OK in\r\n")
    door.gets(door.client, RIGHT)
    door.until(box.ended)
    assert bytes(box.got).count(b"QUIT") == 0
    door.start_mail()
    accepted(door)
    message(door)
    assert len(door.store) == 0
    assert workshop.log.of("authenticated") == [{"client": CLIENT, "id": "1-1", "login": "anna"}]
    [relayed] = workshop.log.of("relayed")
    assert (relayed["login"], relayed["why"]) == ("anna", "authenticated")
    assert b"AUTH" not in bytes(door.up.got)


@pytest.mark.parametrize(
    ("reply", "is_open", "answer", "failures"),
    [
        (b"-ERR [AUTH] no\r\n", True, WRONG, 1),
        (b"-ERR no\r\n", False, WRONG, 1),
        (b"-ERR [IN-USE] locked\r\n", False, UNKNOWN, 0),
        (b"-ERR [LOGIN-DELAY] soon\r\n", False, UNKNOWN, 0),
        (b"-ERR [SYS/TEMP] later\r\n", False, UNKNOWN, 0),
        # It is believed, and counted: an open mailbox is no leave to guess.
        (b"-ERR maildrop already locked\r\n", True, UNKNOWN, 1),
    ],
)
def test_G15_what_the_server_says_is_what_the_client_hears(
    workshop: Workshop, reply: bytes, is_open: bool, answer: bytes, failures: int
) -> None:
    door = Door(workshop)
    if is_open:
        door.counters.logins.add(0, b"anna")
    box = door.asked(b"guess")
    box.send(reply)
    door.gets(door.client, answer)
    assert door.failures.of(HOME) == failures
    assert len(workshop.log.of("login-failed")) == failures
    door.start_mail()
    door.talk(("C", FOREIGN), (">C", REFUSED))


@pytest.mark.parametrize(("login", "secret"), [(b"anna", b"AGFubmEAeA=="), (b"?PLAIN", b"AAB4")])
def test_G15_an_open_pop_session_of_that_login_is_seen_and_its_end_too(
    workshop: Workshop, login: bytes, secret: bytes
) -> None:
    """Also one that named nobody."""
    pop = Gate(workshop, "pop3")
    pop.greet()
    line = b"AUTH PLAIN %b\r\n" % secret
    pop.talk(("C", line), (">U", line), ("U", b"+OK logged in\r\n"), (">C", b"+OK logged in\r\n"))
    assert (pop.counters.logins.of(login), pop.counters.logins.of(b"bert")) == (1, 0)
    pop.up.close()
    pop.client.close()
    pop.until(lambda: pop.closed)
    assert pop.counters.logins.of(login) == 0


def test_G15_no_server_is_454_and_said_in_the_log(workshop: Workshop) -> None:
    door = Door(workshop)
    door.client.send(plain())
    box = workshop.accepted(door.box)
    box.close()
    door.gets(door.client, UNKNOWN)
    [words] = workshop.log.of("upstream-failed")
    assert "secret" not in repr(words)


@pytest.mark.parametrize("how", ["abort", "close"])
def test_G15_a_client_that_leaves_calls_the_check_off(workshop: Workshop, how: str) -> None:
    door = Door(workshop)
    box = door.asked()
    getattr(door.client, how)()
    door.until(box.ended)
    door.until(door.up.ended)
    door.up.close()
    door.end()
    assert workshop.log.of("authenticated") == []


def test_G15_who_talks_on_behind_auth_is_not_authenticated(workshop: Workshop) -> None:
    door = Door(workshop)
    door.client.send(plain() + b"MAIL FROM:<a@s.test>\r\n")
    door.until(door.client.ended)
    assert door.client.got[door.client.told :].startswith(b"554 5.5.0 ")
    assert workshop.log.of("authenticated") == []


def test_G13_passwords_tried_here_are_slowed_as_any(workshop: Workshop) -> None:
    door = Door(workshop, limit=2)
    for _ in range(2):
        door.failures.note(0, HOME)
    box = door.asked(b"guess")
    box.send(b"-ERR [AUTH] no\r\n")
    workshop.rest(0.02)
    assert door.client.look()[door.client.told :] == b""
    workshop.advance(1.0)
    door.gets(door.client, WRONG + TOO_MANY)


@pytest.mark.parametrize(("sender", "answer"), [(b"anna@local.test", b""), (b"boss@local.test", b"554 5.7.1 ")])
def test_G10_a_session_opened_by_a_password_is_bound_to_its_sender(
    workshop: Workshop, sender: bytes, answer: bytes
) -> None:
    door = Door(workshop, sender="match")
    door.asked().send(b"+OK\r\n")
    door.gets(door.client, RIGHT)
    line = b"MAIL FROM:<%b>\r\n" % sender
    accepted(door, line)
    door.client.send(FOREIGN)
    if answer:
        door.until(lambda: door.client.look()[door.client.told :].endswith(b"\r\n"))
        assert door.client.got[door.client.told :].startswith(answer)
    else:
        door.gets(door.up, FOREIGN)


def test_G15_where_no_server_can_be_reached_the_session_goes_on(workshop: Workshop, tmp_path: Path) -> None:
    door = Door(workshop, box=Server("", 0, str(tmp_path / "nobody")))
    door.talk(("C", plain()), (">C", UNKNOWN))
    assert workshop.log.of("bug") == []
    assert door.link.requests.call_off is None, "nothing is held that could call it off, and the password with it"
