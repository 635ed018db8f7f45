"""What breaks around the gate: upstreams that die, a store that can't be written, killed workers, clocks that jump.

promises 2, 3 and 4, rules S9, G7, G8; threats C94, H4, H7, H19.  Nobody gets a 250 that the upstream did
not give; a store failure yields 451, and mail can be read.

The wall clock is moved for popgate alone, by replacing Python's `time.time` in its processes; the boot clock by a time
namespace.  Not here: a step of the machine's own clock while it runs, a real suspend (tests/unit/test_leases_clock.py
and its neighbours have an injected clock for both).
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ..support import popgate as popgate_module
from ..support.dialogue import Dialogue, pop_login, send, stuffed
from ..support.legacy import Legacy
from ..support.popgate import Popgate, config
from ..support.vitals import HonestUser, Vitals, eventually, noted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..support.appliance import SampleAppliance
    from ..support.legacy import Call

FRIEND = b"friend@example.org"
OLD, NEW, STRANGER = "127.3.0.1", "127.3.0.2", "127.3.0.3"

# --- upstreams that die

# What the client says, and how many of them the upstream answers before it dies; -1: it does not even greet.
SMTP = [b"EHLO x", b"MAIL FROM:<a@example.com>", b"RCPT TO:<bob@example.com>", b"DATA", b"body", b".", b"QUIT"]
SMTP_REPLIES = [b"250 old\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"", b"250 queued\r\n", b"221 bye\r\n"]
ENDS = ["fin", "reset"]


def dying_smtp(answers: Callable[[], int], end: str) -> Callable[[Call], object]:
    """An upstream that answers so many commands and then goes, by FIN or RST, in the middle of the next one's reply."""

    async def play(call: Call) -> None:
        left = answers()
        if left >= 0:
            await call.say(b"220 old ESMTP\r\n")
            for reply in SMTP_REPLIES[:left]:
                await (call.until(b"body") if not reply else call.until(b"\r\n"))
                await call.say(reply)
            await call.reader.read(1)  # the next command has come
            await call.say(SMTP_REPLIES[left][:3])  # half a reply is none
        if end == "reset":
            call.reset()

    return play


@pytest.mark.parametrize("end", ENDS)
def test_S9_an_upstream_that_dies_in_each_phase_of_smtp(appliance: SampleAppliance, end: str) -> None:
    phase = -1
    with Legacy(dying_smtp(lambda: phase, end)) as old:
        settings = config(appliance.pop3, appliance.smtp, upstream={"old": {"servers": [old.endpoint]}})
        settings["listener"]["odd"] = settings["listener"]["smtp"] | {"upstream": "old"}
        with Popgate(settings) as gate:
            vitals = Vitals(gate)
            with HonestUser(gate):
                for phase in range(-1, len(SMTP)):
                    with Dialogue(gate.address("odd")) as smtp:
                        replies = _as_far_as_it_goes(smtp)
                    given = [reply[:3] for reply in SMTP_REPLIES[: min(max(phase, 0), 6)] if reply]
                    got = [reply[:3] for reply in replies if reply[:3] not in (b"220", b"221", b"421", b"451")]
                    assert got == given, f"phase {phase}: {replies}"
                    assert phase == len(SMTP) - 1 or replies[-1][:1] == b"4", f"phase {phase}: {replies}"
            vitals.settle()
            assert " bug " not in gate.process.output
    noted(f"upstream dies ({end}) in each of {len(SMTP) + 1} phases", "no 250 that it did not give")


def _as_far_as_it_goes(smtp: Dialogue) -> list[bytes]:
    replies = [smtp.reply()]
    for line in SMTP:
        if replies[-1][:1] in (b"4", b""):
            break
        with contextlib.suppress(ConnectionError):
            smtp.say(line + (b"" if line == b"body" else b"\r\n" if line != b"." else b"\r\n.\r\n"))
        if line != b"body":
            replies.append(smtp.reply())
    return [reply for reply in replies if reply]


@pytest.mark.parametrize("end", ENDS)
def test_promise_1_an_upstream_that_dies_in_each_phase_of_pop3_makes_no_lease(
    appliance: SampleAppliance, end: str
) -> None:
    said = [b"+OK old\r\n", b"+OK\r\n", b"+OK in\r\n"]
    phase = 0

    async def dying(call: Call) -> None:
        for reply in said[:phase]:
            await call.say(reply)
            await call.line()
        await call.say(said[phase][:-1])  # all of it but its LF
        if end == "reset":
            call.reset()

    with Legacy(dying) as old:
        settings = config(appliance.pop3, appliance.smtp, upstream={"old": {"servers": [old.endpoint]}})
        settings["listener"]["odd"] = settings["listener"]["pop3"] | {"upstream": "old"}
        with Popgate(settings) as gate, HonestUser(gate):
            for phase in range(len(said)):
                with Dialogue(gate.address("odd"), OLD) as pop:
                    with contextlib.suppress(ConnectionError):
                        pop.say(b"USER alice\r\nPASS secret\r\n")
                    lines = pop.rest().split(b"\r\n")[:-1]
                assert lines[:-1] == [line[:-2] for line in said[:phase]], (phase, lines)
                assert lines[-1].startswith(b"-ERR [SYS/TEMP]"), (phase, lines)
            assert send(gate.address("smtp"), [FRIEND], source=OLD).startswith(b"554 ")


