"""What popgate remembers, as its administrator asks for it: who was behind an address, who still needs what is to be
retired.  Two workers on one SQLite file, so that either may have written what the other is asked for.
"""

from __future__ import annotations

import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pytest

from ..support.dialogue import Dialogue, pop_login, send
from ..support.popgate import Popgate, config
from ..support.process import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..support.appliance import SampleAppliance

FRIEND = b"friend@example.org"
BODY = b"Subject: hello\r\n\r\nhello\r\n.\r\n"


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What `condition` gives once it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.02)
    return found


@pytest.fixture
def pair(appliance: SampleAppliance) -> Iterator[Popgate]:
    """Two workers."""
    with Popgate(config(appliance.pop3, appliance.smtp, workers=2)) as gate:
        yield gate


def asked(gate: Popgate, *words: str) -> list[dict[str, Any]]:
    done = gate.command(*words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def deliver(gate: Popgate) -> None:
    with Dialogue(gate.address("smtp")) as smtp:
        smtp.expect(b"220")
        smtp.ask(b"HELO client", b"250")
        smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
        smtp.ask(b"RCPT TO:<%b>" % FRIEND, b"250")
        smtp.ask(b"DATA", b"354")
        smtp.say(BODY)
        smtp.expect(b"250")
        smtp.ask(b"QUIT", b"221")


def test_who_was_behind_the_address(pair: Popgate) -> None:
    pop_login(pair.address("pop3"), "alice")
    pop_login(pair.address("pop3"), "bob")
    pair.command("leases", "revoke", "alice")
    at = time.strftime("%Y-%m-%d %H:%M:%S")
    history = asked(pair, "leases", "history", "127.0.0.1")
    assert [(one["login"], one["how"]) for one in history] == [("bob", "live"), ("alice", "revoked")]
    assert all(one["began"] <= one["ended"] and abs(one["began"] - time.time()) < 60 for one in history)
    assert "bob" in [one["login"] for one in asked(pair, "leases", "history", "127.0.0.1", "--at", at)]
    assert asked(pair, "leases", "history", "127.0.0.1", "--at", "2020-02-29 14:05") == []
    assert asked(pair, "leases", "history", "192.0.2.7") == []
    assert len(pair.command("leases", "history").stdout.splitlines()) == 3
    pair.stop()
    assert [one["login"] for one in asked(pair, "leases", "history")] == ["bob", "alice"]
    pair.restart()
    assert [one["login"] for one in asked(pair, "leases", "history")] == ["bob", "alice"]


def test_a_lease_that_ran_out_is_told_with_its_end(appliance: SampleAppliance) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, workers=2, gate={"window": "1s"})) as gate:
        pop_login(gate.address("pop3"), "alice")
        until(lambda: asked(gate, "leases", "history")[0]["how"] == "ended")
        (first,) = asked(gate, "leases", "history")
        assert 0.9 < first["ended"] - first["began"] < 2.0
        pop_login(gate.address("pop3"), "alice")
        second, again = asked(gate, "leases", "history")
        assert (again["how"], abs(again["ended"] - first["ended"]) < 0.01) == ("ended", True)
        assert second["began"] >= first["ended"]


def test_who_still_needs_pop_before_smtp_and_clear_text(pair: Popgate) -> None:
    for _ in range(3):
        pop_login(pair.address("pop3"), "alice")
    for _ in range(4):
        deliver(pair)
    pair.stop()  # a worker hands over what it has observed when it ends
    found = {(one["need"], one["protocol"]): one for one in asked(pair, "report")}
    assert {key: (one["login"], one["times"]) for key, one in found.items()} == {
        ("lease", "smtp"): ("alice", 4),
        ("clear", "smtp"): ("alice", 4),
        ("clear", "pop3"): ("alice", 3),
    }
    assert all(abs(one["first"] - time.time()) < 60 and one["first"] <= one["last"] for one in found.values())
    pair.restart()
    said = pair.command("report").stdout
    assert said.startswith("NEEDS")
    assert said.splitlines()[1].split()[:6] == ["POP", "before", "SMTP", "SMTP", "127.0.0.1", "alice"]
    assert "POP before SMTP 1, clear text 1" in said


