"""A private Sendmail that relays for loopback, out of Debian's package without installing it (see jail.py)."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from .house import HOSTED, until_it_greets
from .jail import UNPACKED, Jail
from .needs import need
from .ports import free, server_host
from .sink import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .sink import Message

_PROGRAM = "usr/libexec/sendmail/sendmail"
_MACROS = "usr/share/sendmail/cf/"
_ARGV = (f"/{_PROGRAM}", "-C/etc/mail/sendmail.cf")
_CONFIG = """divert(0)dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `{name}')dnl
define(`confPID_FILE', `/run/sendmail.pid')dnl
define(`QUEUE_DIR', `/var/spool/mqueue')dnl
define(`STATUS_FILE', `')dnl
define(`ALIAS_FILE', `/etc/mail/aliases')dnl
define(`HELP_FILE', `')dnl
define(`SMART_HOST', `relay:[{sink_host}]')dnl
define(`MAIL_HUB', `relay:[{sink_host}]')dnl
define(`LOCAL_RELAY', `relay:[{sink_host}]')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {sink_port}')dnl
define(`confDELIVERY_MODE', `queueonly')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confMAX_DAEMON_CHILDREN', `0')dnl
define(`confCONNECTION_RATE_THROTTLE', `0')dnl
define(`confTO_IDENT', `0')dnl
define(`confSERVICE_SWITCH_FILE', `/etc/service.switch')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`accept_unqualified_senders')dnl
FEATURE(`promiscuous_relay')dnl
FEATURE(`no_default_msa')dnl
DAEMON_OPTIONS(`Name=MTA, Addr={host}, Port={port}')dnl
MAILER(`smtp')dnl
LOCAL_CONFIG
Cw{hosted}
"""


RUNNERS = 6  # queue runs side by side: most of their time is waiting for acknowledgements


class Sendmail:
    """A running Sendmail; see `house.House`.  Nothing leaves it before `arrived` is asked."""

    name = "sendmail"
    host_name = "sendmail.local.test"
    backlog = 100

    def __init__(self) -> None:
        _, _, m4 = need("root", "sendmail8", "m4")
        self._sink = Sink(server_host())
        self.literal = f"[{self._sink.address[0]}]".encode()  # MAIL_HUB: local recipients become user@[sink]
        host = server_host()
        self.address = (host, free(host))
        self._jail = Jail("sendmail", [_PROGRAM], ["smmta", "smmsp"])
        self._jail.folder("var/spool/mqueue", 0o700)
        self._jail.folder("etc/mail")
        text = _CONFIG.format(
            name=self.host_name,
            host=host,
            port=self.address[1],
            hosted=HOSTED,
            sink_host=self._sink.address[0],
            sink_port=self._sink.address[1],
        )
        macros = UNPACKED / _MACROS
        made = subprocess.run(
            [m4, f"-D_CF_DIR_={macros}/", str(macros / "m4/cf.m4"), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        )
        self._jail.path("etc/mail/sendmail.cf").write_text(made.stdout)
        self._jail.path("etc/mail/aliases").touch()
        self._jail.path("etc/service.switch").write_text("hosts files\naliases files\n")
        self._jail.run(*_ARGV, "-bi")
        self._process = self._jail.start(*_ARGV, "-bD")
        try:
            until_it_greets(self.address)
        except BaseException:
            self.close()
            raise

    def arrived(self) -> Sequence[Message]:
        self._jail.run_together(RUNNERS, *_ARGV, "-q", "-v")  # without -v it goes to the background
        left = [place.name for place in self._jail.path("var/spool/mqueue").glob("[qhQ]f*")]
        assert not left, (left[:5], self._jail.run(*_ARGV, "-bp").stdout[:3000])
        return self._sink.messages

    def close(self) -> None:
        self._process.kill()  # a session that it has slowed down, for too many NOOPs, would go on for minutes
        self._sink.close()
        self._jail.close()