# --- a store that can't be written

TIMEOUT = 0.5  # s, store.timeout: the default
IN_TROUBLE = {"timeout": "500ms"}


@contextlib.contextmanager
def locked(gate: Popgate) -> Iterator[None]:
    """Another process holds the write lock."""
    with contextlib.closing(sqlite3.connect(gate.folder / "leases.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def no_room(gate: Popgate) -> Iterator[None]:
    """No file of a worker may grow: write(2) fails as on a disk that is full."""
    for pid in gate.workers():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    yield
    for pid in gate.workers():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextlib.contextmanager
def full(gate: Popgate) -> Iterator[None]:
    """The file system of the store is full to the last octet."""
    filler = gate.folder / "store" / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(512))
    yield
    filler.unlink()


def survives(gate: Popgate, trouble: contextlib.AbstractContextManager[None]) -> None:
    """The story of a store in trouble, as its users see it."""
    smtp, pop3 = gate.address("smtp"), gate.address("pop3")
    pop_login(pop3, source=OLD)
    eventually(lambda: send(smtp, [FRIEND], source=OLD).startswith(b"250 "), "the first lease")
    with trouble:
        began = time.monotonic()
        pop_login(pop3, source=NEW)  # reading mail goes on
        assert time.monotonic() - began < 10 * TIMEOUT
        for _ in range(4):
            assert send(smtp, [FRIEND], source=NEW).startswith(b"451 4.3.0"), "deferred, never refused"
        assert send(smtp, [FRIEND], source=OLD).startswith(b"250 "), "a lease that is there is good"
        assert not send(smtp, [FRIEND], source=STRANGER).startswith(b"2"), "closed"
        assert send(smtp, [b"bob@example.com"], source=STRANGER).startswith(b"250 "), "local mail needs no store"
    began = time.monotonic()
    eventually(lambda: send(smtp, [FRIEND], source=NEW).startswith(b"250 "), "the late lease")
    eventually(lambda: send(smtp, [FRIEND], source=STRANGER).startswith(b"554 "), "a refusal that is a fact again")
    noted("the store can be written again", f"late leases are there after {time.monotonic() - began:.1f} s")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("trouble", [locked, no_room])
def test_G7_a_store_that_cannot_be_written(
    appliance: SampleAppliance, trouble: Callable[[Popgate], contextlib.AbstractContextManager[None]], workers: int
) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, workers=workers, store=IN_TROUBLE)) as gate:
        survives(gate, trouble(gate))
        assert "Traceback" not in gate.process.output
        assert " bug " not in gate.process.output


