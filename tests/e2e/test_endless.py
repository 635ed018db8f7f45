"""What never ends, and who never reads (threats G5, G6, C92, E22; promise 6).

Memory has a bound that no peer can exceed: each test states it for one connection, and measures a crowd of them
beside an honest user.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from ..support.attack import attacker, careless, connected, crowd, drop, flood
from ..support.dialogue import Dialogue
from ..support.legacy import Legacy
from ..support.popgate import Popgate, config
from ..support.vitals import MIB, HonestUser, Vitals, eventually, noted

if TYPE_CHECKING:
    from pathlib import Path

    from ..support.appliance import SampleAppliance
    from ..support.legacy import Call
    from ..support.popgate import Config

KIB = 1 << 10
GREETING = {"smtp": b"220 old ESMTP\r\n", "pop3": b"+OK old\r\n"}


def behind(appliance: SampleAppliance, listener: str, old: Legacy, **changes: object) -> Config:
    """The appliance for honest users, and a listener "odd" in front of `old`."""
    settings = config(appliance.pop3, appliance.smtp, upstream={"old": {"servers": [old.endpoint]}}, **changes)
    settings["listener"]["odd"] = settings["listener"][listener] | {"upstream": "old"}
    return settings


# --- clients without an end


@pytest.mark.parametrize(
    ("listener", "first", "octet"),
    [("smtp", b"", b"x"), ("smtp", b"", b"\n"), ("smtp", b"", b"\0"), ("pop3", b"", b"x"), ("pop3", b"USER ", b"x")],
    ids=["smtp", "smtp-lf", "smtp-nul", "pop3", "pop3-user"],
)
def test_a_command_line_without_an_end(appliance: SampleAppliance, listener: str, first: bytes, octet: bytes) -> None:
    """What is over the limit is swallowed: 64 MiB of it cost no memory."""
    with Popgate(config(appliance.pop3, appliance.smtp)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate), connected(gate.address(listener)) as sock:
            sock.recv(4096)
            sock.sendall(first)
            sent = flood(sock, octet * 65536, 64 * MIB)
            grown = vitals.grown()
        vitals.settle()
    assert grown < MIB
    noted(f"{sent / MIB:.0f} MiB without an end of line at {listener}", f"{grown / KIB:.0f} KiB")


def test_a_message_line_without_an_end_passes(appliance: SampleAppliance) -> None:
    """A body is not cut into lines: 64 MiB in one of them pass through, and memory stays flat."""

    async def takes(call: Call) -> None:
        await call.say(b"220 old ESMTP\r\n")
        for reply in (b"250 old\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await call.line()
            await call.say(reply)
        passed, tail = 0, b""
        while not tail.endswith(b"\r\n.\r\n"):
            got = await call.reader.read(1 << 18)
            passed, tail = passed + len(got), (tail + got)[-5:]
        await call.ask(b"250 %d\r\n" % passed)

    size = 64 * MIB
    with Legacy(takes) as old, Popgate(behind(appliance, "smtp", old)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate), connected(gate.address("odd")) as sock:
            sock.recv(4096)
            for line in (b"EHLO x\r\n", b"MAIL FROM:<a@example.com>\r\n", b"RCPT TO:<b@example.com>\r\n", b"DATA\r\n"):
                sock.sendall(line)
                assert sock.recv(4096)[:1] in (b"2", b"3")
            most, began = 0, time.monotonic()
            for _ in range(size // MIB):
                sock.sendall(b"x" * MIB)
                most = max(most, vitals.grown())
            sock.sendall(b"\r\n.\r\n")
            assert sock.recv(4096) == b"250 %d\r\n" % (size + 5)
            took = time.monotonic() - began
        assert most < 2 * MIB
    noted("a line of 64 MiB in a message", f"passed in {took:.1f} s, {most / KIB:.0f} KiB at most")


# --- clients that never read


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_a_big_mailbox_that_nobody_reads(appliance: SampleAppliance, certificate: Path, tls: bool) -> None:
    """G6: fifty clients ask for a message without end, and read none of it."""
    size = 50

    async def mailbox(call: Call) -> None:
        await call.say(b"+OK old\r\n")
        for reply in (b"+OK\r\n", b"+OK\r\n", b"+OK here it comes\r\n"):
            await call.line()
            await call.say(reply)
        while True:
            await call.say(b"x" * 65534 + b"\r\n")

    with Legacy(mailbox) as old:
        settings = behind(appliance, "pop3", old, tls={"certificates": [str(certificate)]})
        settings["listener"]["odd"]["tls"] = "implicit" if tls else "off"
        with Popgate(settings) as gate:
            vitals = Vitals(gate)
            with HonestUser(gate):
                kind = careless() if tls else None
                clients = [Dialogue(gate.address("odd"), attacker(number), kind) for number in range(size)]
                for client in clients:
                    client.expect(b"+OK")
                    client.say(b"USER carol\r\nPASS secret\r\nRETR 1\r\n")
                # They have all got what the kernel takes when memory has stopped growing.
                seen = [0, 1]
                eventually(lambda: _grows_no_more(vitals, seen), "an end of the growth")
                each = vitals.peak_grown() / size
                drop([client.socket for client in clients])
            vitals.settle()
    assert each < 400 * KIB
    noted(f"{size} mailboxes without end, never read{', by TLS' if tls else ''}", f"{each / KIB:.0f} KiB each")


def _grows_no_more(vitals: Vitals, seen: list[int]) -> bool:
    time.sleep(0.1)
    seen.append(vitals.resident())
    return max(seen[-3:]) - min(seen[-3:]) < 64 * KIB


@pytest.mark.parametrize(
    ("line", "ends"),
    [(b"RCPT TO:<f@example.org>\r\n", True), (b"\r\n", True), (b"VRFY x\r\n", False), (b"NOOP\r\n", False)],
    ids=["554", "500", "252", "owed"],
)
def test_replies_that_nobody_reads(appliance: SampleAppliance, line: bytes, ends: bool) -> None:
    """A flood of commands whose replies are never read, or are never given: the gate stops reading, or ends it."""
    size = 10

    async def forgets_noop(call: Call) -> None:
        await call.say(b"220 old ESMTP\r\n")
        await call.line()
        await call.say(b"250-old\r\n250 PIPELINING\r\n")
        await call.line()
        await call.say(b"250 ok\r\n")
        await call.to_the_end()

    # The limits would end the first two early; 10,000 is the most that may be configured.
    limits = {"refusals": 10_000, "errors": 10_000, "command_timeout": "3s"}
    with Legacy(forgets_noop) as old, Popgate(behind(appliance, "smtp", old, limits=limits)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate):
            sockets = crowd(gate.address("odd"), size)
            for sock in sockets:
                for opening in (b"EHLO x\r\n", b"MAIL FROM:<a@example.com>\r\n"):
                    sock.sendall(opening)
                    assert sock.recv(4096).startswith(b"250")
            # Who is ended must get as far as the limit, however slow the machine; the others only stop.
            sent = [flood(sock, line * 1000, 32 * MIB, patience=5.0 if ends else 0.05) for sock in sockets]
            each = vitals.grown() / size
            drop(sockets, reset=True)
        vitals.settle()
        if ends:
            gate.process.expect("end .*too many")
    assert ends or max(sent) < 32 * MIB, "reading stopped"
    assert each < 300 * KIB
    noted(f"replies to {line!r} never read", f"{each / KIB:.0f} KiB each")


def test_a_message_that_the_upstream_never_reads(appliance: SampleAppliance) -> None:
    """The reverse of the mailbox: the upstream says 354 and reads no octet of the body."""
    size = 8

    async def deaf(call: Call) -> None:
        await call.say(b"220 old ESMTP\r\n")
        for reply in (b"250 old\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await call.line()
            await call.say(reply)
        call.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(3600)

    # A client that leaves while nothing of it may be read is noticed at the limit of the block that is on its way: the
    # end of its message may be waiting in the kernel, so that it has gone says nothing.
    settings = {"limits": {"data_timeout": "4s"}}
    with Legacy(deaf) as old, Popgate(behind(appliance, "smtp", old, **settings)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate):
            sockets = crowd(gate.address("odd"), size)
            for line in (b"EHLO x\r\n", b"MAIL FROM:<a@example.com>\r\n", b"RCPT TO:<b@example.com>\r\n", b"DATA\r\n"):
                for sock in sockets:
                    sock.sendall(line)
                    assert sock.recv(4096)[:1] in (b"2", b"3")
            sent = [flood(sock, b"x" * MIB, 64 * MIB, patience=0.05) for sock in sockets]
            each = vitals.grown() / size
            drop(sockets)
        vitals.settle()
    assert max(sent) < 64 * MIB, "reading stopped"
    assert each < 300 * KIB
    noted(f"{size} messages that the upstream never reads", f"{each / KIB:.0f} KiB each")


# --- upstreams without an end

ENDLESS: dict[str, tuple[str, bytes, bytes, bytes]] = {
    # listener, what the upstream says first, what the client says, what the upstream then says over and over
    "smtp-greeting-line": ("smtp", b"220 ", b"", b"x"),
    "smtp-greeting-lines": ("smtp", b"", b"", b"220-x\r\n"),
    "smtp-ehlo-lines": ("smtp", b"220 old\r\n", b"EHLO x\r\n", b"250-x\r\n"),
    "smtp-ehlo-line": ("smtp", b"220 old\r\n", b"EHLO x\r\n", b"250-x"),
    "smtp-replies": ("smtp", b"220 old\r\n", b"EHLO x\r\n", b"250 x\r\n"),
    "smtp-no-replies": ("smtp", b"220 old\r\n", b"EHLO x\r\n", b"\r\n"),
    "smtp-unasked": ("smtp", b"220 old\r\n", b"", b"250 x\r\n"),
    "pop3-greeting-line": ("pop3", b"+OK ", b"", b"x"),
    "pop3-greetings": ("pop3", b"", b"", b"+OK\r\n"),
    "pop3-capa-lines": ("pop3", b"+OK old\r\n+OK\r\n", b"CAPA\r\n", b"UIDL\r\n"),
    "pop3-capa-line": ("pop3", b"+OK old\r\n", b"CAPA\r\n", b"+OK x"),
    "pop3-reply-line": ("pop3", b"+OK old\r\n", b"USER a\r\n", b"+OK x"),
    "pop3-errors": ("pop3", b"+OK old\r\n", b"USER a\r\n", b"-ERR x\r\n"),
    "pop3-challenges": ("pop3", b"+OK old\r\n", b"AUTH LOGIN\r\n", b"+ VXNlcg==\r\n"),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_an_upstream_that_never_stops(appliance: SampleAppliance, case: str) -> None:
    """G5, C92, E22: both sides are closed, the client is told, and memory does not follow the flood."""
    listener, first, asked, again = ENDLESS[case]
    size = 20

    async def endless(call: Call) -> None:
        if b"\r\n+OK" in first:  # the second reply waits for its command
            greeting, _, rest = first.partition(b"\r\n")
            await call.say(greeting + b"\r\n")
            await call.line()
            await call.say(rest)
        else:
            await call.say(first)
            if asked:
                await call.line()
        block = again * (65536 // len(again))
        while True:
            await call.say(block)

    with Legacy(endless) as old, Popgate(behind(appliance, listener, old)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate):
            sockets = [connected(gate.address("odd"), number) for number in range(size)]
            for sock in sockets:
                said = bytearray()
                if asked:
                    said += sock.recv(65536)
                    sock.sendall(asked)
                with contextlib.suppress(ConnectionError):
                    while more := sock.recv(65536):
                        said += more
                assert len(said) < 100 * KIB
                assert b"421 4.3.0" in said or b"421 4.3.2" in said or b"-ERR " in said, said[-200:]
            most = vitals.peak_grown()
            drop(sockets)
        vitals.settle()
    assert most < size * 300 * KIB
    noted(f"{size} upstreams without an end: {case}", f"{most / MIB:.1f} MiB at most")


@pytest.mark.parametrize("listener", ["smtp", "pop3"])
def test_an_upstream_that_floods_behind_a_held_reply(appliance: SampleAppliance, listener: str) -> None:
    """What follows a login, or a DATA, without being asked for is bounded as well."""

    async def flooding(call: Call) -> None:
        await call.say(GREETING[listener])
        for reply in (
            (b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 x\r\n" + b"250 x\r\n" * 100_000)
            if listener == "smtp"
            else (b"+OK\r\n", b"+OK\r\n" + b"x" * 4 * MIB)
        ):
            await call.line()
            await call.say(reply)
        await call.to_the_end()

    with Legacy(flooding) as old, Popgate(behind(appliance, listener, old)) as gate:
        vitals = Vitals(gate)
        with HonestUser(gate):
            sockets = crowd(gate.address("odd"), 20)
            lines = (
                (b"EHLO x\r\n", b"MAIL FROM:<a@example.com>\r\n", b"RCPT TO:<b@example.com>\r\n", b"DATA\r\n")
                if listener == "smtp"
                else (b"USER alice\r\n", b"PASS secret\r\n")
            )
            for sock in sockets:
                for line in lines:
                    sock.sendall(line)
                    sock.recv(4096)
            assert vitals.peak_grown() < 20 * 300 * KIB
            drop(sockets)
        vitals.settle()
