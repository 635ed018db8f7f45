"""A private Postfix that relays for loopback: the real thing in the appliance's place.

It takes example.com from anyone and everything from mynetworks, and hands all of it to a `Sink`, where tests look at
what arrived.  An instance of its own (configuration, queue, data folder; no chroot), a `master` in the foreground, no
DNS.  Starting Postfix takes root.

`PostfixDoors` is one with several smtpd services for the lab, that differ in what they take for the end of a line.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from typing import TYPE_CHECKING

from .dialogue import Dialogue
from .folder import Folder
from .house import HOSTED, until_empty
from .needs import need
from .ports import free, server_host
from .process import Process
from .sink import Sink

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .sink import Message

_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = appliance.example.com
mydomain = example.com
mydestination =
local_recipient_maps =
relay_domains = example.com
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8 [::1]/128
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
default_transport = smtp:[{sink_host}]:{sink_port}
relay_transport = $default_transport
disable_dns_lookups = yes
smtp_dns_support_level = disabled
smtp_tls_security_level = none
smtpd_tls_security_level = {tls}
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {certificate}
smtpd_peername_lookup = no
message_size_limit = 104857600
mailbox_size_limit = 0
smtp_line_length_limit = 0
smtpd_forbid_bare_newline = no
maillog_file = /dev/stdout
"""

# For the lab: as lax and as patient as Postfix can be, and itself the last stop of HOSTED, so that it resolves %-hacks.
_LAX = """
mydestination = {hosted}
myorigin = {hosted}
local_transport = smtp:[{sink_host}]:{sink_port}
relay_domains =
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 100000
smtpd_hard_error_limit = 100000
smtpd_junk_command_limit = 100000
smtpd_recipient_limit = 100000
smtpd_client_connection_count_limit = 0
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_authorized_xforward_hosts = 127.0.0.0/8
smtp_send_xforward_command = no
header_size_limit = 1024000
hopcount_limit = 100
"""

BARE_NEWLINE = {
    "no": {"smtpd_forbid_bare_newline": "no"},
    "normalize-mynetworks": {"smtpd_forbid_bare_newline": "normalize"},
    "normalize": {"smtpd_forbid_bare_newline": "normalize", "smtpd_forbid_bare_newline_exclusions": ""},
    "reject": {"smtpd_forbid_bare_newline": "reject", "smtpd_forbid_bare_newline_exclusions": ""},
}
"""The four ways of Postfix 3.7.11; mynetworks is excluded by default, and popgate is in it."""

_MASTER = """
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A running Postfix; `address` is (host, port), `sink` has what it passed on.

    `trusting=False` makes it an appliance that does not relay for loopback.
    """

    def __init__(
        self,
        certificate: Path | None = None,
        trusting: bool = True,
        more: str = "",
        doors: Mapping[str, Mapping[str, str]] | None = None,
        host: str = "",
    ) -> None:
        """`more`: settings for main.cf; `doors`: smtpd services by name, each with settings of its own, on `host`."""
        program, _ = need("postfix", "root")
        self._folder = Folder("postfix")
        folder = self._folder.path
        config = folder / "etc"
        config.mkdir()
        (folder / "queue").mkdir()
        (folder / "data").mkdir(mode=0o700)
        os.chown(folder / "data", pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postfix").gr_gid)
        self.sink = Sink(server_host())
        host = host or server_host()
        self.doors = {name: (host, free(host)) for name in doors or {"": {}}}
        self.address = next(iter(self.doors.values()))
        self.endpoint = f"{host}:{self.address[1]}"
        text = (_MAIN + more).format(
            hosted=HOSTED,
            folder=folder,
            sink_host=self.sink.address[0],
            sink_port=self.sink.address[1],
            tls="may" if certificate else "none",
            certificate=certificate or "",
        )
        if not trusting:
            text = text.replace("mynetworks = 127.0.0.0/8 [::1]/128", "mynetworks = 192.0.2.1/32")
        (config / "main.cf").write_text(text)
        (config / "master.cf").write_text(_MASTER + self._services(doors or {"": {}}))
        self.queue = folder / "queue"
        self._postfix = [program, "-c", str(config)]
        self.process = Process([*self._postfix, "start-fg"])
        try:
            self.process.expect("daemon started")
            with Dialogue(self.address) as first:
                first.expect(b"220")
        except BaseException:
            self.close()
            raise

    def _services(self, doors: Mapping[str, Mapping[str, str]]) -> str:
        text = ""
        for name, settings in doors.items():
            host, port = self.doors[name]
            text += f"{host}:{port} inet n - n - - smtpd\n"
            text += "".join(f"  -o {key}={value}\n" for key, value in settings.items())
        return text

    def arrived(self) -> Sequence[Message]:
        """All messages so far; waits until its queue is empty."""
        parts = ("maildrop", "incoming", "active", "deferred")
        until_empty(lambda: [place.name for part in parts for place in (self.queue / part).rglob("[0-9A-F]?*[0-9A-F]")])
        return self.sink.messages

    def close(self) -> None:
        # The program is a shell above the daemon, and a signal to it would leave the daemon running.
        subprocess.run([*self._postfix, "stop"], capture_output=True, check=False)
        self.process.stop()
        self.sink.close()
        self._folder.cleanup()


class PostfixDoors:
    """One lax Postfix with the services of BARE_NEWLINE."""

    def __init__(self) -> None:
        self.postfix = Postfix(more=_LAX, doors=BARE_NEWLINE)
        self.doors = [PostfixDoor(f"postfix-{name}", address, self) for name, address in self.postfix.doors.items()]

    def arrived(self) -> Sequence[Message]:
        return self.postfix.arrived()

    def close(self) -> None:
        self.postfix.close()


class PostfixDoor:
    """One service of it; see `house.House`.  The queue, and so what `arrived`, is common to all."""

    host_name = "appliance.example.com"
    backlog = 100
    literal = b""

    def __init__(self, name: str, address: tuple[str, int], doors: PostfixDoors) -> None:
        self.name, self.address = name, address
        self.arrived = doors.arrived

    def close(self) -> None:
        """Its Postfix is closed by who made it."""
