"""scripts/bench [WORKLOAD...]: popgate beside the proxies that this machine has; scripts/bench --growth: beside itself.

--rounds N     of each measurement, of which the median counts (3); --seconds S: of load in each (2)
--peers NAME,...   only these; HAProxy's figures are what the ratios refer to
--also NAME=FOLDER  another checkout of popgate, set up, beside this one
--quick        one short round with small numbers: shows that it runs, its figures are worth nothing
--growth       memory and CPU as sessions and leases become more, instead of workloads
--out FOLDER   writes bench.md and bench.svg (growth.md, growth.svg) there, too
--goals        prints, to stderr, what popgate has set itself beside what was measured
--readme FILE  writes the costs between the two marks of that page (page.BEGIN, page.END)

The proxy runs on one core, load and upstream on another, so the speed has a limit that is not the proxy's: where "core
busy" is far below 100 %, only the cost counts.  Cost is CPU seconds of the proxy (memory, for idle sessions; time, for
latency).
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from proxy import certificates

from ..support.folder import Folder
from . import BenchError, goals, growth, lookups, machine, measure, page, plot, programs
from .peers import PEERS, Direct, Peer, Popgate
from .workloads import WORKLOADS, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .measure import Effort, Figures
    from .programs import Upstream

_QUICK = measure.Effort(seconds=0.1, warm_up=0.02, held=20)
_QUICK_SESSIONS, _QUICK_LEASES, _QUICK_LOOK_UPS = (1, 10), (10, 100), 20
_LOOK_UPS = "look-ups"  # beside the workloads


def main() -> int:
    given = _arguments()
    try:
        programs.build()
        with _stage(given) as (upstream, certificate):
            text, picture = (
                _grown(given, upstream, certificate) if given.growth else _compared(given, upstream, certificate)
            )
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(text)
    if given.out is not None:
        name = "growth" if given.growth else "bench"
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / f"{name}.md").write_text(text, encoding="utf-8")
        (given.out / f"{name}.svg").write_text(picture, encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="popgate beside other proxies.")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement; the median counts")
    parser.add_argument("--seconds", type=float, default=2.0, help="of load in each round")
    parser.add_argument("--peers", default=",".join(peer.name for peer in PEERS), help="of these; default: all")
    parser.add_argument(
        "--also", action="append", default=[], metavar="NAME=FOLDER", help="another checkout of popgate"
    )
    parser.add_argument("--quick", action="store_true", help="only shows that it runs")
    parser.add_argument("--growth", action="store_true", help="what more sessions and leases cost")
    parser.add_argument("--out", type=Path, help="folder for the page and the picture")
    parser.add_argument("--goals", action="store_true", help="also print the project's own bounds, to stderr")
    parser.add_argument("--readme", type=Path, help="page whose table of costs is written anew")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join([*WORKLOADS, _LOOK_UPS]))
    given = parser.parse_args()
    if unknown := set(given.workloads) - {*WORKLOADS, _LOOK_UPS}:
        parser.error(f"no such workload: {', '.join(sorted(unknown))}; there are {', '.join([*WORKLOADS, _LOOK_UPS])}")
    if unknown := set(given.peers.split(",")) - {peer.name for peer in PEERS}:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(peer.name for peer in PEERS)}")
    for one in given.also:
        if not Path(one.partition("=")[2], ".venv", "bin", "python").exists():
            parser.error(f"--also {one}: no checkout that is set up; run scripts/setup there")
    return given


@contextlib.contextmanager
def _stage(given: argparse.Namespace) -> Iterator[tuple[Upstream, Path]]:
    """The mail server, a certificate, and this process with all that it starts on the core of the load."""
    machine.raise_descriptors()
    with Folder("bench-certificate") as name, machine.on_core(machine.cores()[1]), programs.upstream() as upstream:
        yield upstream, certificates.make(["mail.example.com"], Path(name))


def _effort(given: argparse.Namespace) -> Effort:
    return _QUICK if given.quick else measure.Effort(given.seconds, held=min(9500, machine.most_sessions()))


def _peers(given: argparse.Namespace) -> list[Peer]:
    chosen: list[Peer] = [peer for peer in PEERS if peer.name in given.peers.split(",")]
    for peer in chosen:
        if not peer.version():
            print(f"bench: not on this machine: {peer.title()}", file=sys.stderr)
    others = [one.partition("=") for one in given.also]
    chosen += [Popgate(name, str(Path(folder, ".venv", "bin", "python").absolute())) for name, _, folder in others]
    return [peer for peer in chosen if peer.version()]


def _compared(given: argparse.Namespace, upstream: Upstream, certificate: Path) -> tuple[str, str]:
    """The page and the picture of all workloads."""
    peers, effort = _peers(given), _effort(given)
    rounds = 1 if given.quick else given.rounds
    versions = [peer.version() for peer in peers if not isinstance(peer, Direct)]
    where = machine.described(list(dict.fromkeys(versions)))
    chosen = given.workloads or [*WORKLOADS, _LOOK_UPS]
    workloads = [WORKLOADS[name] for name in chosen if name != _LOOK_UPS]
    workloads = [one.smaller() for one in workloads] if given.quick else workloads
    results: dict[str, dict[str, Figures]] = {}
    for workload in workloads:
        start = time.monotonic()

        def one_round(peer: Peer, workload: Workload = workload) -> Figures:
            return measure.once(workload, peer, upstream, certificate, effort)

        serving = [peer for peer in peers if peer.serves(workload)]
        results[workload.name] = measure.through_all(serving, rounds, one_round)
        print(f"bench: {workload.name}, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    beside = [workload for workload in workloads if not workload.alone]
    if given.readme is not None:
        text = given.readme.read_text("utf-8")
        given.readme.write_text(page.replaced(text, page.brief(beside, peers, results)), encoding="utf-8")
    found: list[lookups.LookUp] = []
    if _LOOK_UPS in chosen:
        found = lookups.measure(upstream, certificate, *([_QUICK_LOOK_UPS] if given.quick else []))
    if given.goals:
        print(goals.page({peer.name: peer.title() for peer in peers}, results, found), file=sys.stderr)
    return _page(where, rounds, workloads, peers, results, found), _picture(workloads, peers, results)


def _page(
    where: str,
    rounds: int,
    workloads: Sequence[Workload],
    peers: Sequence[Peer],
    results: dict[str, dict[str, Figures]],
    look_ups: Sequence[lookups.LookUp],
) -> str:
    titles = {peer.name: peer.title() for peer in peers}
    beside = [workload for workload in workloads if not workload.alone]
    return f"""# How fast

