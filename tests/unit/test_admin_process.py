"""admin/process.py: the child that answers HTTP, as its supervisor sees it (tests/support/office.py)."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from proxy.admin import demand, warnings
from proxy.config import load
from proxy.errors import ConfigError

from ..support.configuration import loaded
from ..support.office import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

    from ..support.office import Office


def test_it_is_started_and_comes_back_after_a_growing_pause(shown_office: Office) -> None:
    office = shown_office
    admin = office.supervisor.admin
    pauses = []
    admin.start()
    for _ in range(4):
        pid = 10_000_000 + office.forks
        admin.died(pid - 1000, 0)
        assert admin.restarts_at() == [], "that was another"
        admin.died(pid, 9)
        office.pairs.pop().close()
        office.turn()
        pauses.append(office.log.of("admin-died")[-1]["restart"])
        before = office.forks
        admin.restart(office.now)
        assert office.forks == before
        office.now += float(pauses[-1][:-1])
        admin.restart(office.now)
        assert office.forks == before + 1
    assert pauses == ["0.1s", "0.2s", "0.4s", "0.8s"]
    assert office.log.of("admin-died")[0]["why"] == "signal 9"


def test_N7_a_reload_reaches_it(shown_office: Office) -> None:
    office = shown_office
    office.start()
    office.supervisor.admin.start()
    office.ask({"do": "reload"}).close()
    assert [order["order"] for order in office.heard(len(office.pairs) - 1)] == ["reload"]


def test_when_there_can_t_be_a_process_it_tries_later(shown_office: Office) -> None:
    office = shown_office
    office.is_full = True
    office.supervisor.admin.start()
    assert office.log.of("admin-died")[-1]["why"] == "Resource temporarily unavailable"
    assert office.supervisor.admin.restarts_at() == [office.now + 0.1]


def test_the_status_tells_what_the_page_needs(shown_office: Office) -> None:
    office = shown_office
    office.start()
    office.died(1)
    office.now += 1
    office.supervisor.tick(office.now)
    status = office.supervisor.status()
    assert (status["alive"], status["restarts"], status["agent"]) == (True, 1, "ready up 100%")
    assert status["certificates"] == []


def test_the_token_is_told_to_who_may_open_the_control_socket(shown_office: Office, office: Office) -> None:
    first = shown_office.ask({"do": "token"})
    assert len(json.loads(first.recv(200))["token"]) == 24
    second = office.ask({"do": "token"})
    assert second.recv(200) == b'{"error": "admin.http is off"}\n'
    first.close()
    second.close()


def test_the_missing_extra_is_named_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "proxy.admin.server", None)
    path = tmp_path / "popgate.toml"
    path.write_text(SETTINGS + '[admin]\nhttp = "127.0.0.1:0"\n')
    with pytest.raises(ConfigError, match=re.escape('run: pip install "popgate[admin]"')):
        demand(load(path))
    path.write_text(SETTINGS)
    demand(load(path))


@pytest.mark.parametrize(
    ("http", "warned"),
    [("", 0), ("127.0.0.1:8110", 0), ("[::1]:8110", 0), ("0.0.0.0:8110", 1), ("192.0.2.1:8110", 1), ("[::]:8110", 1)],
)
def test_check_warns_of_an_address_that_others_reach(tmp_path: Path, http: str, warned: int) -> None:
    assert len(list(warnings(loaded(tmp_path, f'[admin]\nhttp = "{http}"\n')))) == warned
