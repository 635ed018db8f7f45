"""admin/exposition.py: what Prometheus reads, read back by prometheus-client's own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from proxy import metrics
from proxy.admin.exposition import exposition
from proxy.metrics import NODE, SESSION_SECONDS, SESSIONS
from proxy.shared_memory.figures import NodeFigures

from ..support.figures import SILENT, samples
from ..support.site import SERVER, STATUS
from .test_metrics import counted

LEASES = {"leases": [], "count": 12}


def board() -> NodeFigures:
    return NodeFigures(2, {"in": "smtp", "pop": "pop3"})


def test_counters_are_summed_over_workers_and_told_by_listener() -> None:
    figures = board()
    for number in (0, 1):
        counted(figures, number, "in", SESSIONS, 2)
        counted(figures, number, "in", metrics.RELAYS["refused"], 1)
    found = samples(exposition(figures, STATUS, LEASES).decode())
    assert found['popgate_sessions_total{listener="in",protocol="smtp"}'] == 4
    assert found['popgate_sessions_total{listener="pop",protocol="pop3"}'] == 0
    assert found['popgate_relays_total{listener="in",outcome="refused",protocol="smtp"}'] == 2


def test_a_histogram_is_cumulative_and_in_seconds() -> None:
    figures = board()
    row = figures.row(0)
    for seconds in (0.01, 0.2, 99999.0):
        SESSION_SECONDS.note(row.figures["in"], seconds)
    row.publish()
    found = samples(exposition(figures, STATUS, LEASES).decode())
    name, of = "popgate_session_seconds", 'listener="in",protocol="smtp"'
    counts = [found[f'{name}_bucket{{le="{bound}",{of}}}'] for bound in ("0.05", "0.1", "0.25", "7200.0", "+Inf")]
    assert counts == [1, 1, 2, 2, 3]
    assert found[f"{name}_count{{{of}}}"] == 3
    assert abs(found[f"{name}_sum{{{of}}}"] - 99999.21) < 1e-6
    assert found[f'{name}_count{{listener="pop",protocol="pop3"}}'] == 0


def test_what_the_supervisor_and_the_store_know() -> None:
    found = samples(exposition(board(), STATUS, LEASES).decode())
    server = 'server="192.0.2.10:25",upstream="smtp"'
    assert found[f"popgate_upstream_up{{{server}}}"] == 1
    assert found[f"popgate_upstream_failures_total{{{server}}}"] == 2
    assert found[f"popgate_upstream_connections{{{server}}}"] == 3
    assert found["popgate_worker_restarts_total"] == 4
    assert (found["popgate_workers"], found["popgate_workers_ready"]) == (1, 1)
    assert found["popgate_draining"] == 0
    assert found["popgate_leases"] == 12
    assert found['popgate_certificate_expiry_timestamp_seconds{path="/certs/mail.pem"}'] == 1_800_000_000
    assert [value for key, value in found.items() if key.startswith("popgate_build_info{")] == [1]


def test_a_server_that_is_down_and_a_node_that_leaves() -> None:
    status = STATUS | {"upstreams": [SERVER | {"state": "down"}, SERVER | {"server": "b", "state": "unknown"}]}
    found = samples(exposition(board(), status | {"draining": True}, LEASES).decode())
    assert found['popgate_upstream_up{server="192.0.2.10:25",upstream="smtp"}'] == 0
    assert found['popgate_upstream_up{server="b",upstream="smtp"}'] == 1
    assert found["popgate_draining"] == 1


def test_without_an_answer_the_workers_figures_are_there() -> None:
    figures = board()
    counted(figures, 0, "in", SESSIONS, 1)
    found = samples(exposition(figures, SILENT, SILENT).decode())
    assert found['popgate_sessions_total{listener="in",protocol="smtp"}'] == 1
    assert not [key for key in found if key.startswith(("popgate_upstream_up", "popgate_leases{", "popgate_draining"))]
    assert "popgate_leases" not in found


def test_the_store_is_down_when_one_worker_says_so() -> None:
    figures = board()
    assert samples(exposition(figures, STATUS, LEASES).decode())["popgate_store_up"] == 1
    counted(figures, 1, NODE, metrics.STORE_DOWN, 1)
    assert samples(exposition(figures, STATUS, LEASES).decode())["popgate_store_up"] == 0


def test_a_name_of_the_configuration_can_t_break_out_of_its_label() -> None:
    odd = 'unix:/a"b\\c'
    status = STATUS | {"upstreams": [SERVER | {"server": odd}]}
    [up] = [
        sample
        for family in text_string_to_metric_families(exposition(board(), status, LEASES).decode())
        for sample in family.samples
        if sample.name == "popgate_upstream_up"
    ]
    assert up.labels["server"] == odd


def test_every_family_says_what_it_is() -> None:
    text = exposition(board(), STATUS, LEASES).decode()
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {family.name for family in metrics.FAMILIES if family.name} < names
    helps = [line for line in text.splitlines() if line.startswith("# HELP")]
    assert len(helps) == len(names)
    assert all(len(line.split()) > 4 for line in helps)