{where}
Medians of {rounds} {"round" if rounds == 1 else "rounds"}, by `scripts/bench`.

Cost and speed of popgate and others, HAProxy in tcp mode = 1. Cost is the proxy's CPU time for a session or a gigabyte
(for idle sessions memory, for the latency time): less is better. Speed is sessions or octets a second: more is better.

![The cost of each workload](bench.svg)

{page.ratios(beside, peers, results)}
popgate beside others than HAProxy. `workers-2` and `workers-4` are popgate with 2 and 4 workers, all on the proxy's
core, beside popgate with one; `workers-tls` is the share of TLS sessions that are resumed; a look-up is what a foreign
recipient costs in the store.

{goals.measured(titles, results, look_ups)}
Every figure; "direct" is no proxy. Where the core was far from busy, load or upstream were the limit, and the speed
says nothing.

{page.details(workloads, peers, results)}"""


def _picture(workloads: Sequence[Workload], peers: Sequence[Peer], results: dict[str, dict[str, Figures]]) -> str:
    titles = {peer.name: peer.title() for peer in peers if peer.name not in (page.BASE, "direct")}
    rows = []
    for workload in workloads:
        if workload.alone:
            continue
        ratios = {titles[name]: page.cost_ratio(results[workload.name], name) for name in titles}
        rows.append(plot.Row(workload.what, {title: value for title, value in ratios.items() if value and value > 0}))
    words = "Cost of popgate and nginx for each workload, as ratios to HAProxy; the figures are in the table beside it."
    return plot.dots("Cost of a session or an octet", words, rows, list(titles.values()), "HAProxy")


def _grown(given: argparse.Namespace, upstream: Upstream, certificate: Path) -> tuple[str, str]:
    """The page and the picture of growth."""
    where = machine.described(machine.own_versions())
    counts = _QUICK_SESSIONS if given.quick else growth.SESSIONS
    series = growth.sessions(upstream, certificate, counts, _effort(given))
    series += growth.leases(upstream, certificate, _QUICK_LEASES if given.quick else growth.LEASES)
    panels: dict[str, plot.Panel] = {}
    for one in series:
        panel = panels.setdefault(one.of + one.what, plot.Panel(one.what, one.unit, one.of, {}))
        lines = {**panel.lines, one.name: [(n, value) for n, value in one.points if n > 0 and value > 0]}
        panels[one.of + one.what] = plot.Panel(one.what, one.unit, one.of, {k: v for k, v in lines.items() if v})
    words = "Costs against the number of sessions and leases, both scales logarithmic; the figures are in the table."
    drawn = [panel for panel in panels.values() if panel.lines]
    return _growth_page(where, series), plot.panels("As sessions and leases become more", words, drawn)


def _growth_page(where: str, series: Sequence[growth.Series]) -> str:
    tables = [page.growth([one for one in series if one.of == of]) for of in ("sessions", "leases")]
    return f"""# As sessions and leases become more

{where}
By `scripts/bench --growth`.

The last column says how a figure grows between the last two numbers: power 1 is in proportion, 0 not at all.

![Cost against sessions and leases](growth.svg)

{tables[0]}
Leases in SQLite, as shipped, and in memory (`memory:`). A look-up is what a foreign recipient costs, a grant what a
login costs, its commit included.

{tables[1]}"""


if __name__ == "__main__":
    sys.exit(main())
