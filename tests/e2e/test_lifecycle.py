"""Starting, draining, reloading, dying workers, restarts, upstreams that are down.

promises 3, 4, 7 and 8, rules N5 to N7, and what bad input gets.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..support.dialogue import Dialogue, pop_login, send, stuffed
from ..support.legacy import Call, Legacy, silent
from ..support.popgate import Popgate, config, merged, start_fails
from ..support.ports import free, server_host

if TYPE_CHECKING:
    from ..support.appliance import SampleAppliance

FRIEND = b"friend@example.org"
SLACK = 2.0  # s that a loaded machine may add


def nobody() -> str:
    """An address where nobody listens: the port was free a moment ago on an address that nobody else uses."""
    host = server_host()
    return f"{host}:{free(host)}"


# --- starting


def test_a_port_in_use_is_named_with_its_listener(appliance: SampleAppliance) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = config(appliance.pop3, appliance.smtp, listener={"smtp": {"bind": [f"127.0.0.1:{port}"]}})
        code, said = start_fails(settings)
    assert code in (1, 2), said
    assert f"127.0.0.1:{port}" in said
    assert "smtp" in said
    assert "Traceback" not in said


def test_a_bad_configuration_lists_all_its_errors_and_exits_2(appliance: SampleAppliance) -> None:
    settings = config(appliance.pop3, appliance.smtp, gate={"windwo": "30m", "max_age": "soon"}, limits={"errors": "x"})
    code, said = start_fails(settings)
    assert code == 2, said
    for expected in ("windwo", "window", "max_age", "errors", "test.toml"):
        assert expected in said, said
    assert "Traceback" not in said


def test_a_missing_certificate_names_the_file_and_the_command(appliance: SampleAppliance) -> None:
    code, said = start_fails(config(appliance.pop3, appliance.smtp, Path("/nowhere/mail.pem")))
    assert code == 2, said
    assert "/nowhere/mail.pem" in said
    assert "certs make" in said


# --- draining


def test_promise_8_sigterm_lets_a_message_in_flight_finish(gate: Popgate, appliance: SampleAppliance) -> None:
    pop_login(gate.address("pop3"))
    with Dialogue(gate.address("smtp")) as smtp:
        smtp.expect(b"220")
        smtp.ask(b"HELO x", b"250")
        smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
        smtp.ask(b"RCPT TO:<" + FRIEND + b">", b"250")
        smtp.ask(b"DATA", b"354")
        smtp.say(b"Subject: in flight\r\n\r\n")
        before = len(gate.process.lines)
        gate.process.signal(signal.SIGTERM)
        gate.process.expect(r"(?i)drain", since=before)
        smtp.say(stuffed(b"the rest\r\n"))
        smtp.expect(b"250")
        assert smtp.rest()[:3] in (b"421", b"")
    assert gate.process.wait() == 0
    assert [message.octets for message in appliance.relayed] == [b"Subject: in flight\r\n\r\nthe rest\r\n"]


def test_N6_what_is_not_over_at_the_limit_is_cut(appliance: SampleAppliance) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, drain_timeout="1s")) as gate:
        with Dialogue(gate.address("smtp")) as smtp:
            smtp.expect(b"220")
            smtp.ask(b"HELO x", b"250")
            smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
            smtp.ask(b"RCPT TO:<bob@example.com>", b"250")
            smtp.ask(b"DATA", b"354")
            gate.process.signal(signal.SIGTERM)
            assert not smtp.rest().startswith(b"2")
        assert gate.process.wait() == 0
    assert appliance.appliance.mailboxes["bob"] == []


def test_N6_idle_sessions_end_at_once_when_draining(gate: Popgate) -> None:
    with Dialogue(gate.address("smtp")) as smtp, Dialogue(gate.address("pop3")) as pop:
        smtp.expect(b"220")
        pop.expect(b"+OK")
        gate.process.signal(signal.SIGTERM)
        assert smtp.rest()[:3] in (b"421", b"")
        assert pop.rest()[:4] in (b"-ERR", b"")
    assert gate.process.wait() == 0


# --- reloading


def test_promise_8_a_good_reload_counts_for_new_sessions_and_keeps_the_old(
    gate: Popgate, appliance: SampleAppliance
) -> None:
    with Dialogue(gate.address("smtp")) as old:
        old.expect(b"220")
        old.ask(b"HELO x", b"250")
        gate.write(config(appliance.pop3, appliance.smtp, gate={"local_domains": ["example.com", "example.org"]}))
        gate.reload(r"(?i)reloaded")
        assert send(gate.address("smtp"), [FRIEND]).startswith(b"250 ")
        old.ask(b"MAIL FROM:<alice@example.com>", b"250")
        old.ask(b"RCPT TO:<" + FRIEND + b">", b"554")


def test_promise_8_a_bad_reload_changes_nothing(gate: Popgate, appliance: SampleAppliance) -> None:
    pop_login(gate.address("pop3"))
    gate.write(config(appliance.pop3, appliance.smtp, gate={"windwo": 1}))
    said = gate.reload("windwo")
    assert "window" in said
    assert send(gate.address("smtp"), [FRIEND]).startswith(b"250 ")
    gate.write("this is not TOML")
    gate.reload("test.toml")
    assert send(gate.address("smtp"), [FRIEND]).startswith(b"250 ")


def test_N7_what_needs_a_restart_is_refused_by_name(gate: Popgate, appliance: SampleAppliance) -> None:
    gate.write(config(appliance.pop3, appliance.smtp, workers=2))
    assert "workers" in gate.reload(r"(?i)restart")


# --- workers


def test_N5_a_killed_worker_is_replaced(appliance: SampleAppliance) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, workers=2)) as gate:
        pop_login(gate.address("pop3"))
        first = gate.workers()
        assert len(first) == 2
        for pid in first:
            before = len(gate.process.lines)
            os.kill(pid, signal.SIGKILL)
            gate.process.expect("worker-died.*signal 9", since=before)
        # The kernel queues what nobody accepts yet, so this waits for a new worker, and its lease is in the store.
        assert send(gate.address("smtp"), [FRIEND]).startswith(b"250 ")
        assert not set(first) & set(gate.workers())


# --- restarts and the store


def test_promise_4_a_restart_neither_loses_nor_lengthens_a_lease(gate: Popgate) -> None:
    pop_login(gate.address("pop3"))
    before = gate.command("leases", "list")
    gate.restart()
    assert send(gate.address("smtp"), [FRIEND]).startswith(b"250 ")
    after = gate.command("leases", "list")
    assert "alice" in before.stdout
    assert "alice" in after.stdout


def test_promise_4_a_killed_gate_keeps_its_leases(gate: Popgate) -> None:
    pop_login(gate.address("pop3"))
    gate.stop(signal.SIGKILL)
    gate.restart()
    assert send(gate.address("smtp"), [FRIEND]).startswith(b"250 ")


def test_promise_4_a_lease_ends_within_a_long_session(appliance: SampleAppliance) -> None:
    """In real time: the injected clocks are the unit tests' business, this shows that the parts are joined."""
    settings = config(appliance.pop3, appliance.smtp, gate={"window": "2s", "max_age": "1h"})
    with Popgate(settings) as gate, Dialogue(gate.address("smtp")) as smtp:
        smtp.expect(b"220")
        smtp.ask(b"HELO x", b"250")
        start = time.monotonic()
        pop_login(gate.address("pop3"))
        replies: list[bytes] = []
        while (not replies or replies[-1] == b"250") and time.monotonic() < start + 10:
            smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
            replies.append(smtp.ask(b"RCPT TO:<" + FRIEND + b">", b"")[:3])
            smtp.ask(b"RSET", b"250")
        took = time.monotonic() - start
    assert set(replies[:-1]) == {b"250"}
    assert replies[-1] == b"554"
    assert 1.9 < took < 2.0 + SLACK, took


