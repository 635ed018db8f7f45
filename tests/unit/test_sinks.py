"""sinks.py: syslog messages, a daemon that is slow or restarted, the journal's levels."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from loguru import logger

from proxy import sinks
from proxy.log import LEVELS, Log, node_log
from proxy.sinks import SEVERITIES, Syslog, bsd, is_journal, rfc5424

from ..support.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator

NOON = 1_795_435_506.485  # a moment in November 2026


def opened(level: str, form: str, file: str) -> Log:
    log = node_log()
    log.point(level, form, file)
    return log


class Daemon:
    """A syslog daemon's socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.sock.setblocking(False)

    def read(self) -> list[str]:
        found = []
        try:
            while True:
                found.append(self.sock.recv(65536).decode())
        except BlockingIOError:
            return found

    def stop(self) -> None:
        self.sock.close()
        self.path.unlink()


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with Folder("syslog") as name:
        device = Path(name) / "log"
        monkeypatch.setattr(sinks, "DEVICE", str(device))
        yield device
    logger.remove()
    logger.add(sys.stderr)


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC-5:30")  # POSIX: east of Greenwich
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("utc")
def test_a_message_of_rfc_5424() -> None:
    text = rfc5424(6, "our line", NOON).decode()
    assert text == f"<22>1 2026-11-23T17:35:06.485+05:30 {socket.gethostname()} popgate {os.getpid()} - - our line"


@pytest.mark.usefixtures("utc")
def test_a_message_as_syslog_3_writes_it() -> None:
    assert bsd(3, "our line", NOON).decode() == f"<19>Nov 23 17:35:06 popgate[{os.getpid()}]: our line"
    assert bsd(3, "x", NOON - 20 * 86400).decode().startswith("<19>Nov  3 "), "RFC 3164 4.1.2: a space, not a nought"


@pytest.mark.parametrize(
    ("file", "head"),
    [("syslog", r"1 \S+ \S+ popgate \d+ - - "), ("syslog:bsd", r"\w{3} [ \d]\d [\d:]{8} popgate\[\d+\]: ")],
)
def test_each_line_is_a_message_of_its_level(path: Path, file: str, head: str) -> None:
    daemon = Daemon(path)
    log = opened("debug", "text", file)
    for level in LEVELS:
        log.line(level, "smtp", "end", ("client", "192.0.2.7"))
    log.flush()
    found = daemon.read()
    line = r"\d{4}-\d\d-\d\d [\d:.]+ %s smtp end client=192\.0\.2\.7"
    for message, level in zip(found, LEVELS, strict=True):
        assert re.fullmatch(f"<{16 + SEVERITIES[level]}>{head}{line % level.upper()}", message), message
    daemon.stop()


def test_json_stays_json(path: Path) -> None:
    daemon = Daemon(path)
    log = opened("info", "json", "syslog:bsd")
    log.line("info", "smtp", "end")
    log.flush()
    (message,) = daemon.read()
    assert re.search(r': \{"time": .*"event": "end"\}$', message)
    daemon.stop()


def test_nobody_listens(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        opened("info", "text", "syslog")


def test_a_daemon_that_does_not_read_costs_lines_and_no_time(path: Path) -> None:
    daemon = Daemon(path)
    sink = Syslog(bsd)
    began = time.monotonic()
    for number in range(2000):
        sink.write(f"<6>line {number}\n")
    assert time.monotonic() - began < 5
    kept = daemon.read()
    assert len(kept) < 2000
    sink.write("<6>one more\n")
    told, last = daemon.read()
    assert told.endswith(f"WARNING popgate log-lost lines={2000 - len(kept)}")
    assert last.endswith("]: one more")
    sink.stop()
    daemon.stop()


def test_a_daemon_that_was_restarted_is_found_again(path: Path) -> None:
    daemon = Daemon(path)
    sink = Syslog(rfc5424)
    sink.write("<6>one\n")
    daemon.stop()
    sink.write("<6>two\n")
    daemon = Daemon(path)
    sink.write("<6>three\n")
    told, line = daemon.read()
    assert told.endswith("log-lost lines=1")
    assert line.endswith("- - three")
    sink.stop()
    daemon.stop()


def test_under_systemd_a_line_begins_with_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    found = os.fstat(2)
    assert not is_journal({})
    assert not is_journal({"JOURNAL_STREAM": "nonsense"})
    assert not is_journal({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"}), "stderr was redirected"
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert sinks.point("").levels
    assert not sinks.point(os.devnull).levels, "a file is not the journal"
    logger.remove()
    logger.add(lambda message: written.append(str(message)), format="{message}", level=0)
    log = Log("debug", levels=True)
    log.line("info", "smtp", "end")
    log.line("warning", "smtp", "no-lease")
    log.flush()
    lines = "".join(written).splitlines()
    assert [line[:4] for line in lines] == ["<6>2", "<4>2"], "each line of a batch"
    logger.remove()
    logger.add(sys.stderr)
