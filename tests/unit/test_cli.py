"""The command line in this process: words, exit codes, and one line for every error.

No popgate runs here: leases are those of the store (rule N8).  With a running one: tests/e2e/test_operator.py.
"""

from __future__ import annotations

import io
import json
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy.cli import FAILED, GOOD, USAGE, main
from proxy.cli.tables import moment
from proxy.config import load
from proxy.errors import PopgateError
from proxy.leases.clock import Clock
from proxy.leases.table import LeaseTable
from proxy.leases.usage_report import Observation
from proxy.node import control
from proxy.wire.address import packed

from ..support.configuration import written

PLAIN = """
[listener.smtp]
tls = "off"
[gate]
local_domains = ["example.com"]
trusted_networks = ["10.0.0.0/8"]
"""


class Shell:
    """`popgate` with the configuration of one folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.conf = written(folder, PLAIN)
        self._capsys = capsys
        self.out = self.err = ""

    def configure(self, text: str) -> None:
        written(self.folder, text)

    def __call__(self, *words: str, config: bool = True) -> int:
        try:
            code = main([*words, *(["-c", str(self.conf)] if config else [])])
        except SystemExit as end:  # argparse's own way out
            code = int(end.code or 0)
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.out + self.err
        return code


@pytest.fixture
def popgate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


# --- usage


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("dance",),
        ("--what",),
        ("run", "--what"),
        ("leases", "dance"),
        ("leases", "grant"),
        ("leases", "grant", "nonsense"),
        ("leases", "grant", "fe80::1%eth0"),
        ("leases", "grant", "192.0.2.7", "--for", "soon"),
        ("leases", "grant", "192.0.2.7", "--for", "0"),
        ("leases", "grant", "192.0.2.7", "--for", "-5m"),
        ("leases", "grant", "192.0.2.7", "--login", ""),
        ("leases", "grant", "192.0.2.7", "--login", "x" * 257),
        ("leases", "revoke"),
        ("leases", "revoke", ""),
        ("why",),
        ("why", "example.com"),
        ("certs",),
        ("certs", "make"),
        ("demo", "--config", "x"),
    ],
)
def test_nonsense_is_usage(popgate: Shell, words: tuple[str, ...]) -> None:
    assert popgate(*words, config=False) == USAGE
    assert popgate.err.startswith("popgate")
    assert "(usage: popgate " in popgate.err
    assert popgate.err.count("\n") == 1
    assert popgate.err.splitlines()[-1].startswith("popgate")
    assert popgate.out == ""


def test_version(popgate: Shell) -> None:
    assert popgate("--version", config=False) == GOOD
    for word in ("popgate ", "Python 3.", "OpenSSL", "uvloop"):
        assert word in popgate.out


def test_help_knows_every_command(popgate: Shell) -> None:
    assert popgate("--help", config=False) == GOOD
    for command in ("run", "check", "selftest", "demo", "leases", "why", "status", "drain", "reload", "certs"):
        assert f"\n    {command} " in popgate.out


@pytest.mark.parametrize(
    "command", [("run",), ("check",), ("leases",), ("leases", "list"), ("why", "192.0.2.7"), ("status",), ("drain",)]
)
def test_a_bad_configuration_is_exit_2_with_all_its_errors(popgate: Shell, command: tuple[str, ...]) -> None:
    popgate.configure("[gate]\nwindwo = 1\nmax_age = 'soon'\n")
    assert popgate(*command) == USAGE
    assert len(popgate.err.splitlines()) == 2
    assert all(line.startswith(f"{popgate.conf}/50-test.toml: gate.") for line in popgate.err.splitlines())


def test_a_configuration_that_is_not_there(popgate: Shell) -> None:
    assert popgate("check", "-c", "/nowhere", config=False) == USAGE
    assert len(popgate.err.splitlines()) == 1
    assert "/nowhere" in popgate.err


# --- check


def test_check_prints_what_loads_again(popgate: Shell, tmp_path: Path) -> None:
    assert popgate("check") == GOOD
    again = tmp_path / "again.toml"
    again.write_text(popgate.out)
    assert load(again) == load(popgate.conf)
    assert popgate.err == ""


def test_check_names_a_missing_certificate_and_the_command(popgate: Shell) -> None:
    popgate.configure("")
    assert popgate("check") == USAGE
    assert f"{popgate.folder}/certs/mail.pem" in popgate.err
    assert "popgate certs make" in popgate.err
    assert popgate.out == ""


def test_check_names_all_that_is_wrong_outside_the_files(popgate: Shell) -> None:
    popgate.configure(
        'user = "nobody-of-that-name"\n'
        '[listener.smtp]\nbind = ["0.0.0.0:2525"]\n[upstream.smtp]\nservers = ["127.0.0.1:2525"]\n'
    )
    assert popgate("check") == USAGE
    lines = popgate.err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("user: there is no user 'nobody-of-that-name'")
    assert "mail.pem" in lines[1]
    assert "upstream.smtp: 127.0.0.1:2525 is popgate itself" in lines[2]


def test_check_warns_of_what_is_old(popgate: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    popgate("certs", "make", "mail.example.com", "--folder", str(popgate.folder / "certs"), "--file", "mail.pem",
            config=False)  # fmt: skip
    popgate.configure('[tls]\nmin_version = "TLSv1"\n')
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 900 * 86400)
    assert popgate("check") == GOOD
    assert "the certificate has expired" in popgate.err
    assert "TLSv1" in popgate.err


# --- certs


def test_certs_make(popgate: Shell, tmp_path: Path) -> None:
    words = ("certs", "make", "mail.example.com", "192.0.2.1", "--folder", str(tmp_path / "new"))
    assert popgate(*words, config=False) == GOOD
    made = tmp_path / "new" / "mail.example.com.pem"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert str(made) in popgate.out
    assert popgate(*words, config=False) == USAGE
    assert len(popgate.err.splitlines()) == 1
    assert "--force" in popgate.err
    before = made.read_bytes()
    assert popgate(*words, "--force", config=False) == GOOD
    assert made.read_bytes() != before


# --- leases without a running popgate


def test_N8_without_a_daemon_the_store_is_opened(popgate: Shell) -> None:
    assert popgate("leases", "grant", "192.0.2.7", "--login", "alice", "--for", "10m") == GOOD
    assert popgate.out == "192.0.2.7 may relay for 600 s\n"
    assert popgate("leases", "grant", "::ffff:192.0.2.8") == GOOD
    assert popgate.out == "192.0.2.8 may relay for 1800 s\n"
    assert popgate("leases", "--json", "list") == GOOD
    (first, second) = json.loads(popgate.out)
    assert (first["address"], first["login"], first["source"]) == ("192.0.2.7", "alice", "admin")
    assert 590 < first["left"] <= 600
    assert (second["address"], second["login"]) == ("192.0.2.8", "(admin)")
    assert stat.S_IMODE((popgate.folder / "leases.db").stat().st_mode) == 0o600


def test_G3_what_no_login_would_open_the_administrator_opens_and_is_warned(popgate: Shell) -> None:
    popgate.configure(PLAIN + 'never_lease = ["192.0.2.0/24"]\n')
    assert popgate("leases", "grant", "192.0.2.7") == GOOD
    assert popgate.out == "192.0.2.7 may relay for 1800 s\n"
    what = "no login from 192.0.2.7 makes a lease (never_lease); whoever comes from there may relay now"
    assert popgate.err == f"warning: {what}\n"
    assert popgate("leases", "grant", "198.51.100.7") == GOOD
    assert popgate.err == ""
    assert popgate("why", "192.0.2.7") == GOOD


def test_leases_as_a_table(popgate: Shell) -> None:
    popgate("leases", "grant", "192.0.2.7", "--login", "a\x1b[31mb\u00fc", "--for", "10m")
    for words in (("leases",), ("leases", "list")):
        assert popgate(*words) == GOOD
        head, row = popgate.out.splitlines()
        assert head.split() == ["ADDRESS", "LOGIN", "SOURCE", "SINCE", "LEFT"]
        assert row.split()[:3] == ["192.0.2.7", "a?[31mb\u00fc", "admin"]


def test_revoke_by_address_and_by_login(popgate: Shell) -> None:
    for address, login in (("192.0.2.7", "alice"), ("192.0.2.8", "alice"), ("192.0.2.8", "bob")):
        popgate("leases", "grant", address, "--login", login)
    assert popgate("leases", "revoke", "192.0.2.7") == GOOD
    assert popgate.out == "1 lease ended\n"
    assert popgate("leases", "revoke", "alice") == GOOD
    assert popgate("leases", "revoke", "alice") == FAILED
    assert popgate.out == "0 leases ended\n"
    popgate("leases", "list", "--json")
    assert [lease["login"] for lease in json.loads(popgate.out)] == ["bob"]


def test_looking_makes_no_store(popgate: Shell) -> None:
    assert popgate("leases", "--json") == GOOD
    assert json.loads(popgate.out) == []
    assert popgate("leases", "revoke", "alice") == FAILED
    assert popgate("why", "192.0.2.7") == FAILED
    assert not (popgate.folder / "leases.db").exists()


def test_the_option_counts_wherever_it_stands(popgate: Shell, tmp_path: Path) -> None:
    popgate("leases", "grant", "192.0.2.7")
    for words in (("leases", "-c", str(popgate.conf), "list", "--json"), ("leases", "--json", "-c", str(popgate.conf))):
        assert popgate(*words, config=False) == GOOD
        assert len(json.loads(popgate.out)) == 1


@pytest.mark.parametrize("words", [("leases",), ("leases", "grant", "192.0.2.7"), ("leases", "revoke", "alice")])
def test_memory_has_leases_only_while_it_runs(popgate: Shell, words: tuple[str, ...]) -> None:
    popgate.configure(PLAIN + '[store]\nurl = "memory:"\n')
    (popgate.conf / "60-one.toml").write_text("workers = 1\n")
    assert popgate(*words) == FAILED
    assert popgate.err == "popgate: popgate does not run, and leases in memory: live only in the running program\n"


@pytest.mark.parametrize("words", [("leases",), ("leases", "grant", "192.0.2.7"), ("leases", "revoke", "alice")])
def test_G7_a_store_that_is_down_is_one_line(popgate: Shell, words: tuple[str, ...]) -> None:
    (popgate.folder / "leases.db").write_bytes(b"this is no database, and long enough to be seen as none " * 20)
    assert popgate(*words) == FAILED
    assert popgate.err.startswith("popgate: the lease store is down: ")
    assert len(popgate.err.splitlines()) == 1


@pytest.mark.parametrize("words", [("status",), ("drain",), ("reload",)])
def test_orders_need_a_running_popgate(popgate: Shell, words: tuple[str, ...]) -> None:
    assert popgate(*words) == FAILED
    assert popgate.err.startswith("popgate: popgate does not run (")


# --- history and report without a running popgate


def test_who_held_an_address(popgate: Shell) -> None:
    popgate("leases", "grant", "192.0.2.7", "--login", "alice", "--for", "10m")
    popgate("leases", "grant", "192.0.2.8", "--login", "bob")
    popgate("leases", "revoke", "alice")
    assert popgate("leases", "history", "192.0.2.7") == GOOD
    head, row = popgate.out.splitlines()
    assert head.split() == ["ADDRESS", "LOGIN", "SOURCE", "FROM", "TILL", "HOW"]
    assert (row.split()[:3], row.split()[-1]) == (["192.0.2.7", "alice", "admin"], "revoked")
    assert popgate("leases", "history", "--json") == GOOD
    found = {one["login"]: one for one in json.loads(popgate.out)}
    assert set(found["bob"]) == {"address", "login", "source", "began", "ended", "how"}
    assert (found["alice"]["how"], found["bob"]["how"]) == ("revoked", "live")
    assert abs(found["bob"]["ended"] - found["bob"]["began"] - 1800) < 5


def test_who_held_an_address_at_a_moment(popgate: Shell) -> None:
    popgate("leases", "grant", "192.0.2.7", "--for", "2h")
    now = time.localtime(time.time() + 60)
    for form, there in (
        ("%Y-%m-%d %H:%M:%S", True),
        ("%Y-%m-%dT%H:%M", True),
        ("%Y-%m-%d", True),
        ("2020-02-29 %H:%M", False),
    ):
        assert popgate("leases", "history", "192.0.2.7", "--at", time.strftime(form, now)) == GOOD
        assert (len(popgate.out.splitlines()) == 2) is there, form


@pytest.mark.parametrize("at", ["noon", "2026-13-01", "14:61", "", "2026-11-23 14:05:00.5"])
def test_a_time_that_is_none_says_how_to_write_one(popgate: Shell, at: str) -> None:
    assert popgate("leases", "history", "--at", at) == USAGE
    assert 'write "2026-11-23 14:05"' in popgate.err


@pytest.mark.parametrize("command", [("leases", "history"), ("report",)])
def test_history_is_in_sqlite_only_and_says_when_it_is_off(popgate: Shell, command: tuple[str, ...]) -> None:
    assert popgate(*command) == GOOD
    assert not (popgate.folder / "leases.db").exists(), "looking makes nothing"
    popgate.configure(PLAIN + '[store]\nhistory = "0s"')
    assert popgate(*command) == FAILED
    assert popgate.err == 'popgate: history and report are off: [store] history = "0s"\n'
    popgate.configure("workers = 1" + PLAIN + '[store]\nurl = "memory:"')
    assert popgate(*command) == FAILED
    assert popgate.err == 'popgate: history and report are kept in SQLite only: [store] url = "sqlite:leases.db"\n'


def test_who_still_needs_what_is_to_be_retired(popgate: Shell) -> None:
    config = load(popgate.conf)
    assert config.store.path is not None
    table, now = LeaseTable(config.store.path, Clock(), kept=86400.0), time.time()
    with table.transaction():
        table.observe(
            [
                Observation(packed("192.0.2.7"), "alice", "smtp", "lease", 7, now - 7200, now - 60),
                Observation(packed("192.0.2.8"), "bob", "pop3", "TLSv1", 1, now - 7200, now - 7200),
            ]
        )
    table.close()
    assert popgate("report") == GOOD
    assert [line.split("  ")[0] for line in popgate.out.splitlines()[:3]] == ["NEEDS", "POP before SMTP", "TLSv1"]
    assert popgate.out.endswith("POP before SMTP 1, clear text 0, TLSv1 1\n")
    assert popgate("report", "--json", "--since", "1h") == GOOD
    (found,) = json.loads(popgate.out)
    assert (found["address"], found["login"], found["times"], found["need"]) == ("192.0.2.7", "alice", 7, "lease")


# --- why


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("10.1.2.3",), GOOD, "allow: trusted network: the address is in trusted_networks"),
        (("192.0.2.7",), GOOD, "allow: lease of (admin) (admin)"),
        (("192.0.2.8",), FAILED, "refuse: no lease"),
        (("192.0.2.8", "--recipient", "bob@example.com"), GOOD, "allow: the recipient is local"),
        (("192.0.2.8", "--recipient", "a b"), FAILED, "refuse: 'a b'"),
        (("192.0.2.8", "--recipient", "j\udcf6rg@example.org"), FAILED, "refuse: "),
    ],
)
def test_why(popgate: Shell, words: tuple[str, ...], code: int, said: str) -> None:
    popgate("leases", "grant", "192.0.2.7")
    assert popgate("why", *words) == code
    assert popgate.out.startswith(f"{words[0]} at listener smtp: {said}"), popgate.out
    assert popgate("why", "--json", *words) == code
    (answer,) = json.loads(popgate.out)
    assert (answer["listener"], said.startswith(answer["verdict"])) == ("smtp", True)
    assert answer["reasons"]


def test_why_with_a_sender(popgate: Shell) -> None:
    popgate.configure(PLAIN + 'sender = "match"\n')
    popgate("leases", "grant", "192.0.2.7", "--login", "alice")
    for sender, code in (("alice@example.com", GOOD), ("<>", GOOD), ("", GOOD), ("eve@example.com", FAILED)):
        assert popgate("why", "192.0.2.7", "--sender", sender) == code
    assert "sender does not match: 'eve@example.com'" in popgate.out


def test_why_tells_what_was(popgate: Shell) -> None:
    assert popgate("why", "192.0.2.7") == FAILED
    assert "no lease; never logged in" in popgate.out
    popgate("leases", "grant", "192.0.2.7", "--login", "alice")
    popgate("leases", "revoke", "192.0.2.7")
    assert popgate("why", "192.0.2.7") == FAILED
    assert "s ago: the lease of alice (admin)" in popgate.out
    assert "no lease; revoked " in popgate.out


def test_G2_an_ipv6_address_is_its_network(popgate: Shell) -> None:
    popgate.configure(PLAIN + "ipv6_prefix = 64\n")
    assert popgate("leases", "grant", "2001:db8::7", "--login", "alice") == GOOD
    assert popgate("why", "2001:db8::8") == GOOD
    assert popgate("why", "2001:db8:0:1::7") == FAILED
    assert popgate("leases", "revoke", "2001:db8::9") == GOOD
    assert popgate("leases", "history", "2001:db8::a", "--json") == GOOD
    assert [(one["address"], one["how"]) for one in json.loads(popgate.out)] == [("2001:db8::", "revoked")]


def test_G2_a_network_of_one_listener_only(popgate: Shell) -> None:
    popgate.configure(PLAIN + "[listener.smtp.gate]\nipv6_prefix = 64\n")
    assert popgate("leases", "grant", "2001:db8::7") == GOOD
    assert popgate("why", "2001:db8::8") == GOOD
    assert popgate("leases", "revoke", "2001:db8::9") == GOOD
    assert popgate("why", "2001:db8::8") == FAILED


def test_why_defers_when_the_store_is_down(popgate: Shell) -> None:
    (popgate.folder / "leases.db").write_bytes(b"x" * 4096)
    assert popgate("why", "192.0.2.7") == FAILED
    assert "defer: store down: " in popgate.out
    assert popgate("why", "10.1.2.3") == GOOD


def test_why_without_smtp_says_so(popgate: Shell) -> None:
    popgate.configure(
        '[listener.pop3]\nprotocol = "pop3"\nbind = ["127.0.0.1:0"]\ntls = "off"\n'
        '[upstream.pop3]\nservers = ["192.0.2.10:110"]\n'
    )
    (popgate.conf / "10-serves.toml").write_text("")
    assert popgate("why", "192.0.2.7") == FAILED
    assert popgate.err == "popgate: there is no listener for SMTP, so nothing is relayed\n"


# --- with something at the control socket


def test_certs_make_for_an_authority_and_for_old_clients(popgate: Shell, tmp_path: Path) -> None:
    words = ("certs", "make", "mail.example.com", "--folder", str(tmp_path / "certs"), "--rsa", "--csr")
    assert popgate(*words, config=False) == GOOD
    assert [path.name for path in sorted((tmp_path / "certs").iterdir())] == [
        "mail.example.com.csr", "mail.example.com.pem"
    ]  # fmt: skip
    assert "mail.example.com.csr: a request for an authority" in popgate.out


def test_N9_check_warns_of_old_clients_without_an_rsa_certificate(popgate: Shell) -> None:
    folder = str(popgate.folder / "certs")
    assert popgate("certs", "make", "a.example", "--folder", folder, "--file", "mail.pem", config=False) == GOOD
    popgate.configure('[tls]\nold_clients = ["10.0.5.0/24"]\n')
    assert popgate("check") == GOOD
    assert "popgate certs make NAME --rsa" in popgate.err
    assert popgate("certs", "make", "a.example", "--folder", folder, "--file", "r.pem", "--rsa", config=False) == GOOD
    popgate.configure('[tls]\nold_clients = ["10.0.5.0/24"]\ncertificates = ["certs/mail.pem", "certs/r.pem"]\n')
    assert popgate("check") == GOOD
    assert popgate.err == ""


def test_status_in_words_and_as_json(popgate: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = [{"number": 0, "pid": 8, "ready": True}, {"number": 1, "pid": 9, "ready": False}]
    down = {"upstream": "smtp", "server": "192.0.2.11:25", "state": "down", "why": "Connection \x1brefused"}
    servers = [
        {"upstream": "smtp", "server": "192.0.2.10:25", "state": "up", "why": "", "connections": 2, "seconds_ago": 1},
        down | {"connections": 0, "seconds_ago": 4},
    ]
    now = time.time()
    shown = [
        {"path": "/c/a.pem", "names": ["a.example", "b.example"], "expires": now + 30.2 * 86400},
        {"path": "/c/b.pem", "names": ["b.example"], "expires": now - 5},
    ]
    answer = {"pid": 7, "workers": workers, "connections": 3, "draining": False, "upstreams": servers,
              "certificates": shown, "store": {"url": "sqlite:/l\x1b.db", "state": "up"}}  # fmt: skip
    monkeypatch.setattr(control, "ask", lambda path, question: answer)
    assert popgate("status") == GOOD
    assert popgate.out.splitlines() == [
        "serving: pid 7, 1 of 2 workers ready, 3 connections",
        "store sqlite:/l?.db: up",
        "upstream.smtp 192.0.2.10:25: up, 2 connections",
        "upstream.smtp 192.0.2.11:25: down: Connection ?refused, 0 connections",
        f"certificate /c/a.pem: a.example, b.example: ends in 30 days, {moment(now + 30.2 * 86400)}",
        f"certificate /c/b.pem: b.example: HAS ENDED, {moment(now - 5)}",
    ]
    assert popgate("status", "--json") == GOOD
    assert json.loads(popgate.out) == answer
    answer["store"] = {"url": "sqlite:/l.db", "state": "down"}
    assert popgate("status") == GOOD
    assert "\nstore sqlite:/l.db: DOWN: relaying waits (451), mail can be read; " in popgate.out
    del answer["store"]  # an older popgate, before its restart
    assert popgate("status") == GOOD
    assert "store" not in popgate.out


@pytest.mark.parametrize("words", [("status",), ("drain",), ("sessions",), ("kick", "0-1"), ("log-level", "debug")])
def test_with_a_broken_configuration_the_running_popgate_is_asked_all_the_same(
    popgate: Shell, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    popgate.configure(PLAIN + "windwo = 1\n")
    asked = []
    answer = {"pid": 7, "workers": [], "connections": 0, "draining": False, "upstreams": [], "certificates": [],
              "sessions": [], "count": 0, "silent": 0, "done": "so be it"}  # fmt: skip

    def ask(path: Path, question: object) -> dict[str, object]:
        asked.append(path)
        return answer

    monkeypatch.setattr(control, "ask", ask)
    assert popgate(*words) == GOOD
    assert asked == [popgate.folder / "popgate.sock"]
    assert popgate.out
    (warning,) = popgate.err.splitlines()
    assert warning.startswith(f"warning: {popgate.conf}/50-test.toml: gate.windwo: unknown key")


def test_a_reload_of_a_broken_configuration_is_told_without_asking(
    popgate: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    popgate.configure("[gate]\nwindwo = 1\n")
    monkeypatch.setattr(control, "ask", lambda path, question: pytest.fail("asked"))
    assert popgate("reload") == USAGE
    assert "windwo" in popgate.err


def test_a_trace_with_a_broken_configuration(popgate: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    popgate.configure(PLAIN + "windwo = 1\n")
    monkeypatch.setattr(control, "follow", lambda path, question: iter([{"tracing": "192.0.2.7"}]))
    assert popgate("trace", "--client", "192.0.2.7") == GOOD
    assert "192.0.2.7 begins from now on" in popgate.out
    assert popgate.err.startswith("warning: ")


def test_an_order_that_is_refused_fails_with_its_reasons(popgate: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ask", lambda path, question: {"error": "workers changes: that needs a restart"})
    assert popgate("reload") == FAILED
    assert popgate.err == "workers changes: that needs a restart\n"


def test_N8_a_daemon_that_does_not_answer_is_not_passed_by(popgate: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its store could be in memory, or another: what the file says would be a guess."""

    def stuck(path: Path, question: object) -> None:
        raise PopgateError("popgate does not answer")

    monkeypatch.setattr(control, "ask", stuck)
    assert popgate("leases", "grant", "192.0.2.7") == FAILED
    assert not (popgate.folder / "leases.db").exists()


# --- the terminal


def test_a_terminal_that_can_t_show_a_login(popgate: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    popgate("leases", "grant", "192.0.2.7", "--login", "\u6c38")
    octets = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(octets, encoding="latin-1"))
    assert main(["leases", "-c", str(popgate.conf)]) == GOOD
    sys.stdout.flush()
    assert b"\\u6c38" in octets.getvalue()


def test_descriptors_that_the_caller_closed_go_to_no_socket(tmp_path: Path) -> None:
    """`popgate run 2>&-`: a client on descriptor 2 would be sent what is written to stderr."""
    told = tmp_path / "told"
    code = (
        "import os, sys; from proxy.cli import main; code = main(['completion', 'bash']);"
        f"open({str(told)!r}, 'w').write(f'{{code}} {{sys.stderr.isatty()}} '"
        " + ' '.join(os.readlink(f'/proc/self/fd/{fd}') for fd in range(3)))"
    )
    shell = 'exec "$0" -c "$1" 0<&- 1>&- 2>&-'
    subprocess.run(["/bin/sh", "-c", shell, sys.executable, code], check=True, cwd=Path(__file__).parents[2])
    assert told.read_text() == "0 False /dev/null /dev/null /dev/null"
