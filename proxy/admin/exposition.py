"""The node's figures as Prometheus reads them, written by prometheus-client.

Names and meanings of what the workers count are metrics.py's; what only the supervisor or a store knows is added here
from their answers (facts.py).  Where no answer comes, those families are missing, as Prometheus wants it, and the
workers' figures are there all the same.
"""

from __future__ import annotations

import platform
import ssl
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from .. import __version__
from ..metrics import FAMILIES, NODE, SECOND, STORE_DOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client import Metric

    from ..metrics import Family
    from ..shared_memory.figures import NodeFigures
    from .facts import Answer


def exposition(figures: NodeFigures, status: Answer, leases: Answer) -> bytes:
    """All of it, in the text format."""
    return generate_latest(_Read([*_counted(figures), *_told(status), *_leases(leases)]))


class _Read(Collector):
    """prometheus-client writes what a collector gives."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _counted(figures: NodeFigures) -> Iterator[Metric]:
    for family in FAMILIES:
        if family.name:
            yield _family(figures, family)
    down = figures.total(STORE_DOWN, NODE)
    yield _gauge("popgate_store_up", "Whether the lease store answers, as all workers saw it last.", not down)


def _family(figures: NodeFigures, family: Family) -> Metric:
    names: list[str] = []
    owners: Iterable[tuple[str, list[str]]] = [(NODE, [])]
    if family.by_listener:
        names = ["listener", "protocol"]
        owners = [(name, [name, protocol]) for name, protocol in figures.listeners.items()]
    if family.kind == "histogram":
        return _histogram(figures, family, names, owners)
    made: CounterMetricFamily | GaugeMetricFamily
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    made = kind(family.name, family.text, labels=[*names, family.label] if family.label else names)
    for owner, labels in owners:
        for place, value in enumerate(family.values or [None]):
            made.add_metric(labels if value is None else [*labels, value], figures.total(family.first + place, owner))
    return made


def _histogram(
    figures: NodeFigures, family: Family, names: list[str], owners: Iterable[tuple[str, list[str]]]
) -> Metric:
    made = HistogramMetricFamily(family.name, family.text, labels=names)
    bounds = [*map(str, family.bounds), "+Inf"]
    for owner, labels in owners:
        *counts, total = [figures.total(family.first + place, owner) for place in range(family.cells)]
        made.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total / SECOND)
    return made


def _told(status: Answer) -> Iterator[Metric]:
    build = {"version": __version__, "python": platform.python_version(), "openssl": ssl.OPENSSL_VERSION}
    yield _labelled("popgate_build_info", "What runs; always 1.", [build], [1])
    if "error" in status:
        return
    yield CounterMetricFamily(
        "popgate_worker_restarts_total", "Workers that died and were started again.", value=status["restarts"]
    )
    yield _gauge("popgate_workers", "Workers as configured.", len(status["workers"]))
    ready = sum([worker["ready"] for worker in status["workers"]])
    yield _gauge("popgate_workers_ready", "Workers that serve.", ready)
    yield _gauge("popgate_draining", "Whether popgate is about to stop.", status["draining"])
    servers = status["upstreams"]
    labels = [{"upstream": one["upstream"], "server": one["server"]} for one in servers]
    up = [one["state"] != "down" for one in servers]
    yield _labelled("popgate_upstream_up", "0 where the last connection or probe came to nothing.", labels, up)
    connections = [one["connections"] for one in servers]
    yield _labelled("popgate_upstream_connections", "Connections to each server now.", labels, connections)
    failures = CounterMetricFamily(
        "popgate_upstream_failures_total", "Connections and probes that came to nothing.", labels=["upstream", "server"]
    )
    for one in servers:
        failures.add_metric([one["upstream"], one["server"]], one["failures"])
    yield failures
    shown = status["certificates"]
    ends = "popgate_certificate_expiry_timestamp_seconds"
    paths = [{"path": one["path"]} for one in shown]
    yield _labelled(ends, "When a certificate ends, epoch seconds.", paths, [one["expires"] for one in shown])


def _leases(leases: Answer) -> Iterator[Metric]:
    if "count" in leases:
        yield _gauge("popgate_leases", "Live leases; in a pool those of all nodes.", leases["count"])


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, labels: Sequence[dict[str, str]], values: Sequence[float]) -> Metric:
    made = GaugeMetricFamily(name, text, labels=list(labels[0]) if labels else [])
    for one, value in zip(labels, values, strict=True):
        made.add_metric(list(one.values()), value)
    return made
