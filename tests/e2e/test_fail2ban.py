"""scripts/fail2ban: Debian's own fail2ban-regex on lines that popgate has just written, and on forged ones."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.sinks import bsd, rfc5424

from ..support.dialogue import Dialogue, pop_login
from ..support.needs import need
from ..support.popgate import Popgate, config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..support.appliance import SampleAppliance

FAIL2BAN = Path(__file__).parents[2] / "scripts" / "fail2ban"


def matched(folder: Path, lines: Sequence[str], mode: str = "all") -> list[str]:
    """The lines that the filter takes."""
    (program,) = need("fail2ban-regex")
    file = folder / "popgate.log"
    file.write_text("".join([line + "\n" for line in lines]), encoding="utf-8")
    argv = [program, "--print-all-matched", str(file), f"{FAIL2BAN / 'filter.d' / 'popgate.conf'}[mode={mode}]"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert f"Lines: {len(lines)} lines" in done.stdout, done
    return re.findall(r"^\|  (.*)$", done.stdout.partition("Matched line(s):")[2].partition("\n`-")[0], re.MULTILINE)


def banned(folder: Path, lines: Sequence[str]) -> set[str]:
    """The addresses that the filter finds."""
    (program,) = need("fail2ban-regex")
    file = folder / "popgate.log"
    file.write_text("".join([line + "\n" for line in lines]), encoding="utf-8")
    argv = [program, "--out", "ip", str(file), str(FAIL2BAN / "filter.d" / "popgate.conf")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return {word.strip("'\"[](),") for word in re.split(r"[\s,]+", done.stdout) if word}


@pytest.fixture
def lines(appliance: SampleAppliance) -> list[str]:
    """What popgate writes of failed logins, an accepted one and a refused recipient, with names that try to forge."""
    with Popgate(config(appliance.pop3, appliance.smtp, log={"level": "info"})) as gate:
        forged = (b"client=192.0.2.66", b"a login-failed client=192.0.2.66 id=0-1", b'a" client=192.0.2.66 "')
        for login in (b"alice", *forged):
            with Dialogue(gate.address("pop3")) as pop:
                pop.expect(b"+OK")
                pop.ask(b"USER " + login, b"+OK")
                pop.ask(b"PASS wrong", b"-ERR")
        with Dialogue(gate.address("smtp")) as smtp:
            smtp.expect(b"220")
            smtp.ask(b"HELO client=192.0.2.66", b"250")
            smtp.ask(b'MAIL FROM:<"a client=192.0.2.66"@example.com>', b"250")
            smtp.ask(b"RCPT TO:<friend@example.org>", b"554")
        pop_login(gate.address("pop3"))
        gate.stop()
        return list(gate.process.lines)


def text(line: str) -> str:
    return line


def by_rfc5424(line: str) -> str:
    """As a file has it that is written in the form of the protocol."""
    return rfc5424(6, line, time.time()).decode()


def by_bsd(line: str) -> str:
    """As rsyslog writes it into /var/log/mail.log, in its older form: with the host's name."""
    found = re.fullmatch(r"<\d+>(\w{3} [ \d]\d [\d:]{8}) (.*)", bsd(6, line, time.time()).decode())
    assert found is not None
    return f"{found[1]} mail {found[2]}"


def by_rsyslog(line: str) -> str:
    """As rsyslog of Debian 12 and later writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.123456+00:00 mail popgate[17]: ", time.gmtime()) + line


def by_rsyslog_that_reads_rfc5424(line: str) -> str:
    """Its older form has no colon then."""
    return time.strftime("%b %d %H:%M:%S mail popgate[17] ") + line


def by_rsyslog_of_rfc5424(line: str) -> str:
    """As rsyslog writes what it took for a message without a name."""
    return time.strftime("%b %d %H:%M:%S mail ") + by_rfc5424(line).partition(">")[2]


def test_failed_logins_and_refused_relays_are_found_in_every_form(lines: list[str], tmp_path: Path) -> None:
    for form in (text, by_rfc5424, by_bsd, by_rsyslog, by_rsyslog_that_reads_rfc5424, by_rsyslog_of_rfc5424):
        written = [form(line) for line in lines]
        logins = [line for line in written if " INFO pop3 login-failed" in line]
        relays = [line for line in written if " INFO smtp refused " in line]
        assert (len(logins), len(relays)) == (4, 1)
        assert sorted(matched(tmp_path, written)) == sorted(logins + relays), form
        assert sorted(matched(tmp_path, written, "logins")) == sorted(logins)
        assert matched(tmp_path, written, "relays") == relays
    # Nobody else is banned by what a client calls itself.
    assert any("192.0.2.66" in line for line in lines)
    found = banned(tmp_path, lines)
    assert "127.0.0.1" in found
    assert "192.0.2.66" not in found


@pytest.mark.parametrize(
    "line",
    [
        'INFO pop3 leased client=198.51.100.9 id=1-3 login="x login-failed client=192.0.2.66 id=1-3" seconds=1800',
        "INFO smtp relayed client=198.51.100.9 id=1-3 login=login-failed why=x sender=a@b recipients=c@d reply=250",
        'INFO smtp refused client=198.51.100.9 id=1-3 sender=a@b recipient=c@d reply="451 4.3.0" why="store down: x"',
        'INFO smtp refused client=198.51.100.9 id=1-3 sender=a@b recipient=c@d reply="554" why="sender of another"',
        "INFO smtp end client=198.51.100.9 id=1-3 listener=smtp helo=login-failed why=quit",
        "INFO pop3 login-failed client=nobody id=1-3 login=alice",
        "INFO http login-failed client=198.51.100.9 id=1-3 login=alice",
        "ERROR popgate reload-refused why=login-failed",
    ],
)
def test_what_must_not_match(line: str, tmp_path: Path) -> None:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S.123 ")
    assert matched(tmp_path, [stamp + line]) == []
    assert matched(tmp_path, [by_bsd(stamp + line)]) == []


def test_the_jails_name_the_filter_and_its_modes() -> None:
    jails = (FAIL2BAN / "jail.d" / "popgate.conf").read_text()
    assert re.findall(r"^filter = (.*)$", jails, re.MULTILINE) == ["popgate[mode=logins]", "popgate[mode=relays]"]
