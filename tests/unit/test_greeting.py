"""greeting.py: what a person at a terminal is told, and that a log is not."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from proxy.cli.greeting import greeting

from ..support.configuration import loaded

if TYPE_CHECKING:
    from pathlib import Path


def test_what_it_serves_and_where_it_leads_and_what_is_off(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        """
[gate]
local_domains = ["a.example", "b.example", "c.example", "d.example", "e.example", "f.example"]
[listener.submission]
protocol = "smtp"
bind = ["[::1]:587"]
tls = "implicit"
upstream = "smtp"
[upstream.smtp]
servers = ["192.0.2.10:25", "192.0.2.11:25"]
""",
    )
    text = greeting(config)
    assert "  listens   submission at [::1]:587 (TLS) for upstream.smtp\n" in text
    assert "  forwards  upstream.smtp to 192.0.2.10:25, 192.0.2.11:25\n" in text
    assert (
        "for 30m after a POP3 login; from anyone to a.example, b.example, c.example, d.example, e.example and 1" in text
    )
    assert "  off       metrics and the status page: admin.http is empty\n" in text
    assert "popgate sessions" in text


def test_what_is_on_is_not_off(tmp_path: Path) -> None:
    quiet = greeting(loaded(tmp_path, '[gate]\nauth = "off"\npatience = "0s"\n[log]\nfile = "x.log"\n'))
    assert 'patience: gate.patience = "0s"' in quiet
    assert "a log file" not in quiet
    assert "AUTH of its own" not in quiet
    assert "nobody (gate.local_domains is empty)" in quiet


def test_only_a_terminal_is_greeted(tmp_path: Path) -> None:
    (tmp_path / "popgate.toml").write_text(
        'workers = 1\n[listener.smtp]\nprotocol = "smtp"\nbind = ["127.0.0.1:0"]\ntls = "off"\n'
        '[upstream.smtp]\nservers = ["192.0.2.10:25"]\nhealth_interval = "0s"\n'
    )
    argv = [sys.executable, "-m", "proxy", "run", "-c", str(tmp_path / "popgate.toml")]
    ours, theirs = pty.openpty()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        text, end = b"", time.monotonic() + 30
        while b"serving" not in text and time.monotonic() < end:
            if select.select([ours], [], [], 1)[0]:
                text += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        process.wait(30)
    os.close(ours)
    assert text.startswith(b"popgate ")
    assert b"  listens   smtp at 127.0.0.1:0 (no TLS)" in text
    assert text.index(b"listens") < text.index(b"INFO popgate listening")