def test_revoke_closes_the_gate(gate: Popgate) -> None:
    pop_login(gate.address("pop3"))
    done = gate.command("leases", "revoke", "127.0.0.1")
    assert done.returncode == 0, done.stderr
    assert send(gate.address("smtp"), [FRIEND]).startswith(b"554 ")


def test_grant_opens_the_gate_and_why_says_so(gate: Popgate) -> None:
    closed = gate.command("why", "127.0.0.1")
    assert gate.command("leases", "grant", "127.0.0.1", "--for", "1m").returncode == 0
    assert send(gate.address("smtp"), [FRIEND]).startswith(b"250 ")
    opened = gate.command("why", "127.0.0.1")
    assert closed.stdout != opened.stdout
    assert "(admin)" in opened.stdout + gate.command("leases", "list").stdout


# --- upstreams


def test_an_upstream_that_refuses_gets_the_client_a_temporary_error() -> None:
    with Popgate(config(nobody(), nobody())) as gate:
        with Dialogue(gate.address("smtp")) as smtp:
            smtp.expect(b"421 4.3.2")
            assert smtp.closed()
        with Dialogue(gate.address("pop3")) as pop:
            pop.expect(b"-ERR [SYS/TEMP]")
            assert pop.closed()


def test_a_silent_upstream_gets_the_client_a_temporary_error() -> None:
    with Legacy(silent) as old:
        slow = {"connect_timeout": "300ms"}
        settings = config(old.endpoint, old.endpoint, upstream={"pop3": slow, "smtp": slow})
        with Popgate(settings) as gate:
            with Dialogue(gate.address("smtp")) as smtp:
                smtp.expect(b"421 4.3.2")
            with Dialogue(gate.address("pop3")) as pop:
                pop.expect(b"-ERR [SYS/TEMP]")


