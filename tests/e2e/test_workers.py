"""Many workers, one table of leases: promise 2, the login comes first (rule G5).

1,000 pairs of login and sending through 4 workers on SQLite.  A pair has both connections open before it logs in, so
that they land on whichever workers take them, and sends RCPT the instant `+OK` is read.  Every pair comes from an
address of its own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from ..support.popgate import Popgate, config

if TYPE_CHECKING:
    from ..support.appliance import SampleAppliance

PAIRS = 1000
AT_ONCE = 20  # pairs side by side: enough for 4 workers on few cores
WORKERS = 4


async def _pair(number: int, pop3: tuple[str, int], smtp: tuple[str, int]) -> tuple[bytes, bytes]:
    """One login and one RCPT from an address of its own; the replies to both RCPTs, before and after the login."""
    source = (f"127.2.{number // 250}.{number % 250 + 1}", 0)
    pop_in, pop_out = await asyncio.open_connection(*pop3, local_addr=source)
    smtp_in, smtp_out = await asyncio.open_connection(*smtp, local_addr=source)

    async def ask(line: bytes) -> bytes:
        smtp_out.write(line)
        return await smtp_in.readline()

    try:
        await smtp_in.readline()
        await ask(b"HELO client\r\n")
        await ask(b"MAIL FROM:<alice@example.com>\r\n")
        before = await ask(b"RCPT TO:<friend@example.org>\r\n")
        await ask(b"RSET\r\n")
        await ask(b"MAIL FROM:<alice@example.com>\r\n")
        await pop_in.readline()
        pop_out.write(b"USER alice\r\n")
        await pop_in.readline()
        pop_out.write(b"PASS secret\r\n")
        assert (await pop_in.readline()).startswith(b"+OK")
        return before, await ask(b"RCPT TO:<friend@example.org>\r\n")
    finally:
        for writer in (pop_out, smtp_out):
            writer.close()
            await writer.wait_closed()


async def _all_pairs(pop3: tuple[str, int], smtp: tuple[str, int]) -> list[tuple[bytes, bytes]]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> tuple[bytes, bytes]:
        async with room:
            return await _pair(number, pop3, smtp)

    return await asyncio.gather(*(one(number) for number in range(PAIRS)))


def test_promise_2_a_thousand_logins_through_four_workers(appliance: SampleAppliance) -> None:
    settings = config(appliance.pop3, appliance.smtp, workers=WORKERS, limits={"connections_per_client": 10})
    with Popgate(settings) as gate:
        assert len(gate.workers()) == WORKERS
        answers = asyncio.run(_all_pairs(gate.address("pop3"), gate.address("smtp")))
    before = Counter(reply[:3] for reply, _ in answers)
    after = Counter(reply[:3] for _, reply in answers)
    assert before == {b"554": PAIRS}
    assert after == {b"250": PAIRS}, [reply for _, reply in answers if not reply.startswith(b"250")][:5]


def test_promise_2_the_pairs_really_met_different_workers(appliance: SampleAppliance) -> None:
    """Without this the test above could pass with one busy worker: each session line names its worker's process."""
    with Popgate(config(appliance.pop3, appliance.smtp, workers=WORKERS)) as gate:
        workers = set(gate.workers())
        asyncio.run(_all_pairs(gate.address("pop3"), gate.address("smtp")))
        shares = {pid: _processor_seconds(pid) for pid in workers}
        assert set(gate.workers()) == workers  # nobody died meanwhile
    assert sorted(shares.values())[-2] > 0, shares


def _processor_seconds(pid: int) -> float:
    """User and system time of a process (proc(5): fields 14 and 15 of stat), in clock ticks."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return float(int(fields[11]) + int(fields[12]))
