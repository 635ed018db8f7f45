"""The gate's keys as users meet them, on two workers and one SQLite file: patience, senders, budgets, suspicion.

rules G2, G3, G6, G9, G10, G11, G13, on the real program, in front of the sample appliance.  AUTH checked by POP3:
test_auth_by_pop3.py.
"""

from __future__ import annotations

import select
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from ..support import clients
from ..support.dialogue import Dialogue, pop_login, send, stuffed
from ..support.popgate import Popgate, config
from ..support.ports import client_host
from ..support.vitals import noted

if TYPE_CHECKING:
    from pathlib import Path

    from ..support.appliance import SampleAppliance

FRIEND = b"friend@example.org"
MESSAGE = b"Subject: a\r\n\r\nb\r\n"
PROMPT = 0.5  # s from a login to the recipient that waited for it: a tenth for the watch, the rest for the machine
WAITERS = 12
SPENT = b"452 4.7.1 "
SLACK = 2.0  # s that a loaded machine may add


def gate(appliance: SampleAppliance, **changes: Any) -> Popgate:
    """Two workers."""
    return Popgate(config(appliance.pop3, appliance.smtp, workers=2, **changes))


def begun(address: tuple[str, int], source: str = "", sender: bytes = b"alice@example.com") -> Dialogue:
    """A session behind MAIL."""
    smtp = Dialogue(address, source)
    smtp.expect(b"220")
    smtp.ask(b"HELO client", b"250")
    smtp.ask(b"MAIL FROM:<" + sender + b">", b"250")
    return smtp


def rcpt(smtp: Dialogue, recipient: bytes = FRIEND, start: bytes = b"") -> bytes:
    return smtp.ask(b"RCPT TO:<" + recipient + b">", start)


def sent(smtp: Dialogue) -> None:
    """DATA and a message, accepted."""
    smtp.ask(b"DATA", b"354")
    smtp.say(stuffed(MESSAGE))
    smtp.expect(b"250")


def failed(gate: Popgate, source: str) -> float:
    """A login with a wrong password; how long its answer took."""
    with Dialogue(gate.address("pop3"), source, timeout=60.0) as pop:
        pop.expect(b"+OK")
        pop.ask(b"USER alice", b"+OK")
        before = time.monotonic()
        pop.ask(b"PASS guess", b"-ERR")
        return time.monotonic() - before


def events(gate: Popgate, name: str) -> list[str]:
    """The lines of an event in the log so far."""
    return [line for line in gate.process.lines if f" {name} " in line]


# Patience


def test_G9_a_recipient_waits_for_the_login_and_goes_on_the_instant_it_is_there(appliance: SampleAppliance) -> None:
    """Many, so that most of them wait in a worker that the login does not come to."""
    sources = [client_host() for _ in range(WAITERS)]
    with gate(appliance, gate={"patience": "30s"}) as house, ExitStack() as stack:
        waiting = [stack.enter_context(begun(house.address("smtp"), source)) for source in sources]
        for smtp in waiting:
            smtp.say(b"RCPT TO:<" + FRIEND + b">\r\n")
        assert not select.select([smtp.socket for smtp in waiting], [], [], 0.5)[0], "all of them wait"
        took = []
        for source, smtp in zip(sources, waiting, strict=True):
            pop_login(house.address("pop3"), source=source)
            before = time.monotonic()
            smtp.expect(b"250")
            took.append(time.monotonic() - before)
    noted("patience: from the login to the recipient, two workers", f"{median(took):.3f} s, at most {max(took):.3f} s")
    assert median(took) < PROMPT, took
    assert max(took) < PROMPT + SLACK, took


@pytest.mark.parametrize("send_by", [clients.swaks, clients.curl_send, clients.msmtp], ids=lambda one: one.__name__)
def test_G9_a_real_client_that_sends_while_it_fetches(
    appliance: SampleAppliance, tmp_path: Path, send_by: clients.Send
) -> None:
    to = f"{send_by.__name__}@example.org"
    with gate(appliance, gate={"patience": "30s"}) as house, ThreadPoolExecutor(1) as pool:
        run = pool.submit(send_by, house.address("smtp"), tmp_path, to, MESSAGE)
        with Dialogue(house.address("pop3")) as pop:
            pop.expect(b"+OK")
            house.process.expect(r"\bserving\b")
            assert not select.select([pop.socket], [], [], 1.0)[0]  # a user with a slow password
            assert not run.done(), run.result().said
            assert not appliance.relayed_to(to)
            pop.ask(b"USER alice", b"+OK")
            pop.ask(b"PASS secret", b"+OK")
            assert run.result().content, run.result().said
        assert appliance.relayed_to(to)
        assert not events(house, "refused")


