"""One workload through one proxy, and the median of several rounds.

Every measurement starts a proxy of its own, warms it up and ends it: nothing is left of the one before.  Rounds go
through the proxies in turn, each second one backwards, so that a machine that becomes slower is so for all of them.

Of several rounds the median counts, for each figure apart.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import machine, programs
from .workloads import LOG_IN, Counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .peers import Peer, Running
    from .programs import Played, Upstream
    from .workloads import Workload

SETTLED = 0.5
"""Seconds after which memory is read: what is freed late is freed then."""
_PATIENCE = 120.0  # seconds above those of the load itself


@dataclass(frozen=True)
class Effort:
    """How much is done for one figure."""

    seconds: float = 2.0
    """Of load, for each round."""
    warm_up: float = 0.3
    """Seconds of load before that."""
    held: int = 9500
    """Idle sessions, for memory."""


@dataclass(frozen=True)
class Figures:
    """What came out, of one round or as medians; None: there is no such figure."""

    cost: float | None
    """In the unit of the workload's `counted`; less is better."""
    speed: float | None
    """Sessions a second, or octets a second; more is better."""
    busy: float | None
    """The share of one core that the proxy used; 1 where the proxy, and not the load, was the limit."""
    failed: int
    """Sessions."""
    remark: str = ""
    resumed: float | None = None
    """Of TLS sessions that could be, the share that was."""


def once(workload: Workload, peer: Peer, upstream: Upstream, certificate: Path, effort: Effort) -> Figures:
    """One round: a fresh proxy, warmed up, under load.  Raises BenchError where it does not start."""
    with peer.run(workload, upstream, certificate) as proxy:
        if workload.leased:
            _play(proxy, "pop3", LOG_IN, "-n", str(programs.SOURCES))
        if workload.counted is Counted.MEMORY:
            return _memory(workload, proxy, effort)
        _load(workload, proxy, effort.warm_up)
        before = proxy.cpu_seconds()
        played = _load(workload, proxy, effort.seconds)
        return _figures(workload, played, proxy.cpu_seconds() - before if proxy.pid else None)


def medians(rounds: Sequence[Figures]) -> Figures:
    remarks = [one.remark for one in rounds if one.remark]
    return Figures(
        _median([one.cost for one in rounds]),
        _median([one.speed for one in rounds]),
        _median([one.busy for one in rounds]),
        sum(one.failed for one in rounds),
        remarks[0] if remarks else "",
        _median([one.resumed for one in rounds]),
    )


def through_all(peers: Sequence[Peer], rounds: int, one_round: Callable[[Peer], Figures]) -> dict[str, Figures]:
    """The medians of each peer, by name."""
    results: dict[str, list[Figures]] = {peer.name: [] for peer in peers}
    for number in range(rounds):
        for peer in peers if number % 2 == 0 else reversed(peers):
            results[peer.name].append(one_round(peer))
    return {name: medians(figures) for name, figures in results.items()}


def _load(workload: Workload, proxy: Running, seconds: float) -> Played:
    options = ["-d", str(seconds)]
    options += ["-n", "1"] if workload.counted is Counted.TRIPS else ["-p", str(workload.parallel)]
    options += ["-s"] if workload.tls else []
    options += ["-r"] if workload.resumed else []
    return _play(proxy, workload.listener, workload.steps, *options, seconds=seconds)


def _play(proxy: Running, listener: str, steps: Sequence[str], *options: str, seconds: float = 0.0) -> Played:
    return programs.play(proxy.host, proxy.ports[listener], steps, *options, patience=seconds + _PATIENCE)


def _figures(workload: Workload, played: Played, used: float | None) -> Figures:
    """`used`: CPU seconds of the proxy, None without one."""
    remark = played.complaint if played.failed else ""
    resumed = played.resumed / played.sessions if workload.resumed and played.sessions else None
    if resumed is not None:
        remark = remark or f"{resumed:.0%} resumed"
    done = {Counted.SESSIONS: played.sessions, Counted.OCTETS: played.octets, Counted.TRIPS: played.trips}[
        workload.counted
    ]
    if not done:
        return Figures(None, None, None, max(played.failed, 1), remark or "nothing was done")
    if workload.counted is Counted.TRIPS:
        return Figures(played.trip_us, None, None, played.failed, remark)
    cost = None if used is None else used / done * (1e6 if workload.counted is Counted.SESSIONS else 1e9)
    busy = None if used is None else used / played.seconds
    return Figures(cost, done / played.seconds, busy, played.failed, remark, resumed)


def _memory(workload: Workload, proxy: Running, effort: Effort) -> Figures:
    _play(
        proxy, workload.listener, (*workload.steps[:-1], ">QUIT", "<1"), "-n", "64", *(["-s"] if workload.tls else [])
    )
    time.sleep(SETTLED)
    before = machine.memory(proxy.pid)
    options = ["-n", str(effort.held), "-p", "64", *(["-s"] if workload.tls else [])]
    with programs.hold(proxy.host, proxy.ports[workload.listener], workload.steps, *options) as held:
        time.sleep(SETTLED)
        grown = machine.memory(proxy.pid) - before
    if not held:
        return Figures(None, None, None, effort.held, "no session was left")
    return Figures(grown / held, None, None, effort.held - held)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
