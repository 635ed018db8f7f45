"""What popgate leaves behind: log lines, files (promise 7; threats G15, G16).

Every way to log in is gone through at log level debug, with passwords that are looked for in every form afterwards.  A
password typed as the name of USER is a login by position, and is shown: no pattern could tell.  That sessions do not
hold passwords is tests/unit/test_secrets.py; that everything runs as `user` is tests/e2e/test_operator.py.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from proxy import certificates

from ..support.dialogue import Dialogue, pop_login, send
from ..support.legacy import Legacy
from ..support.popgate import Popgate, config
from ..support.vitals import noted

if TYPE_CHECKING:
    from pathlib import Path

    from ..support.appliance import SampleAppliance
    from ..support.legacy import Call

SECRET = b"s3ntinel-Xy7Kq"


def coded(octets: bytes) -> bytes:
    return base64.b64encode(octets)


FORMS = {
    "raw": SECRET,
    "base64": coded(SECRET),
    "base64 of PLAIN": coded(b"\0alice\0" + SECRET),
    "base64 of CRAM": coded(b"alice " + SECRET),
    "base64, shifted": coded(b"x" + SECRET)[4:-4],
    "base64, shifted twice": coded(b"xx" + SECRET)[4:-4],
    "hex": SECRET.hex().encode(),
    "reversed": SECRET[::-1],
    "half": SECRET[:9],
}

POP3: list[list[bytes]] = [
    [b"USER alice", b"PASS " + SECRET],
    [b"USER alice", b"PASS  two blanks " + SECRET + b" and more"],
    [b"USER alice", b"PASS \xe9\xff%s%n{0}\\" + SECRET + b"\x80"],
    [b"USER alice", b"pass " + SECRET],
    [b"PASS " + SECRET],
    [b"PASSWORD " + SECRET],
    [b" PASS " + SECRET],
    [b"XPASS " + SECRET],
    [b"USER alice", b"PASS a\0" + SECRET],
    [b"USER alice", b"PASS a\n" + SECRET],
    [b"USER alice", b"PASS " + SECRET * 1000],
    [b"APOP alice " + SECRET],
    [b"AUTH PLAIN " + coded(b"\0alice\0" + SECRET)],
    [b"AUTH PLAIN", coded(b"\0alice\0" + SECRET)],
    [b"AUTH PLAIN", b"\0alice\0" + SECRET],
    [b"AUTH PLAIN " + SECRET],
    [b"AUTH LOGIN", coded(b"alice"), coded(SECRET)],
    [b"AUTH LOGIN " + coded(b"alice"), coded(SECRET)],
    [b"AUTH LOGIN", coded(b"alice"), SECRET],
    [b"AUTH LOGIN " + coded(b"\0alice\0" + SECRET)],
    [b"AUTH CRAM-MD5", coded(b"alice " + SECRET)],
    [b"AUTH SCRAM-SHA-256", coded(b"n,,n=alice,r=" + SECRET), coded(b"c=biws,r=x,p=" + SECRET)],
    [b"AUTH XOAUTH2 " + coded(b"user=alice\1auth=Bearer " + SECRET + b"\1\1")],
    [b"AUTH OAUTHBEARER " + coded(b"n,a=alice,\1auth=Bearer " + SECRET + b"\1\1")],
    [b"AUTH X-" + SECRET + b" x"],
]


def of_smtp(lines: list[bytes]) -> list[bytes]:
    return [b"EHLO client.example.net", *lines]


SMTP = [of_smtp(lines) for lines in POP3 if not lines[0].startswith((b"USER", b"APOP"))] + [
    of_smtp([b"AUTH PLAIN " + coded(b"\0alice\0" + SECRET), b"MAIL FROM:<a@example.com> AUTH=" + SECRET]),
    of_smtp([b"MAIL FROM:<a@example.com> X=" + SECRET]),
    of_smtp([b"NOOP " + SECRET, b"VRFY " + SECRET, b"HELP " + SECRET, b"RSET " + SECRET, b"QUIT " + SECRET]),
]


async def believes_pop3(call: Call) -> None:
    """Takes every password, and quotes it back: old servers do."""
    await call.say(b"+OK old <1.2@old>\r\n")
    while line := await call.line():
        verb = line.split()[0].upper() if line.split() else b""
        if verb == b"AUTH" and len(line.split()) == 2:
            await call.say(b"+ \r\n")
            line = await call.line()
            if b"YWxpY2U=" in line:
                await call.say(b"+ UGFzc3dvcmQ6\r\n")
                line = await call.line()
        await call.say((b"+OK " if SECRET[-1:] in line else b"-ERR ") + line.strip() + b"\r\n")


async def believes_smtp(call: Call) -> None:
    await call.say(b"220 old ESMTP\r\n")
    while line := await call.line():
        verb = line.split()[0].upper()
        if verb == b"EHLO":
            names = b"PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256 XOAUTH2 OAUTHBEARER"
            await call.say(b"250-old\r\n250-AUTH " + names + b"\r\n250 PIPELINING\r\n")
        elif verb == b"AUTH":
            if len(line.split()) == 2:
                line = await call.ask(b"334 \r\n")
            if b"YWxpY2U=" in line:
                line = await call.ask(b"334 UGFzc3dvcmQ6\r\n")
            # Each kind of ending in turn: accepted, refused, and a farewell, all of which quote the line.
            code = (b"235", b"535", b"421")[len(line) % 3]
            await call.say(code + b" " + line.strip() + b"\r\n")
        else:
            await call.say(b"250 " + line.strip() + b"\r\n")


def say_all(address: tuple[str, int], sessions: list[list[bytes]]) -> None:
    for number, lines in enumerate(sessions):
        with Dialogue(address, f"127.4.0.{number + 1}") as client, contextlib.suppress(ConnectionError):
            client.expect(b"")
            for line in lines:
                client.say(line + b"\r\n")
                if not client.reply():
                    break


@pytest.mark.parametrize("form", ["text", "json"])
def test_promise_7_no_password_in_the_log_whatever_the_way_to_log_in(appliance: SampleAppliance, form: str) -> None:
    with Legacy(believes_pop3) as pop3, Legacy(believes_smtp) as smtp:
        settings = config(pop3.endpoint, smtp.endpoint, log={"level": "debug", "format": form})
        settings["listener"]["down"] = settings["listener"]["pop3"] | {"upstream": "down"}
        settings["upstream"]["down"] = {"servers": ["127.0.0.1:1"]}
        with Popgate(settings | {"workers": 2}) as gate:
            for _ in range(2):
                say_all(gate.address("pop3"), POP3)
                say_all(gate.address("smtp"), SMTP)
            say_all(gate.address("down"), POP3[:3])
            told = [gate.command(*words).stdout for words in (["leases", "list"], ["why", "127.4.0.1"], ["status"])]
            gate.stop()
            said = gate.process.output
        received = b"".join([bytes(call.received) for call in (*pop3.calls, *smtp.calls)])
    assert received.count(SECRET) + received.count(coded(SECRET)) > 10, "the passwords went through"
    assert "alice" in said
    for name, octets in FORMS.items():
        for text in (said, *told):
            assert octets.decode() not in text, name
    assert " bug " not in said
    noted("ways to log in, at log level debug", f"{len(POP3)} by POP3, {len(SMTP)} by SMTP: no password in the log")


INJECTIONS = [
    b"x\x1b[2J\x07", b"a\x1b]0;t\x07", b"x\r2026-01-01 INFO pop3 leased client=6.6.6.6", b"%s %n {0} ${jndi:ldap://x}",
    "\u202e\u2028\u2029\x85".encode(), b'" why="x', b"x login=admin why=trusted", b"\\x0a\\n", b"\xff\xfe\xe9", b"{}",
    b'POP login by user "admin" at (6.6.6.6) 6.6.6.6', b"a" * 8000,
]  # fmt: skip


@pytest.mark.parametrize("form", ["text", "json"])
def test_promise_7_peers_octets_in_the_log_are_escaped_and_cut(form: str) -> None:
    async def echoes_pop3(call: Call) -> None:
        await call.say(b"+OK old\r\n")
        while line := await call.line():
            await call.say((b"-ERR " if line.startswith(b"PASS") else b"+OK ") + line[:200].strip() + b"\r\n")

    async def echoes_smtp(call: Call) -> None:
        await call.say(b"220 old ESMTP\r\n")
        await call.line()
        await call.say(b"250-old\r\n250-SMTPUTF8\r\n250 PIPELINING\r\n")
        while line := await call.line():
            await call.say(b"250 " + line[:200].strip() + b"\r\n")

    with Legacy(echoes_pop3) as pop3, Legacy(echoes_smtp) as smtp:
        settings = config(pop3.endpoint, smtp.endpoint, log={"level": "debug", "format": form})
        with Popgate(settings) as gate:
            say_all(gate.address("pop3"), [[b"USER " + text, b"PASS x"] for text in INJECTIONS])
            openings = [b"EHLO " + text for text in INJECTIONS]
            senders = [b'MAIL FROM:<"' + text.replace(b'"', b'\\"') + b'"@example.com> SMTPUTF8' for text in INJECTIONS]
            say_all(
                gate.address("smtp"),
                [
                    [opening, b"EHLO x", sender, b"RCPT TO:" + sender[10:-9].replace(b"example.com", b"example.org")]
                    for opening, sender in zip(openings, senders, strict=True)
                ],
            )
            gate.stop()
            lines = gate.process.lines
    assert len(lines) > 20
    for line in lines:
        assert line.isprintable(), line
        assert len(line) < 2000, line
        if form == "json":
            json.loads(line)
        else:
            assert line[:2] == "20", line
            assert "6.6.6.6" not in line.partition('"')[0], "unquoted"
    assert not [line for line in lines if "leased" in line.split('"')[0]], "a lease out of a log line"


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_files_are_closed_to_others_whatever_the_umask(appliance: SampleAppliance, mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        with Popgate(config(appliance.pop3, appliance.smtp)) as gate:
            certificates.make(["mail.example.com"], gate.folder)
            pop_login(gate.address("pop3"))
            assert send(gate.address("smtp"), [b"f@example.org"]).startswith(b"250 ")
            gate.command("leases", "grant", "192.0.2.1")
            files = [path for path in gate.folder.rglob("*") if not path.is_dir() and path.name != "test.toml"]
            names = {path.name for path in files}
            assert {"leases.db", "leases.db-wal", "leases.db-shm", "popgate.sock", "mail.example.com.pem"} <= names
            for path in files:
                assert not stat.S_IMODE(path.lstat().st_mode) & 0o077, path
            assert list(tmp_path.iterdir()) == []
    finally:
        os.umask(before)
