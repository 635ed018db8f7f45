"""Where the lines of the log go: stderr, a file, the local syslog socket, the journal.  loguru carries them there.

- A file is opened to append; several processes write whole lines to it.  Who rotates it is node/rotation.py.
- Under systemd stderr is the journal's, and each line begins with its level as sd-daemon(3) has it.
- "syslog": RFC 5424 messages to /dev/log, facility mail, APP-NAME popgate, MSG our line as it is.  "syslog:bsd": as
  syslog(3) writes them.  systemd-journald and rsyslog with its defaults take only the second for what it is, on that
  socket: of the first they make a message without a name that begins with its header.

A syslog daemon that does not read, or that is being restarted, costs lines and never time: mail must not wait for it.
How many are lost is said once it reads again.

Rejected: logging.handlers.SysLogHandler, which waits for the daemon, and writes a third form.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from loguru import logger

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICE: Final = "/dev/log"
SYSLOG: Final = "syslog"
SYSLOG_BSD: Final = "syslog:bsd"
SEVERITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3}
"""RFC 5424 6.2.1, and sd-daemon(3)."""
_MAIL: Final = 2 << 3  # the facility
_PREFIX: Final = len("<6>")


class Manner(NamedTuple):
    """How a sink wants its lines."""

    batches: bool
    """Several at once."""
    levels: bool
    """Each with its severity in front, "<6>"."""


def point(file: str) -> Manner:
    """Point loguru at `file`: "" (stderr), "syslog", "syslog:bsd", or a path.

    Raise OSError when that can't be opened, having changed nothing.
    """
    sink: Any = sys.stderr
    options: dict[str, Any] = {"colorize": False}
    if file in (SYSLOG, SYSLOG_BSD):
        sink = Syslog(rfc5424 if file == SYSLOG else bsd)
    elif file:
        with open(file, "a", encoding="utf-8"):  # fails here, while the old log is still there
            sink, options = file, {"encoding": "utf-8"}
    logger.remove()
    logger.add(sink, format="{message}", level=0, **options)
    is_syslog = isinstance(sink, Syslog)
    return Manner(batches=not is_syslog, levels=is_syslog or (not file and is_journal(os.environ)))


def is_journal(environ: Any) -> bool:
    """Whether stderr is the journal's: $JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(2)
        return (int(device), int(inode)) == (found.st_dev, found.st_ino)
    except (OSError, ValueError):
        return False


def rfc5424(severity: int, text: str, now: float) -> bytes:
    """RFC 5424 6; no structured data."""
    zone = time.strftime("%z", time.localtime(now))
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03d}"
    stamp += f"{zone[:3]}:{zone[3:]}"
    host = socket.gethostname() or "-"
    return f"<{_MAIL + severity}>1 {stamp} {host} popgate {os.getpid()} - - {text}".encode()


def bsd(severity: int, text: str, now: float) -> bytes:
    """As syslog(3) of glibc writes it: RFC 3164's form without the host.  English names of months, whatever LC_TIME."""
    local = time.localtime(now)
    month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][local.tm_mon - 1]
    stamp = f"{month} {local.tm_mday:2d} {time.strftime('%H:%M:%S', local)}"
    return f"<{_MAIL + severity}>{stamp} popgate[{os.getpid()}]: {text}".encode()


class Syslog:
    """A sink that sends each line as one datagram, or loses it."""

    def __init__(self, form: Callable[[int, str, float], bytes], device: str | None = None) -> None:
        """Raise OSError where nobody listens at `device` (None: DEVICE)."""
        self._form, self._device = form, device or DEVICE
        self._lost = 0
        self._sock = self._connected()

    def write(self, line: str) -> None:
        """A line with its severity in front and a newline behind it."""
        now = time.time()
        if self._lost:
            told = f"WARNING popgate log-lost lines={self._lost}"
            stamp = time.strftime("%Y-%m-%d %H:%M:%S.000 ", time.localtime(now))
            if not self._sent(self._form(SEVERITIES["warning"], stamp + told, now)):
                self._lost += 1
                return
            self._lost = 0
        self._lost += not self._sent(self._form(int(line[1]), line[_PREFIX:].removesuffix("\n"), now))

    def stop(self) -> None:
        """loguru calls it when it lets go of the sink."""
        self._sock.close()

    def _sent(self, octets: bytes) -> bool:
        try:
            self._sock.send(octets)
        except BlockingIOError:
            return False
        except OSError:  # the daemon was restarted: a new socket is there now, or soon
            try:
                self._sock.close()
                self._sock = self._connected()
                self._sock.send(octets)
            except OSError:
                return False
        return True

    def _connected(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self._device)
        except OSError:
            sock.close()
            raise
        return sock
