"""popgate itself, as its users run it: a program with a configuration folder, a log and signals.

`config(pop3, smtp)` is a configuration for two upstreams, a nested dict for tests to change; `Popgate(config)` runs
it and is back once it says that it serves.  Listeners bind port 0; which ports they got is read from the log.  Every
Popgate has a folder of its own, so a fresh store; `restart` keeps it.
"""

from __future__ import annotations

import copy
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .folder import Folder
from .process import PATIENCE, Process
from .toml import dumps

if TYPE_CHECKING:
    from .systemd import Activator

Config = dict[str, Any]

LISTENING = r'listening\W+listener\W+(NAME)\W+address\W{1,4}(\[[^\]]+\]|[^\s:"]+):(\d+)'  # text and JSON
_COMMAND = (sys.executable, "-m", "proxy")


def config(pop3: str, smtp: str, certificate: Path | None = None, **changes: Any) -> Config:
    """One worker, a SQLite store with more time than a loaded machine takes, example.com local, no patience, listeners
    "pop3" and "smtp".

    pop3, smtp: the upstreams as the configuration writes them.  With `certificate` they offer STLS and STARTTLS, and
    there are "pop3s" and "smtps".  changes: tables to merge in, `gate={"window": "2s"}`.
    """
    tls = "starttls" if certificate else "off"
    listeners = {"pop3": ("pop3", tls), "smtp": ("smtp", tls)}
    if certificate:
        listeners |= {"pop3s": ("pop3", "implicit"), "smtps": ("smtp", "implicit")}
    whole: Config = {
        "workers": 1,
        "drain_timeout": "10s",
        "gate": {"local_domains": ["example.com"], "patience": "0s"},
        "store": {"url": "sqlite:leases.db", "timeout": "5s"},
        "listener": {
            name: {"protocol": protocol, "bind": ["127.0.0.1:0"], "tls": kind, "upstream": protocol}
            for name, (protocol, kind) in listeners.items()
        },
        "upstream": {  # scripted servers count their calls: tests that want probes say so
            "pop3": {"servers": [pop3], "health_interval": "0s"},
            "smtp": {"servers": [smtp], "health_interval": "0s"},
        },
        "log": {"level": "debug"},
    }
    if certificate:
        whole["tls"] = {"certificates": [str(certificate)]}
    return merged(whole, changes)


def merged(whole: Config, changes: Config) -> Config:
    """`whole` with `changes` laid over it, table by table; neither is altered."""
    result = copy.deepcopy(whole)
    for key, value in changes.items():
        result[key] = merged(result.get(key, {}), value) if isinstance(value, dict) else value
    return result


class Popgate:
    """A running popgate.  A context manager; leaving it drains it.

    settings: a nested dict or TOML text.  env: more environment, for instance to choose the event loop.  activator: who
    makes the listening sockets and keeps them.
    """

    def __init__(
        self, settings: Config | str, env: dict[str, str] | None = None, activator: Activator | None = None
    ) -> None:
        self._temporary = Folder("gate")
        self.folder = self._temporary.path
        self._env = {"STATE_DIRECTORY": "", "RUNTIME_DIRECTORY": "", "PYTHONWARNINGS": "error", **(env or {})}
        self._activator = activator
        (self.folder / "conf.d").mkdir()
        self.write(settings)
        self.process = self._start()

    def __enter__(self) -> Popgate:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, settings: Config | str) -> None:
        """Puts `settings` in place of the configuration; `reload` or `restart` make it count."""
        text = settings if isinstance(settings, str) else dumps(settings)
        (self.folder / "conf.d" / "test.toml").write_text(text)

    def address(self, listener: str) -> tuple[str, int]:
        """Where `listener` listens."""
        match = self.process.expect(LISTENING.replace("NAME", re.escape(listener)))
        return match[2].strip("[]"), int(match[3])

    def endpoint(self, listener: str) -> str:
        host, port = self.address(listener)
        return f"{host}:{port}"

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `popgate ARGUMENTS -c` this configuration, from another folder, and gives its exit code and output."""
        return subprocess.run(
            [*_COMMAND, *arguments, "-c", str(self.folder / "conf.d")],
            env={**os.environ, **self._env},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def workers(self) -> list[int]:
        """The process ids of the workers, oldest first."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(number) for number in path.read_text().split()]

    def reload(self, expected: str) -> str:
        """SIGHUP; back with the log line that matches `expected`."""
        before = len(self.process.lines)
        self.process.signal(signal.SIGHUP)
        return self.process.expect(expected, since=before).string

    def restart(self) -> None:
        """Stops it in order and starts it again with the same folder; its ports are others then, but for an
        activator's."""
        self.stop()
        self.process = self._start()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it by a signal; its exit code."""
        return self.process.stop(number)

    def close(self) -> None:
        self.process.stop()
        self._temporary.cleanup()

    def _start(self) -> Process:
        argv = [*_COMMAND, "run", "-c", str(self.folder / "conf.d")]
        if self._activator is None:
            process = Process(argv, cwd=Path("/"), env=self._env)
        else:
            process = self._activator.start(argv, cwd=Path("/"), env=self._env)
        try:
            process.expect(r"\bserving\b")
        except BaseException:
            process.stop()
            self._temporary.cleanup()
            raise
        return process


def start_fails(settings: Config | str) -> tuple[int, str]:
    """Runs a configuration that can't be served: its exit code and all it said."""
    with Folder("gate") as name:
        conf = Path(name) / "conf.d"
        conf.mkdir()
        (conf / "test.toml").write_text(settings if isinstance(settings, str) else dumps(settings))
        process = Process([*_COMMAND, "run", "-c", str(conf)], cwd=Path("/"))
        try:
            return process.wait(), process.output
        finally:
            process.stop()
