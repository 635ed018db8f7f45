"""`popgate sessions`, `kick`, `log-level` and `trace` on the running program, with two workers."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ..support.dialogue import Dialogue
from ..support.popgate import Popgate, config
from ..support.process import Process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..support.appliance import SampleAppliance


@pytest.fixture
def gate(appliance: SampleAppliance) -> Iterator[Popgate]:
    with Popgate(config(appliance.pop3, appliance.smtp, workers=2, log={"level": "info"})) as made:
        yield made


def sessions(gate: Popgate) -> list[dict[str, Any]]:
    done = gate.command("sessions", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["count"] == len(answer["sessions"])
    assert answer["silent"] == 0
    found: list[dict[str, Any]] = answer["sessions"]
    return found


def test_sessions_of_all_workers_are_listed_and_one_is_kicked(gate: Popgate) -> None:
    assert sessions(gate) == []
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Dialogue(gate.address("smtp"))) for _ in range(12)]
        for number, client in enumerate(clients):
            client.expect(b"220")
            client.ask(b"HELO c%d" % number, b"250")
        found = sessions(gate)
        assert sorted(one["helo"] for one in found) == sorted(f"c{number}" for number in range(12))
        assert all(one["doing"] == "waiting for a command" and one["listener"] == "smtp" for one in found)
        table = gate.command("sessions").stdout
        assert table.splitlines()[0].split() == [
            "ID", "CLIENT", "LISTENER", "LOGIN", "HELO", "SECONDS", "IN", "OUT", "UPSTREAM", "DOING"
        ]  # fmt: skip
        assert len(table.splitlines()) == 13
        (fifth,) = [one["id"] for one in found if one["helo"] == "c5"]
        done = gate.command("kick", fifth)
        assert (done.returncode, done.stdout) == (0, f"{fifth}: the session of 127.0.0.1 is ended\n")
        clients[5].expect(b"421 4.3.2 The administrator has ended this session")
        gate.process.expect(rf'end client=127.0.0.1 id={fifth} .*why="kicked by the administrator')
        assert len(sessions(gate)) == 11
        clients[6].ask(b"NOOP", b"250")
    done = gate.command("kick", fifth)
    assert done.returncode == 1
    assert f"there is no session {fifth}" in done.stderr


def test_the_log_level_holds_for_all_workers_until_the_next_reload(gate: Popgate) -> None:
    def quiet_session() -> None:
        with Dialogue(gate.address("smtp")) as client:
            client.expect(b"220")
            client.ask(b"QUIT", b"221")

    done = gate.command("log-level", "debug")
    assert (done.returncode, done.stdout) == (0, "log level debug, until the next reload or restart\n")
    quiet_session()
    gate.process.expect(r"DEBUG smtp end")
    gate.reload("reloaded")
    before = len(gate.process.lines)
    quiet_session()
    with Dialogue(gate.address("smtp")) as client:
        client.expect(b"220")
        client.ask(b"HELO c", b"250")
    gate.process.expect(r"INFO smtp end", since=before)
    assert not any(" DEBUG " in line for line in gate.process.lines[before:])
    assert gate.command("log-level", "loud").returncode == 2


def test_a_trace_shows_both_sides_and_no_password(gate: Popgate) -> None:
    argv = [sys.executable, "-m", "proxy", "trace", "--client", "127.0.0.1", "-c", str(gate.folder / "conf.d")]
    trace = Process(argv)
    try:
        trace.expect("sessions that 127.0.0.1 begins from now on")
        with Dialogue(gate.address("pop3")) as pop:
            pop.expect(b"+OK")
            pop.ask(b"USER alice", b"+OK")
            pop.ask(b"PASS secret", b"+OK")
            pop.ask(b"QUIT", b"+OK")
        trace.expect(r"pop3 -- end: ")
        with Dialogue(gate.address("smtp")) as smtp:
            smtp.expect(b"220")
            smtp.ask(b"EHLO c", b"250")
            smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
            smtp.ask(b"RCPT TO:<friend@example.org>", b"250")
            smtp.ask(b"DATA", b"354")
            smtp.ask(b"Subject: hidden\r\n\r\nhidden\r\n.", b"250")
        trace.expect(r"smtp -- end: ")
        trace.signal(signal.SIGINT)
        assert trace.wait() == 0
    finally:
        trace.stop()
    text = trace.output
    for line in (
        r"[\d:.]{12} [01]-\w+ pop3 -- 127.0.0.1 at listener pop3", "C> USER alice", r"C> PASS \*\*\*",
        r">U PASS \*\*\*", r"U> \+OK \(\d+ octets\)", "C> QUIT", "C> EHLO c", ">U EHLO c",
        "C> RCPT TO:<friend@example.org>", r"C> \(\d+ octets\)",
    ):  # fmt: skip
        assert re.search(line + r"\s*$", text, re.MULTILINE), line
    assert "secret" not in text
    assert "hidden" not in text


def test_a_trace_ends_by_itself(gate: Popgate) -> None:
    done = gate.command("trace", "--client", "192.0.2.7", "--for", "1s")
    assert done.returncode == 0, done.stderr
    assert "192.0.2.7" in done.stdout


def test_without_a_popgate_that_runs_they_say_so(tmp_path: Path, appliance: SampleAppliance) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp)) as gate:
        gate.stop()
        for words in (("sessions",), ("kick", "0-1"), ("log-level", "info"), ("trace", "--client", "192.0.2.7")):
            done = gate.command(*words)
            assert done.returncode == 1
            assert "popgate does not run" in done.stderr
