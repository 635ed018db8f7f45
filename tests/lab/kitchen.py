"""Starts the servers of the lab, the gate and the naive proxies before them, and plays all cases against all of them.

Everything is played once a run, all servers side by side, and settled before anything is judged; the tests then only
look at the outcome.  A server that is not on this machine is named with the reason.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from ..support.aiosmtpd_house import NEW, OLD, Aiosmtpd
from ..support.exim import Exim
from ..support.house import HOSTED, House
from ..support.naive import NaiveProxy
from ..support.opensmtpd import OpenSmtpd
from ..support.popgate import Config, Popgate
from ..support.postfix import BARE_NEWLINE, PostfixDoors
from ..support.sendmail import Sendmail
from . import addresses, commands, ends
from .player import play
from .verdicts import Playing, breaches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .steps import Case

POSTFIXES = [f"postfix-{name}" for name in BARE_NEWLINE]
OTHERS: dict[str, Callable[[], House]] = {
    "exim": Exim,
    "sendmail": Sendmail,
    "opensmtpd": OpenSmtpd,
    "aiosmtpd-1-4-4": lambda: Aiosmtpd(OLD),
    "aiosmtpd-1-4-6": lambda: Aiosmtpd(NEW),
}
SERVERS = [*POSTFIXES, *OTHERS]

WAYS = ("whole", "dripped", "reject", "naive LF", "naive CRLF")
"""Through the gate, whole and octet by octet; with bare_newline = "reject"; through a careless proxy of two kinds."""
SIDE_BY_SIDE = 12  # cases at one server in one way at a time

ENDS, ALL = ends.cases(), [*ends.cases(), *addresses.cases(), *commands.cases()]


@dataclass
class Kitchen:
    """What was served: `breaches[server, way]` by case."""

    missing: dict[str, str] = field(default_factory=dict)
    breaches: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def of(self, server: str, way: str) -> dict[str, str]:
        """The breaches; skips or fails the test if the server is not here."""
        if server in self.missing:
            _missing(self.missing[server])
        return self.breaches[server, way]


def _missing(reason: str) -> None:
    if reason.startswith("fail: "):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def serve() -> Iterator[Kitchen]:
    kitchen = Kitchen()
    houses: list[House] = []
    postfix: list[PostfixDoors] = []
    try:
        _start(kitchen, houses, postfix)
        if houses:
            _play_all(kitchen, houses)
        yield kitchen
    finally:
        for house in (*houses, *postfix):
            house.close()


def _start(kitchen: Kitchen, houses: list[House], postfix: list[PostfixDoors]) -> None:
    def tried(names: list[str], make: Callable[[], None]) -> None:
        try:
            make()
        except pytest.skip.Exception as skipped:
            kitchen.missing |= dict.fromkeys(names, str(skipped))
        except pytest.fail.Exception as failed:
            kitchen.missing |= dict.fromkeys(names, f"fail: {failed}")

    def doors() -> None:
        postfix.append(PostfixDoors())
        houses.extend(postfix[0].doors)

    tried(POSTFIXES, doors)
    for name, build in OTHERS.items():
        tried([name], lambda build=build: houses.append(build()))  # type: ignore[misc]


def gate_config(houses: list[House]) -> Config:
    """A listener and an upstream for each server, and another listener with `reject`."""
    listeners = {}
    for house in houses:
        common = {"protocol": "smtp", "bind": ["127.0.0.1:0"], "tls": "off", "upstream": house.name}
        listeners[house.name] = common
        listeners[f"{house.name}-reject"] = {**common, "gate": {"bare_newline": "reject"}}
    return {
        "workers": 1,
        "gate": {"local_domains": [HOSTED], "patience": "0s"},
        "limits": {"connections_per_client": 5000},
        "listener": listeners,
        "upstream": {house.name: {"servers": ["{}:{}".format(*house.address)]} for house in houses},
        "log": {"level": "info"},
    }


def _play_all(kitchen: Kitchen, houses: list[House]) -> None:
    tags = (_word(number) for number in itertools.count())
    with Popgate(gate_config(houses)) as gate:
        plays: dict[tuple[str, str], list[Playing]] = {}
        proxies: list[NaiveProxy] = []
        try:
            doors = {}
            for house in houses:
                for way, newline in (("naive LF", b"\n"), ("naive CRLF", b"\r\n")):
                    proxies.append(NaiveProxy(house.address, [HOSTED.encode()], newline))
                    doors[house.name, way] = proxies[-1].address
                doors[house.name, "whole"] = doors[house.name, "dripped"] = gate.address(house.name)
                doors[house.name, "reject"] = gate.address(f"{house.name}-reject")
            for title, ways in (("gate", WAYS[:3]), ("naive", WAYS[3:])):
                started = time.monotonic()
                asyncio.run(_play_ways(ways, houses, doors, tags, plays))
                kitchen.seconds[title] = time.monotonic() - started
        finally:
            for proxy in proxies:
                proxy.__exit__()
        assert gate.process.running
    started = time.monotonic()
    with ThreadPoolExecutor() as pool:
        settled = pool.map(lambda house: list(house.arrived()), houses)
    for house, arrived in zip(houses, settled, strict=True):
        own = (house.host_name.encode(), house.literal)
        for way in WAYS:
            kitchen.breaches[house.name, way] = breaches(plays[house.name, way], arrived, own)
    kitchen.seconds["settling"] = time.monotonic() - started


async def _play_ways(
    ways: Sequence[str],
    houses: list[House],
    doors: dict[tuple[str, str], tuple[str, int]],
    tags: Iterator[bytes],
    plays: dict[tuple[str, str], list[Playing]],
) -> None:
    doorways = {house.name: asyncio.Semaphore(max(1, house.backlog - 2)) for house in houses}

    async def one(house: House, way: str, case: Case, busy: asyncio.Semaphore) -> Playing:
        words = {b"{tag}": next(tags), b"{ip}": house.address[0].encode(), b"{host}": house.host_name.encode()}
        async with busy:
            door, doorway = doors[house.name, way], doorways[house.name]
            told = await play(door, case, words, dripped=way == "dripped", doorway=doorway)
        return Playing(case, words[b"{tag}"], told, way)

    async def at(house: House, way: str) -> None:
        busy = asyncio.Semaphore(SIDE_BY_SIDE)
        cases = ENDS if way == "reject" else ALL
        plays[house.name, way] = list(await asyncio.gather(*(one(house, way, case, busy) for case in cases)))

    await asyncio.gather(*(at(house, way) for house in houses for way in ways))


def _word(number: int) -> bytes:
    """Five characters, "z" first: another word for each number, and none that stands in the cases."""
    letters = "0123456789abcdefghijklmnopqrstuvwxyz"
    word = ""
    for _ in range(4):
        number, rest = divmod(number, 36)
        word = letters[rest] + word
    return b"z" + word.encode()