def test_promise_7_no_password_in_the_log(gate: Popgate) -> None:
    for password in ("secret", "wr0ng-passw0rd"):
        with Dialogue(gate.address("pop3")) as pop:
            pop.expect(b"+OK")
            pop.ask(b"USER alice", b"+OK")
            pop.ask(b"PASS " + password.encode(), b"")
    gate.stop()
    assert "alice" in gate.process.output
    assert "secret" not in gate.process.output
    assert "wr0ng" not in gate.process.output


def test_the_next_server_is_tried_when_the_first_is_down(appliance: SampleAppliance) -> None:
    settings = config(appliance.pop3, appliance.smtp)
    settings = merged(settings, {"upstream": {"smtp": {"servers": [nobody(), appliance.smtp]}}})
    with Popgate(settings) as gate:
        assert send(gate.address("smtp"), [b"bob@example.com"]).startswith(b"250 ")


def test_G12_a_reload_that_ends_shadow_ends_it_for_sessions_that_live() -> None:
    """A server that is found to relay for us must not be an open relay for the hours that a session may last."""

    async def refuse(call: Call) -> None:
        said = b"220 old\r\n"
        while line := await call.ask(said):
            said = b"554 5.7.1 Relay access denied\r\n" if line.startswith(b"RCPT") else b"250 ok\r\n"

    with Legacy(refuse) as server:
        settings = merged(config(server.endpoint, server.endpoint), {"gate": {"mode": "shadow"}})
        with Popgate(settings) as gate, Dialogue(gate.address("smtp")) as smtp:
            smtp.expect(b"220")
            smtp.ask(b"HELO x", b"250")
            gate.write(merged(settings, {"gate": {"mode": "enforce"}}))
            gate.reload(r"\breloaded\b")
            assert gate.command("leases").returncode == 0  # the worker answers it behind the reload
            smtp.ask(b"MAIL FROM:<a@example.org>", b"250")
            smtp.ask(b"RCPT TO:<" + FRIEND + b">", b"554")
            smtp.ask(b"QUIT", b"250")
        assert all(b"RCPT TO:<" + FRIEND not in call.received for call in server.calls)
