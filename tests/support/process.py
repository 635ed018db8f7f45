"""A program under test: started, listened to, ended, its whole output at hand.

`Process.expect(pattern)` waits for a line of output that matches; it never polls.  When the program ends or the time
is up before that, the error shows what the program said.  Standard output and standard error are read as one stream,
by a thread, so that a program that says much is never stopped by a full pipe.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PATIENCE = 20.0  # seconds for anything that a healthy program does in less than one


class Process:
    """One running program.  A context manager: leaving it ends the program."""

    def __init__(
        self,
        argv: Sequence[str],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.argv = list(argv)
        self.lines: list[str] = []  # all it said so far, without line ends
        self._news = threading.Condition()
        self._over = False
        self._child = subprocess.Popen(
            self.argv,
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            start_new_session=True,  # a Ctrl-C at pytest ends the tests, which then end the program in order
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with self._news:
                self.lines.append(line.decode(errors="backslashreplace").rstrip("\r\n"))
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def expect(self, pattern: str, since: int = 0, timeout: float = PATIENCE) -> re.Match[str]:
        """The first line from line number `since` on in which `pattern` is found; waits for it up to `timeout`
        seconds."""
        seeker = re.compile(pattern)
        deadline = time.monotonic() + timeout
        seen = since
        with self._news:
            while True:
                while seen < len(self.lines):
                    if match := seeker.search(self.lines[seen]):
                        return match
                    seen += 1
                left = deadline - time.monotonic()
                if self._over or not self._news.wait(max(left, 0)):
                    what = "ended" if self._over else f"{timeout:g} s passed"
                    raise AssertionError(f"{what}, and no line matched {pattern!r}:\n{self.argv}\n{self.output}")

    def signal(self, number: int) -> None:
        self._child.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Its exit code, once it has ended by itself and all it said is in `lines`."""
        try:
            code = self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s:\n{self.argv}\n{self.output}") from None
        self._reader.join(timeout)
        return code

    def kill(self) -> None:
        """Ends it and all that it started, at once: for programs whose children outlive them."""
        if self.running:
            os.killpg(self.pid, SIGKILL)  # the group is ours: it was made by start_new_session
        self.stop()

    def stop(self, number: int = SIGTERM, timeout: float = PATIENCE) -> int:
        """Ends it by `number`, by force with its whole process group if that takes longer than `timeout`."""
        if self.running:
            self.signal(number)
            try:
                self._child.wait(timeout)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, SIGKILL)  # the group is ours: it was made by start_new_session
        code = self._child.wait()
        self._reader.join(timeout)
        if self._child.stdout is not None and not self._reader.is_alive():
            self._child.stdout.close()
        return code