def test_G7_a_full_disk(appliance: SampleAppliance) -> None:
    settings = config(appliance.pop3, appliance.smtp, store=IN_TROUBLE | {"url": "sqlite:store/leases.db"})
    with Popgate(settings) as gate:
        gate.stop()
        folder = gate.folder / "store"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("may not mount a file system; test_G7_a_store_that_cannot_be_written stands for it")
        try:
            gate.restart()
            survives(gate, full(gate))
            gate.stop()
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def test_G7_a_store_that_is_locked_at_the_start(appliance: SampleAppliance) -> None:
    """Who holds the file when popgate starts delays relaying, and nothing else."""
    with Popgate(config(appliance.pop3, appliance.smtp, store=IN_TROUBLE)) as gate:
        pop_login(gate.address("pop3"), source=OLD)
        eventually(lambda: send(gate.address("smtp"), [FRIEND], source=OLD).startswith(b"250 "), "the first lease")
        gate.stop()
        with contextlib.closing(sqlite3.connect(gate.folder / "leases.db", isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            gate.restart()
            pop_login(gate.address("pop3"), source=NEW)
            for source in (OLD, NEW, STRANGER):
                assert send(gate.address("smtp"), [FRIEND], source=source).startswith(b"451 4.3.0")
            other.execute("ROLLBACK")
        for source in (OLD, NEW):
            eventually(lambda: send(gate.address("smtp"), [FRIEND], source=source).startswith(b"250 "), "the lease")  # noqa: B023
        assert send(gate.address("smtp"), [FRIEND], source=STRANGER).startswith(b"554 ")


# --- a worker that is killed


@pytest.mark.parametrize("where", ["mail", "body", "after-the-dot", "mailbox"])
def test_promise_3_a_worker_killed_in_mid_session(appliance: SampleAppliance, where: str) -> None:
    async def slow(call: Call) -> None:
        await call.say(b"220 old\r\n")
        for reply in SMTP_REPLIES[:4]:
            await call.line()
            await call.say(reply)
        await call.until(b"\r\n.\r\n")
        await call.to_the_end()  # the reply never comes

    with Legacy(slow) as old:
        settings = config(appliance.pop3, appliance.smtp, workers=2, upstream={"old": {"servers": [old.endpoint]}})
        settings["listener"]["slow"] = settings["listener"]["smtp"] | {"upstream": "old"}
        with Popgate(settings) as gate:
            pop_login(gate.address("pop3"), source=OLD)
            with Dialogue(gate.address("pop3" if where == "mailbox" else "slow"), OLD) as client:
                _bring_to(client, where)
                for pid in gate.workers():
                    os.kill(pid, signal.SIGKILL)
                assert client.rest() == b"", "nothing more, and no 250 above all"
            # What the killed workers had not finished is nobody's; the lease is the store's, and the gate is back.
            assert send(gate.address("smtp"), [FRIEND], source=OLD).startswith(b"250 ")
            if where == "body":
                assert b"\r\n.\r\n" not in old.call().received


def _bring_to(client: Dialogue, where: str) -> None:
    if where == "mailbox":
        client.expect(b"+OK")
        client.ask(b"USER alice", b"+OK")
        client.ask(b"PASS secret", b"+OK")
        return
    client.expect(b"220")
    client.ask(b"HELO x", b"250")
    client.ask(b"MAIL FROM:<a@example.com>", b"250")
    if where != "mail":
        client.ask(b"RCPT TO:<" + FRIEND + b">", b"250")
        client.ask(b"DATA", b"354")
        client.say(b"half a mess" if where == "body" else stuffed(b"all of it\r\n"))


# --- clocks

SHIFTED = """
import os, time
_true = time.time
def _shifted():
    with open(os.environ["POPGATE_TEST_WALL"]) as file:
        return _true() + float(file.read())
time.time = _shifted
"""


@pytest.fixture
def wall(tmp_path: Path) -> Path:
    """A file that holds by how many seconds popgate's wall clock is wrong."""
    (tmp_path / "sitecustomize.py").write_text(SHIFTED)
    (tmp_path / "wall").write_text("0")
    return tmp_path / "wall"


def set_wall(wall: Path, seconds: int) -> None:
    """At once: popgate may read at any moment."""
    wall.with_suffix(".new").write_text(str(seconds))
    wall.with_suffix(".new").rename(wall)


@pytest.mark.parametrize("step", [7200, -7200])
def test_G8_a_step_of_the_wall_clock_neither_ends_nor_lengthens_a_lease(
    appliance: SampleAppliance, wall: Path, step: int
) -> None:
    env = {"PYTHONPATH": str(wall.parent), "POPGATE_TEST_WALL": str(wall)}
    with Popgate(config(appliance.pop3, appliance.smtp, gate={"window": "3s", "max_age": "3s"}), env=env) as gate:
        smtp = gate.address("smtp")
        before = time.monotonic()
        pop_login(gate.address("pop3"), source=OLD)
        after = time.monotonic()
        set_wall(wall, step)
        assert send(smtp, [FRIEND], source=OLD).startswith(b"250 ")
        pop_login(gate.address("pop3"), source=NEW)
        set_wall(wall, 0)
        assert send(smtp, [FRIEND], source=NEW).startswith(b"250 ")
        asked = after
        while (answer := send(smtp, [FRIEND], source=OLD)).startswith(b"250 "):
            assert asked < after + 3.1, "longer than its window"
            asked = time.monotonic()
        assert answer.startswith(b"554 ")
        assert time.monotonic() > before + 2.9, "shorter than its window"
        eventually(lambda: send(smtp, [FRIEND], source=NEW).startswith(b"554 "), "the end of the other")


def test_G8_time_that_went_by_while_popgate_was_down_or_asleep_counts(
    appliance: SampleAppliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour later on the boot clock, as after a suspend: a time namespace, which only root may have."""
    later = ("unshare", "--time", "--boottime", "3600")
    if subprocess.run([*later, "true"], capture_output=True, check=False).returncode:
        pytest.skip("may not make a time namespace; tests/unit has an injected clock for it")
    with Popgate(config(appliance.pop3, appliance.smtp)) as gate:
        pop_login(gate.address("pop3"), source=OLD)  # for 30 minutes
        assert gate.command("leases", "grant", NEW, "--for", "2h").returncode == 0
        gate.stop()
        monkeypatch.setattr(popgate_module, "_COMMAND", (*later, sys.executable, "-m", "proxy"))
        gate.restart()
        assert send(gate.address("smtp"), [FRIEND], source=OLD).startswith(b"554 ")
        assert send(gate.address("smtp"), [FRIEND], source=NEW).startswith(b"250 ")
