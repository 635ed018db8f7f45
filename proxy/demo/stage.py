"""The stage of the demo: a folder with a configuration and a certificate, and the real gate as a program of its own.

The gate is started as an administrator would (`popgate run -c FOLDER/conf.d`), with ports that the system chooses;
where it listens is read from its log.  Its log is kept, and shown if something goes wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import ssl
import sys
from typing import TYPE_CHECKING

from .. import certificates
from .screen import Unexpected

if TYPE_CHECKING:
    from pathlib import Path

    from .appliance import Appliance

NAME = "mail.example.com"  # in the certificate
START = 20.0  # seconds; a healthy start takes one
_LISTENING = re.compile(r"listening listener=(\S+) address=(\S+):(\d+)")

_CONFIG = """\
workers = 1

[gate]
window = "{window}"
patience = "0s"
local_domains = ["example.com"]

[store]
url = "sqlite:leases.db"

[listener.pop3]
protocol = "pop3"
bind = ["127.0.0.1:0"]
tls = "starttls"
upstream = "pop3"

[listener.smtp]
protocol = "smtp"
bind = ["127.0.0.1:0"]
tls = "starttls"
upstream = "smtp"

[upstream.pop3]
servers = ["{pop3[0]}:{pop3[1]}"]

[upstream.smtp]
servers = ["{smtp[0]}:{smtp[1]}"]

[tls]
certificates = ["certs/mail.pem"]
"""


class Stage:
    """The gate in `folder`, in front of `appliance`.  `ports` maps a listener's name to (host, port) while it runs."""

    def __init__(self, folder: Path, appliance: Appliance) -> None:
        self.folder = folder
        self.ports: dict[str, tuple[str, int]] = {}
        self.log: list[str] = []
        self._appliance = appliance
        self._gate: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        certificate = certificates.make([NAME, "localhost", "127.0.0.1"], folder / "certs", file="mail.pem")
        self.trust = ssl.create_default_context(cafile=str(certificate))

    async def start(self, window: str) -> None:
        """Writes the configuration and starts the gate; back once it serves."""
        conf = self.folder / "conf.d"
        conf.mkdir(exist_ok=True)
        text = _CONFIG.format(window=window, pop3=self._appliance.pop3, smtp=self._appliance.smtp)
        (conf / "demo.toml").write_text(text)
        self.ports.clear()
        self._gate = await asyncio.create_subprocess_exec(
            *self.command("run"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the demo, which then ends the gate in order
        )
        serving = asyncio.Event()
        self._listening = asyncio.create_task(self._listen(self._gate, serving))
        try:
            async with asyncio.timeout(START):
                await serving.wait()
        except TimeoutError:
            raise Unexpected(f"the gate did not start within {START:g} s") from None
        if self._gate.returncode is not None or not {"pop3", "smtp"} <= self.ports.keys():
            raise Unexpected("the gate did not start")

    async def _listen(self, gate: asyncio.subprocess.Process, serving: asyncio.Event) -> None:
        assert gate.stdout is not None
        async for raw in gate.stdout:
            line = raw.decode(errors="backslashreplace").rstrip()
            self.log.append(line)
            if place := _LISTENING.search(line):
                self.ports[place[1]] = (place[2], int(place[3]))
            elif re.search(r"\bserving\b", line):
                serving.set()
        await gate.wait()
        serving.set()  # it ended: nobody shall wait for it any longer

    async def stop(self) -> None:
        """Ends the gate in order; by force if it takes too long."""
        gate, self._gate = self._gate, None
        if gate is None:
            return
        with contextlib.suppress(ProcessLookupError):
            gate.terminate()
            try:
                async with asyncio.timeout(START):
                    await gate.wait()
            except TimeoutError:
                gate.kill()
        if self._listening is not None:
            await self._listening

    async def run(self, *arguments: str) -> str:
        """What `popgate ARGUMENTS` prints about this gate."""
        child = await asyncio.create_subprocess_exec(
            *self.command(*arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=_environment(),
        )
        said, _ = await child.communicate()
        text = said.decode(errors="replace").rstrip()
        # `why` answers "no" by its exit code too, so a code alone is no failure; two is: usage or configuration.
        if child.returncode == 2 or (child.returncode or 0) < 0:
            raise Unexpected(f"popgate {' '.join(arguments)}: exit {child.returncode}: {text}")
        return text

    def command(self, *arguments: str) -> list[str]:
        """The command line of `popgate ARGUMENTS` with this configuration."""
        package = __name__.partition(".")[0]
        return [sys.executable, "-m", package, *arguments, "-c", str(self.folder / "conf.d")]


def _environment() -> dict[str, str]:
    """Ours, without what would lead the gate out of the folder (systemd sets these)."""
    return {key: value for key, value in os.environ.items() if key not in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY")}
