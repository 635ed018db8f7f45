"""The results of a run as Markdown: ratios first, then every figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .workloads import Counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .growth import Series
    from .measure import Figures
    from .peers import Peer
    from .workloads import Workload

BASE = "haproxy"
"""Whose cost and speed are 1."""
BEGIN, END = "<!-- scripts/bench writes from here -->", "<!-- to here -->"


def ratio(of: float | None, to: float | None) -> float | None:
    return of / to if of is not None and to else None


def cost_ratio(figures: Mapping[str, Figures], name: str) -> float | None:
    return ratio(figures[name].cost, figures[BASE].cost) if name in figures and BASE in figures else None


def speed_ratio(figures: Mapping[str, Figures], name: str) -> float | None:
    return ratio(figures[name].speed, figures[BASE].speed) if name in figures and BASE in figures else None


def shown(value: float | None) -> str:
    """Three digits at most; "-" for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of even width; all but the first are figures."""
    width = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [[cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, width, strict=True))]
             for row in [head, *rows]]  # fmt: skip
    lines.insert(1, ["-" * w if n == 0 else "-" * (w - 1) + ":" for n, w in enumerate(width)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def ratios(workloads: Sequence[Workload], peers: Sequence[Peer], results: Mapping[str, Mapping[str, Figures]]) -> str:
    """One row a workload: cost and speed of each peer, as ratios to HAProxy's."""
    others = [peer for peer in peers if peer.name not in (BASE, "direct")]
    head = ["what"]
    for peer in others:
        head += [f"{peer.title()}: cost", "speed"]
    rows = []
    for workload in workloads:
        figures = results[workload.name]
        row = [f"{workload.what} (`{workload.name}`)"]
        for peer in others:
            row += [shown(cost_ratio(figures, peer.name)), shown(speed_ratio(figures, peer.name))]
        rows.append(row)
    return table(head, rows)


def brief(workloads: Sequence[Workload], peers: Sequence[Peer], results: Mapping[str, Mapping[str, Figures]]) -> str:
    """The costs alone, of popgate and of its nearest peer: the table of docs/performance.md."""
    chosen = [peer for peer in peers if peer.name in ("popgate", "nginx-mail")]
    rows = [
        [workload.what, *[shown(cost_ratio(results[workload.name], peer.name)) for peer in chosen]]
        for workload in workloads
    ]
    return table(["what", *[peer.title() for peer in chosen]], rows)


def replaced(text: str, by: str) -> str:
    """A page with what stands between its two marks replaced; ValueError where it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"there is no {BEGIN} with an {END} behind it")
    return f"{before}{begin}\n{by}{end}{after}"


def details(workloads: Sequence[Workload], peers: Sequence[Peer], results: Mapping[str, Mapping[str, Figures]]) -> str:
    """One row a workload and peer, with units."""
    head = ["workload", "through", "cost", "unit", "speed", "unit", "core busy", "remark"]
    rows = []
    for workload in workloads:
        for peer in peers:
            if (one := results[workload.name].get(peer.name)) is None:
                continue
            octets = workload.counted is Counted.OCTETS
            speed = one.speed / 1e6 if octets and one.speed is not None else one.speed
            remark = ", ".join(word for word in (f"{one.failed} failed" if one.failed else "", one.remark) if word)
            rows.append(
                [
                    workload.name,
                    peer.title(),
                    shown(one.cost),
                    workload.counted.value if one.cost is not None else "",
                    shown(speed),
                    "" if speed is None else "MB/s" if octets else "1/s",
                    "-" if one.busy is None else f"{one.busy:.0%}",
                    remark.replace("|", "/"),
                ]
            )
    return table(head, rows)


def growth(series: Sequence[Series]) -> str:
    """One row a series: its figures, and the power of the number that they grow with."""
    most = max(len(one.points) for one in series)
    head = ["what", "unit", *["" for _ in range(most)], "grows with the power"]
    rows = []
    for one in series:
        cells = [f"{shown(y)} at {x:,}" for x, y in one.points]
        cells += [""] * (most - len(cells))
        rows.append([f"{one.what}, {one.name}" if one.name else one.what, one.unit, *cells, shown(one.power())])
    return table(head, rows)
