"""A private Exim 4 that relays for loopback, out of Debian's package without installing it (see jail.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .house import HOSTED, until_it_greets
from .jail import FIRST_ID, Jail
from .needs import need
from .ports import free, server_host
from .sink import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .sink import Message

_PROGRAM = "usr/sbin/exim4"
_CONFIG = """
primary_hostname = {name}
local_interfaces = {host}
daemon_smtp_ports = {port}
domainlist local_domains = {hosted}
log_file_path = /var/log/exim4/%slog
acl_smtp_rcpt = rcpt
acl_smtp_etrn = accept
acl_smtp_vrfy = accept
host_lookup =
rfc1413_query_timeout = 0s
queue_only = true
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
smtp_accept_max_nonmail = 100000
smtp_max_synprot_errors = 100000
smtp_max_unknown_commands = 100000
recipients_max = 0
message_size_limit = 100M
received_headers_max = 100
smtputf8_advertise_hosts = *
chunking_advertise_hosts = *
tls_advertise_hosts =
disable_ipv6 = true
keep_environment =
begin acl
rcpt:
  {rcpt}
begin routers
sink:
  driver = manualroute
  transport = sink
  route_data = {sink_host}
  self = send
begin transports
sink:
  driver = smtp
  port = {sink_port}
  hosts_try_fastopen = :
  message_linelength_limit = 100M
begin retry
* * F,1h,1s
"""


RUNNERS = 3  # queue runs side by side


class Exim:
    """A running Exim; see `house.House`.  Nothing leaves it before `arrived` is asked."""

    name = "exim"
    host_name = "exim.local.test"
    backlog = 100
    literal = b""

    def __init__(self, rcpt: str = "accept") -> None:
        """`rcpt`: the statements of the ACL for recipients."""
        need("root", "exim4")
        self._sink = Sink(server_host())
        host = server_host()
        self.address = (host, free(host))
        self._jail = Jail("exim", [_PROGRAM], ["Debian-exim"])
        for place in ("var/spool/exim4", "var/log/exim4"):
            self._jail.folder(place, 0o750, FIRST_ID)
        self._jail.folder("etc/exim4")
        self._jail.path("etc/exim4/exim4.conf").write_text(
            _CONFIG.format(
                name=self.host_name,
                host=host,
                port=self.address[1],
                hosted=HOSTED,
                rcpt=rcpt,
                sink_host=self._sink.address[0],
                sink_port=self._sink.address[1],
            )
        )
        self._process = self._jail.start(f"/{_PROGRAM}", "-bdf")
        try:
            until_it_greets(self.address)
        except BaseException:
            self.close()
            raise

    def arrived(self) -> Sequence[Message]:
        self._jail.run_together(RUNNERS, f"/{_PROGRAM}", "-qff")
        left = [place.name for place in self._jail.path("var/spool/exim4").glob("input/**/*-H")]
        assert not left, (left[:5], self._jail.path("var/log/exim4/mainlog").read_text()[-3000:])
        return self._sink.messages

    def close(self) -> None:
        self._process.stop()
        self._sink.close()
        self._jail.close()
