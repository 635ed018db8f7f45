"""scripts/grafana: every metric and every label that dashboard and alert rules name is there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.admin.exposition import exposition
from proxy.shared_memory.figures import NodeFigures

from ..support.needs import need
from ..support.site import STATUS

FOLDER = Path(__file__).parents[2] / "scripts" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
ALERTS = (FOLDER / "alerts.yaml").read_text("utf-8")
OF_PROMETHEUS = {"instance", "job"}

SHOWN = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
ASKED = re.findall(r"^ +expr: (.+)$", ALERTS, re.MULTILINE)


def known() -> dict[str, dict[str, set[str]]]:
    """Each sample's name: its labels, and the values of each."""
    text = exposition(NodeFigures(1, {"in": "smtp"}), STATUS, {"leases": [], "count": 1}).decode()
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for key, value in sample.labels.items():
                labels.setdefault(key, set()).add(value)
    return found


KNOWN = known()


def test_there_is_something_to_look_at() -> None:
    assert len(SHOWN) > 25
    assert len(ASKED) == ALERTS.count("- alert:") > 10


@pytest.mark.parametrize("expression", SHOWN + ASKED)
def test_every_metric_exists_with_these_labels(expression: str) -> None:
    names = re.findall(r"\bpopgate_\w+", expression)
    assert names or expression == 'up{job="popgate"} == 0'
    labels: set[str] = set(OF_PROMETHEUS)
    for name in names:
        assert name in KNOWN, name
        labels |= KNOWN[name].keys()
    for name, selector in re.findall(r"(\bpopgate_\w+)\{([^}]*)\}", expression):
        for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', selector):
            assert label in KNOWN[name].keys() | OF_PROMETHEUS, label
            if label not in OF_PROMETHEUS and operator != "=~":
                assert value in KNOWN[name][label], value
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(group.split(", ")) <= labels, group


@pytest.mark.parametrize("expression", SHOWN + ASKED)
def test_counters_are_looked_at_as_rates_and_gauges_are_not(expression: str) -> None:
    for name in re.findall(r"\bpopgate_\w+", expression):
        asked = re.search(rf"(rate|increase)\({name}\b", expression)
        assert bool(asked) == name.endswith(("_total", "_bucket")), name


def test_legends_name_labels_that_their_expression_leaves() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            group = re.search(r"\bby \(([^)]*)\)", target["expr"])
            [name] = set(re.findall(r"\bpopgate_\w+", target["expr"]))
            left = set(group[1].split(", ")) if group else KNOWN[name].keys() | OF_PROMETHEUS
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= left, panel["title"]


def test_no_panel_covers_another() -> None:
    places = [
        (panel["gridPos"]["x"] + column, panel["gridPos"]["y"] + row)
        for panel in DASHBOARD["panels"]
        for column in range(panel["gridPos"]["w"])
        for row in range(panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places))
    assert max(column for column, _ in places) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_alert_says_where_how_bad_and_what() -> None:
    for block in ALERTS.split("- alert: ")[1:]:
        assert re.match(r"Popgate[A-Za-z]+\n", block)
        assert re.search(r"severity: (page|ticket)\}", block)
        assert "{{ $labels.instance }}" in re.search(r'summary: "(.+)"', block)[1]  # type: ignore[index]


def test_prometheus_takes_the_rules() -> None:
    [promtool] = need("promtool")
    done = subprocess.run(
        [promtool, "check", "rules", FOLDER / "alerts.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