def test_G9_nobody_logs_in_and_the_refusal_comes_in_its_time(appliance: SampleAppliance) -> None:
    with gate(appliance, gate={"patience": "1s"}) as house, begun(house.address("smtp")) as smtp:
        before = time.monotonic()
        rcpt(smtp, start=b"554 5.7.1 ")
        assert 0.9 < time.monotonic() - before < 1.0 + SLACK
        before = time.monotonic()
        rcpt(smtp, start=b"554 5.7.1 ")
        assert time.monotonic() - before < 0.9, "once a transaction"
        smtp.ask(b"RSET", b"250")


def test_G9_the_sixth_of_an_address_is_refused_at_once_and_others_wait_on(appliance: SampleAppliance) -> None:
    """In one worker, whose count it is."""
    home, other = client_host(), client_host()
    settings = config(appliance.pop3, appliance.smtp, gate={"patience": "30s"})
    with Popgate(settings) as house, ExitStack() as stack:
        waiting = [stack.enter_context(begun(house.address("smtp"), home)) for _ in range(5)]
        for smtp in waiting:
            smtp.say(b"RCPT TO:<" + FRIEND + b">\r\n")
        assert not select.select([smtp.socket for smtp in waiting], [], [], 0.3)[0]
        with begun(house.address("smtp"), home) as sixth:
            rcpt(sixth, start=b"554 5.7.1 ")
        with begun(house.address("smtp"), other) as elsewhere:
            elsewhere.say(b"RCPT TO:<" + FRIEND + b">\r\n")
            pop_login(house.address("pop3"), source=other)
            elsewhere.expect(b"250")
        pop_login(house.address("pop3"), source=home)
        for smtp in waiting:
            smtp.expect(b"250")


def test_G9_local_mail_passes_beside_who_waits(appliance: SampleAppliance) -> None:
    source = client_host()
    with gate(appliance, gate={"patience": "30s"}) as house, begun(house.address("smtp"), source) as smtp:
        smtp.say(b"RCPT TO:<" + FRIEND + b">\r\n")
        assert send(house.address("smtp"), [b"bob@example.com"], source=source).startswith(b"250")
        pop_login(house.address("pop3"), source=source)
        smtp.expect(b"250")


# Senders


def test_G10_match_with_a_map(appliance: SampleAppliance) -> None:
    rules = {"sender": "match", "sender_map": "senders"}
    settings = config(appliance.pop3, appliance.smtp, workers=2, gate=rules)
    with Popgate(config(appliance.pop3, appliance.smtp, workers=2)) as house:
        (house.folder / "senders").write_text("alice sales@example.org @press.example.org   # both hers\n")
        house.write(settings)
        house.restart()
        pop_login(house.address("pop3"), "alice")
        for sender in (b"alice@example.com", b"ALICE@Example.com", b"sales@example.org", b"x@press.example.org", b""):
            with begun(house.address("smtp"), sender=sender) as smtp:
                rcpt(smtp, start=b"250")
        for sender in (b"bob@example.com", b"alice@example.org", b"boss@example.com"):
            with begun(house.address("smtp"), sender=sender) as smtp:
                refused = rcpt(smtp, start=b"554 5.7.1 ")
                assert refused.endswith(b": Relay access denied: sender does not match\r\n")
                rcpt(smtp, b"bob@example.com", b"250")
        with begun(house.address("smtp"), sender=b"") as smtp:
            rcpt(smtp, start=b"250")
            rcpt(smtp, start=b"452 4.5.3 ")
        pop_login(house.address("pop3"), "bob")
        with begun(house.address("smtp"), sender=b"bob@example.com") as smtp:
            rcpt(smtp, start=b"250")
        why = house.command("why", "127.0.0.1", "--sender", "boss@example.com")
        assert "sender does not match" in why.stdout, why


