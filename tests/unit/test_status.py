"""conditions.py: the servers in words."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from proxy.metrics import NODE, STORE_DOWN
from proxy.node.status import healthy, status, store, warn
from proxy.runtime import forgiven, server_keys
from proxy.shared_memory.figures import NodeFigures
from proxy.shared_memory.server_health import ServerHealth

from ..support.configuration import loaded
from ..support.workshop import KeptLog

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config import Config

TWO = '[upstream.smtp]\nservers = ["192.0.2.10:25", "192.0.2.11:25"]\n[upstream.spare]\nservers = ["192.0.2.12:25"]\n'


def board_of(config: Config) -> ServerHealth:
    made = ServerHealth(2)
    made.enlist(server_keys(config))
    return made


def test_each_server_is_told_with_its_state(tmp_path: Path) -> None:
    config = loaded(tmp_path, TWO)
    board = board_of(config)
    row = board.row(1)
    row.enter(board.slot("smtp 192.0.2.10:25"))
    row.succeeded(board.slot("smtp 192.0.2.10:25"), 100.0)
    row.failed(board.slot("smtp 192.0.2.11:25"), 98.0, "Connection refused")
    row.failed(board.slot("smtp 192.0.2.10:25"), 90.0, "long ago")
    common = {"why": "", "connections": 0, "failures": 0}
    assert status(config, board, 103.0) == [
        common | {"upstream": "smtp", "server": "192.0.2.10:25", "state": "up", "connections": 1, "seconds_ago": 3},
        common
        | {
            "upstream": "smtp",
            "server": "192.0.2.11:25",
            "state": "down",
            "why": "Connection refused",
            "seconds_ago": 5,
        },
        common | {"upstream": "spare", "server": "192.0.2.12:25", "state": "unknown", "seconds_ago": None},
    ]


def test_healthy_is_any_server_that_a_listener_can_reach(tmp_path: Path) -> None:
    config = loaded(tmp_path, TWO)
    board = board_of(config)
    row = board.row(0)
    assert healthy(config, board, 100.0)
    row.failed(board.slot("smtp 192.0.2.10:25"), 100.0, "x")
    assert healthy(config, board, 100.0)
    row.failed(board.slot("smtp 192.0.2.11:25"), 100.0, "x")
    assert not healthy(config, board, 100.0), "the spare one is no listener's"


def test_a_failure_counts_for_as_long_as_probes_may_take(tmp_path: Path) -> None:
    text = '[upstream.smtp]\nconnect_timeout = "10s"\nhealth_interval = '
    assert forgiven(loaded(tmp_path, text + '"4s"\n').upstreams["smtp"]) == 22.0
    assert forgiven(loaded(tmp_path, text + '"0s"\n').upstreams["smtp"]) == 5.0


def test_servers_that_clients_name_themselves_are_one_line_and_healthy(tmp_path: Path) -> None:
    config = loaded(tmp_path, "[listener.smtp]\ntransparent = true\n[upstream.smtp]\nservers = []\n")
    board = board_of(config)
    assert [(one["server"], one["state"]) for one in status(config, board, 100.0)] == [("original:0", "unknown")]
    assert healthy(config, board, 100.0)


def test_G7_a_store_that_is_down_for_a_worker_is_down(tmp_path: Path) -> None:
    config = loaded(tmp_path, '[store]\nurl = "redis://:secret@192.0.2.1:6379/0"\n')
    board = NodeFigures(2, {})
    assert store(config, board) == {"url": "redis://:********@192.0.2.1:6379/0", "state": "up"}
    row = board.row(1)
    row.figures[NODE][STORE_DOWN] = 1
    row.publish()
    assert store(config, board)["state"] == "down"


@pytest.mark.parametrize(("limit", "places"), [(2063, 999), (2064, None)])
def test_too_few_descriptors_are_said_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, places: int | None
) -> None:
    config = loaded(tmp_path, "[limits]\nconnections = 1000\n")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    log = KeptLog()
    warn(config, [], log)
    if places is None:
        assert log.of("few-descriptors") == []
        return
    (words,) = log.of("few-descriptors")
    assert log.level_of("few-descriptors") == "warning"
    assert f"descriptors for {places} sessions of limits.connections = 1000; set LimitNOFILE=2064 " in words["why"]