def test_a_running_popgate_writes_it_down_within_seconds(pair: Popgate) -> None:
    pop_login(pair.address("pop3"), "alice")
    found = until(lambda: asked(pair, "report"))
    assert [(one["login"], one["need"], one["times"]) for one in found] == [("alice", "clear", 1)]


def test_under_tls_with_a_trusted_network_there_is_nothing_to_retire(
    appliance: SampleAppliance, certificate: Path
) -> None:
    settings = config(appliance.pop3, appliance.smtp, certificate, gate={"trusted_networks": ["127.0.0.0/8"]})
    with Popgate(settings) as gate:
        deliver(gate)
        gate.stop()
        assert [(one["login"], one["need"]) for one in asked(gate, "report")] == [("", "clear")]


def why(gate: Popgate, *words: str) -> str:
    """What is said of 127.0.0.1, in one line."""
    done = gate.command("why", "127.0.0.1", *words)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")
    return done.stdout


def failed_login(gate: Popgate) -> None:
    with Dialogue(gate.address("pop3")) as pop:
        pop.expect(b"+OK")
        pop.ask(b"USER alice", b"+OK")
        pop.ask(b"PASS wrong", b"-ERR")


def test_why_has_a_word_for_everything_that_can_be(appliance: SampleAppliance) -> None:
    gate_keys = {
        "sender": "match",
        "max_messages": 2,
        "no_relay_logins": ["bob"],
        "lease_after_failures": 3,
        "patience": "0s",
    }
    with Popgate(config(appliance.pop3, appliance.smtp, workers=2, gate=gate_keys)) as gate:
        assert "refuse: no lease; never logged in" in why(gate)
        pop_login(gate.address("pop3"), "bob")
        until(lambda: "bob logged in" in why(gate))
        assert "and got no lease: no_relay_logins" in why(gate)
        pop_login(gate.address("pop3"), "alice")
        assert "allow: lease of alice (pop3), " in why(gate, "--sender", "alice@example.com")
        assert "refuse: lease of alice" in why(gate, "--sender", "eve@example.com")
        assert "; sender does not match: " in why(gate, "--sender", "eve@example.com")
        for _ in range(2):
            deliver(gate)
        until(lambda: "defer: " in why(gate))
        assert "2 messages to 2 recipients sent; budget spent: at most 2 messages in 30 min" in why(gate)
        gate.command("leases", "revoke", "alice")
        assert "refuse: no lease; revoked " in why(gate)
        for _ in range(3):
            failed_login(gate)
        said = why(gate)
        assert "a login from this address makes no lease: failed logins before it" in said
        assert "3 failed logins within ten minutes" in said


def test_a_local_message_and_a_refused_one_are_nobody_s_need(pair: Popgate) -> None:
    assert send(pair.address("smtp"), [b"bob@example.com"]).startswith(b"250 ")
    assert send(pair.address("smtp"), [FRIEND]).startswith(b"554 ")
    pair.stop()
    assert asked(pair, "report") == []


@pytest.mark.parametrize("store", [{"history": "0s"}, {"url": "memory:"}], ids=["off", "memory"])
def test_where_nothing_is_kept_the_commands_say_so(appliance: SampleAppliance, store: dict[str, str]) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, store=store)) as gate:
        pop_login(gate.address("pop3"), "alice")
        for words in (("leases", "history"), ("report",)):
            done = gate.command(*words)
            assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
            assert ("off" if "history" in store else "SQLite only") in done.stderr
        gate.stop()
        if "history" in store:
            database = sqlite3.connect(gate.folder / "leases.db")
            for table in ("history", "observation"):
                assert database.execute(f"SELECT count(*) FROM {table}").fetchall() == [(0,)]
            database.close()