def test_G10_shared_networks_bind_their_own_clients_only(appliance: SampleAppliance) -> None:
    with gate(appliance, gate={"shared_networks": ["127.0.0.3"]}) as house:
        for source, start in (("127.0.0.3", b"554 5.7.1 "), ("127.0.0.4", b"250")):
            pop_login(house.address("pop3"), source=source)
            with begun(house.address("smtp"), source, b"boss@example.com") as smtp:
                rcpt(smtp, start=start)
            with begun(house.address("smtp"), source, b"alice@example.com") as smtp:
                rcpt(smtp, start=b"250")


def test_G10_log_says_so_and_lets_it_pass(appliance: SampleAppliance) -> None:
    with gate(appliance, gate={"sender": "log"}) as house:
        pop_login(house.address("pop3"))
        with begun(house.address("smtp"), sender=b"boss@example.com") as smtp:
            rcpt(smtp, start=b"250")
            sent(smtp)
        house.process.expect(r'relayed .*why="lease of alice, sender does not match"')


# Budgets


def charged(gate: Popgate, source: str, start: bytes) -> bytes:
    """The answer to a recipient once the charge for the last message is in the store: it goes there behind the 250."""
    end = time.monotonic() + SLACK + 3
    while True:
        with begun(gate.address("smtp"), source) as smtp:
            reply = rcpt(smtp)
            if reply.startswith(start) or time.monotonic() > end:
                return reply


def test_G11_messages_in_a_window(appliance: SampleAppliance) -> None:
    source = client_host()
    with gate(appliance, gate={"max_messages": 2, "window": "4s"}) as house:
        until = time.monotonic() + 4
        pop_login(house.address("pop3"), source=source)
        for _ in range(2):
            assert send(house.address("smtp"), [FRIEND], source=source).startswith(b"250")
        assert charged(house, source, SPENT).startswith(SPENT)
        pop_login(house.address("pop3"), source=source)
        assert send(house.address("smtp"), [FRIEND], source=source).startswith(SPENT), "a new login is no new budget"
        assert send(house.address("smtp"), [b"bob@example.com"], source=source).startswith(b"250")
        while time.monotonic() < until + SLACK:
            pop_login(house.address("pop3"), source=source)
            if send(house.address("smtp"), [FRIEND], source=source).startswith(b"250"):
                break
        assert until - 0.1 < time.monotonic() < until + SLACK


def test_G11_a_session_sends_no_more_than_its_budget_however_fast(appliance: SampleAppliance) -> None:
    source = client_host()
    with gate(appliance, gate={"max_messages": 2}) as house:
        pop_login(house.address("pop3"), source=source)
        with begun(house.address("smtp"), source) as smtp:
            for _ in range(2):
                rcpt(smtp, start=b"250")
                sent(smtp)
                smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
            rcpt(smtp, start=SPENT)


def test_G11_recipients_over_it_are_452_and_one_line_in_the_log(appliance: SampleAppliance) -> None:
    source = client_host()
    with gate(appliance, gate={"max_recipients": 3}, limits={"refusals": 5}) as house:
        pop_login(house.address("pop3"), source=source)
        with begun(house.address("smtp"), source) as smtp:
            for number in range(3):
                rcpt(smtp, b"friend%d@example.org" % number, b"250")
            for number in range(30):
                rcpt(smtp, b"more%d@example.org" % number, SPENT)
            rcpt(smtp, b"bob@example.com", b"250")
            sent(smtp)
            smtp.ask(b"QUIT", b"221")
        house.process.expect(r" end .*msgs=1 ")
        [line] = events(house, "refused")
        assert "recipient=more0@example.org" in line
        assert 'why="lease of alice, 3 recipients at once"' in line
        assert charged(house, source, SPENT).startswith(SPENT)
        house.process.expect(r' refused .*why="budget spent"')
        [message] = appliance.relayed
        assert len(message.recipients) == 4


# Logins that open nothing


def test_G13_no_relay_logins(appliance: SampleAppliance) -> None:
    source = client_host()
    with gate(appliance, gate={"no_relay_logins": ["Carol"]}) as house:
        pop_login(house.address("pop3"), "carol", source)
        assert send(house.address("smtp"), [FRIEND], source=source).startswith(b"554 5.7.1 ")
        house.process.expect(r"WARNING pop3 no-lease .*login=carol why=no_relay_logins")
        pop_login(house.address("pop3"), "alice", source)
        assert send(house.address("smtp"), [FRIEND], source=source).startswith(b"250")


