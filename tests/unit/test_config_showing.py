"""proxy/config/showing.py: keys that show the client's address and can't go together, and what is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.config.showing import warnings
from tests.support.configuration import loaded, problems

if TYPE_CHECKING:
    from pathlib import Path

UPSTREAM = "[upstream.smtp]\n"
POP3 = """
[upstream.pop3]
servers = ["192.0.2.10:110"]
xclient = true
[listener.pop3]
protocol = "pop3"
bind = ["127.0.0.1:0"]
"""
TRANSPARENT = "[listener.smtp]\ntransparent = true\n[upstream.smtp]\n"
CORK = '[listener.more]\nprotocol = "smtp"\nbind = ["127.0.0.1:0"]\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            UPSTREAM + 'send_proxy = "v1"\nxclient = true',
            "upstream.smtp.send_proxy: shows the client's address, and so ",
        ),
        (
            UPSTREAM + 'send_proxy = "v1"\nsource = "client"',
            "upstream.smtp.send_proxy: shows the client's address, and ",
        ),
        (UPSTREAM + 'xclient = true\nsource = "client"', "upstream.smtp.xclient: shows the client's address, and so "),
        (POP3, "upstream.pop3.xclient: XCLIENT is a command of SMTP; take it out; "),
        (
            UPSTREAM + 'show_client = "always"',
            "upstream.smtp.show_client: the address is not shown at all; set send_proxy",
        ),
        (UPSTREAM + 'servers = ["unix:/x"]\nsource = "client"', "upstream.smtp.source: a unix socket has no source "),
        (UPSTREAM + 'servers = ["unix:/x"]\nsource = "192.0.2.1"', "upstream.smtp.source: a unix socket has no source"),
        (
            UPSTREAM + 'source = "2001:db8::1"',
            "upstream.smtp.source: 2001:db8::1 can't reach 192.0.2.10: one is IPv4, ",
        ),
        (
            UPSTREAM + 'source = "client"\n[listener.smtp]\nbind = ["[::]:2525"]',
            "upstream.smtp.source: clients of listener.smtp at [::]:2525 can't be the source of a connection to its ",
        ),
        (
            UPSTREAM + "servers = []",
            "upstream.smtp.servers: must not be empty but for listeners with transparent = true ",
        ),
        (
            "[upstream.idle]\nservers = []",
            "upstream.idle.servers: must not be empty but for listeners with transparent",
        ),
        (
            TRANSPARENT + "servers = []\n" + CORK,
            "upstream.smtp.servers: must not be empty but for listeners with trans",
        ),
        (
            UPSTREAM + 'source = "192.0.2.1:25"',
            'upstream.smtp.source: "192.0.2.1:25" is not an IP address; write one of ',
        ),
        (
            UPSTREAM + 'source = "mail.example"',
            'upstream.smtp.source: "mail.example" is not an IP address; write one of',
        ),
        (
            UPSTREAM + 'send_proxy = "v3"',
            'upstream.smtp.send_proxy: "v3" is not known here; take "off" or "v1" or "v2"',
        ),
    ],
)
def test_the_impossible_is_told_with_the_cure(tmp_path: Path, text: str, problem: str) -> None:
    lines = problems(tmp_path, text + "\n")
    assert len(lines) == 1, lines
    assert lines[0].startswith(problem)


@pytest.mark.parametrize(
    "text",
    [
        UPSTREAM + 'send_proxy = "v2"\nsource = "192.0.2.1"',
        UPSTREAM + 'xclient = true\nshow_client = "always"',
        UPSTREAM + 'source = "client"',
        UPSTREAM + 'source = "client"\nservers = ["mail.example:25"]\n[listener.smtp]\nbind = ["[::]:2525"]',
        UPSTREAM + 'servers = ["unix:/x"]\nsend_proxy = "v1"',
        TRANSPARENT + "servers = []",
        TRANSPARENT + 'servers = []\nsource = "client"',
        TRANSPARENT,
        POP3.replace("xclient = true", 'send_proxy = "v1"'),
    ],
)
def test_what_goes_together_is_taken(tmp_path: Path, text: str) -> None:
    loaded(tmp_path, text + "\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('send_proxy = "v1"\nshow_client = "always"', "unless it knows their addresses"),
        ('xclient = true\nshow_client = "always"', "unless it takes their login by XCLIENT"),
        ('send_proxy = "v1"', ""),
        ("", ""),
    ],
)
def test_S12_always_is_told_with_what_it_means(tmp_path: Path, text: str, told: str) -> None:
    found = list(warnings(loaded(tmp_path, f"{UPSTREAM}{text}\n")))
    assert len(found) == bool(told)
    assert not told or (found[0].startswith("upstream.smtp.show_client") and told in found[0])
