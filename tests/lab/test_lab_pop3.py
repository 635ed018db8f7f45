"""The gate before a real Dovecot: a lease exists if and only if Dovecot logged that user in, by that name.

promises 1 and 2, rules P1 to P6, S10.  Judged by Dovecot's log and the lease store.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import pytest

from ..support.dovecot import Dovecot
from ..support.naive import NaivePop
from ..support.popgate import Popgate, config
from ..support.ports import client_host
from . import logins
from .player import play

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOGGED_IN = re.compile(r"Login: user=<([^>]*)>")
NAMES = {logins.user_of(number): case.name for number, case in enumerate(logins.CASES)}
# E4 logs in as the last of two users, with the gate as without it.
LOOSE = frozenset({"E16"})  # the client is gone before anybody could have read an +OK: either is right


@pytest.fixture(scope="module")
def users() -> Iterator[Dovecot]:
    server = Dovecot(users=(*NAMES, "nobody", "other"))
    yield server
    server.close()


async def _play(address: tuple[str, int], sources: list[str], dripped: bool) -> None:
    busy = asyncio.Semaphore(8)

    async def one(number: int) -> None:
        async with busy:
            case = logins.CASES[number]
            await play(address, case, logins.words(number), dripped=dripped, source=sources[number])

    await asyncio.gather(*(one(number) for number in range(len(logins.CASES))))


def _logged_in(server: Dovecot, since: int) -> set[str]:
    """Who has logged in, by Dovecot's own log."""
    marker = f"Login: user=<{logins.user_of(0)}>"  # case 0 is an honest one
    server.process.expect(re.escape(marker), since=since)
    return {match[1] for line in server.process.lines[since:] if (match := _LOGGED_IN.search(line))}


@pytest.mark.parametrize("dripped", [False, True], ids=["whole", "dripped"])
def test_promise_2_a_lease_for_each_login_and_no_other(users: Dovecot, dripped: bool) -> None:
    sources = [client_host() for _ in logins.CASES]
    since = len(users.process.lines)
    with Popgate(config(users.endpoint, users.endpoint)) as gate:
        asyncio.run(_play(gate.address("pop3"), sources, dripped))
        leases = json.loads(gate.command("leases", "list", "--json").stdout)
    found = {(lease["address"], lease["login"]) for lease in leases}
    logged = _logged_in(users, since)
    by_source = {source: logins.user_of(number) for number, source in enumerate(sources)}
    stolen = {NAMES[by_source[address]]: login for address, login in found if by_source[address] != login}
    without = {login for _, login in found if login not in logged}
    missed = {NAMES.get(login, login) for login in logged - {login for _, login in found}} - LOOSE
    assert stolen == {"E4": "other"}, "a lease in another name than the one that Dovecot knows"
    assert not without, "a lease without a login"
    assert not missed, "a login without a lease"
    assert {case.name for case in logins.HONEST} <= {NAMES[by_source[address]] for address, _ in found}


def test_the_naive_proxy_believes_in_logins_that_never_were(users: Dovecot) -> None:
    """The positive control."""
    since = len(users.process.lines)
    with NaivePop(users.address) as naive:
        asyncio.run(_play(naive.address, [client_host() for _ in logins.CASES], dripped=False))
    logged = _logged_in(users, since)
    wrong = {NAMES.get(login, login) for login in set(naive.logins) ^ logged}
    assert wrong >= {"E3", "E3 auth", "E3 noop", "E3 user", "E6 NUL", "E6 pass LF", "E10", "E10 login line"}