def test_G13_a_success_behind_failures_through_any_worker_opens_nothing(appliance: SampleAppliance) -> None:
    guesser, honest = client_host(), client_host()
    with gate(appliance, gate={"lease_after_failures": 4}) as house:
        for _ in range(4):
            failed(house, guesser)
        for source, start in ((guesser, b"554 5.7.1 "), (honest, b"250")):
            pop_login(house.address("pop3"), source=source)
            assert send(house.address("smtp"), [FRIEND], source=source).startswith(start)
        house.process.expect(r'no-lease .*login=alice why="failed logins before it"')


def test_G13_too_many_failures_are_slowed_then_closed_and_others_are_not(appliance: SampleAppliance) -> None:
    guesser, honest = client_host(), client_host()
    with gate(appliance, limits={"failed_logins_per_address": 3}) as house:
        for _ in range(3):
            assert failed(house, guesser) < 0.9
        with Dialogue(house.address("pop3"), guesser) as pop:
            pop.expect(b"+OK")
            pop.ask(b"USER alice", b"+OK")
            before = time.monotonic()
            pop.say(b"PASS guess\r\n")
            assert failed(house, honest) < 0.9, "nobody else waits"
            pop.expect(b"-ERR")
            assert 0.9 < time.monotonic() - before < 1.0 + SLACK
            assert pop.rest().startswith(b"-ERR "), "and the session ends"
        assert 1.9 < failed(house, guesser) < 2.0 + SLACK
        house.process.expect(r"WARNING pop3 slowed .*failures=4 ")
        pop_login(house.address("pop3"), source=guesser)
        assert send(house.address("smtp"), [FRIEND], source=guesser).startswith(b"250"), "who knows the password may"


def test_G3_max_logins_per_address(appliance: SampleAppliance) -> None:
    source = client_host()
    with gate(appliance, gate={"max_logins_per_address": 1, "sender": "match"}) as house:
        for login in ("alice", "bob"):
            pop_login(house.address("pop3"), login, source)
        for login, start in ((b"alice", b"250"), (b"bob", b"554 5.7.1 ")):
            with begun(house.address("smtp"), source, login + b"@example.com") as smtp:
                rcpt(smtp, start=start)
        house.process.expect(r"WARNING pop3 no-lease .*login=bob why=max_logins_per_address")


# Addresses


def by_balancer(address: tuple[str, int], client: str) -> Dialogue:
    """A connection that a load balancer hands on for `client`."""
    dialogue = Dialogue(address)
    dialogue.say(b"PROXY TCP6 %b 2001:db8:ffff::1 1024 25\r\n" % client.encode())
    return dialogue


@pytest.mark.parametrize(("prefix", "neighbour"), [(64, b"250"), (128, b"554 5.7.1 ")])
def test_G2_ipv6_prefix(appliance: SampleAppliance, prefix: int, neighbour: bytes) -> None:
    proxied = {name: {"accept_proxy_from": ["127.0.0.1"]} for name in ("pop3", "smtp")}
    with gate(appliance, gate={"ipv6_prefix": prefix}, listener=proxied) as house:
        with by_balancer(house.address("pop3"), "2001:db8:0:1::5") as pop:
            pop.expect(b"+OK")
            pop.ask(b"USER alice", b"+OK")
            pop.ask(b"PASS secret", b"+OK")
        for client, start in (
            ("2001:db8:0:1::5", b"250"), ("2001:db8:0:1:ab::9", neighbour), ("2001:db8:0:2::5", b"554 5.7.1 ")
        ):  # fmt: skip
            with by_balancer(house.address("smtp"), client) as smtp:
                smtp.expect(b"220")
                smtp.ask(b"HELO client", b"250")
                smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
                rcpt(smtp, start=start)


def test_G6_a_revoked_login_may_not_relay_from_its_next_mail_on(appliance: SampleAppliance) -> None:
    """Wherever it is: all its leases end."""
    home, office = client_host(), client_host()
    with gate(appliance) as house:
        for source in (home, office):
            pop_login(house.address("pop3"), "alice", source)
        pop_login(house.address("pop3"), "bob", office)
        with begun(house.address("smtp"), home) as smtp:
            rcpt(smtp, start=b"250")
            assert house.command("leases", "revoke", "alice").returncode == 0
            rcpt(smtp, b"other@example.org", b"250")
            sent(smtp)
            smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
            rcpt(smtp, start=b"554 5.7.1 ")
        assert send(house.address("smtp"), [FRIEND], source=office).startswith(b"250"), "bob's is still there"
