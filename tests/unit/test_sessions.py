"""sessions.py: lists with a bound, merged over workers; kicking."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxy.leases.memory import MemoryStore
from proxy.node import sessions
from proxy.node.sessions import MOST, concerned, kick, leave_shadow, listed, merged
from proxy.node.workers import WorkerProcess
from proxy.wire.address import packed

from ..support.gate import Gate
from .test_policy import policy

if TYPE_CHECKING:
    from ..support.workshop import Workshop


def test_a_session_as_it_is_listed(workshop: Workshop) -> None:
    gate = Gate(workshop, "smtp")
    gate.greet()
    gate.say_ehlo()
    workshop.advance(2.0)
    answer = listed([gate.link])
    assert answer["count"] == 1
    (one,) = answer["sessions"]
    port = gate.server.getsockname()[1]
    assert one | {"in": 0, "out": 0} == {
        "id": "1-1", "client": "192.0.2.7", "listener": "door", "tls": "off", "upstream": f"127.0.0.1:{port}",
        "helo": "c.test", "login": "", "cmds": 1, "msgs": 0, "rcpts": 0, "refused": 0, "verdict": "",
        "in": 0, "out": 0,
        "seconds": 2.0, "doing": "waiting for a command",
    }  # fmt: skip
    assert one["in"] == len(b"EHLO c.test\r\n")


def test_the_newest_are_listed_and_all_are_counted(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 2)
    links = []
    for _ in range(3):
        gate = Gate(workshop, "pop3")
        gate.greet()
        links.append(gate.link)
        workshop.advance(1.0)
    answer = listed(links)
    assert [one["seconds"] for one in answer["sessions"]] == [1.0, 2.0]
    assert answer["count"] == 3


def test_answers_of_several_workers_are_one() -> None:
    one = {"sessions": [{"id": "0-1", "seconds": 1.0}, {"id": "0-2", "seconds": 9.0}], "count": 2}
    two = {"sessions": [{"id": "1-1", "seconds": 3.0}], "count": 1}
    found = merged([one, {"error": "the worker that was asked does not answer"}, two])
    assert [session["id"] for session in found["sessions"]] == ["0-1", "1-1", "0-2"]
    assert (found["count"], found["silent"]) == (3, 1)


def test_the_list_of_all_workers_has_a_bound() -> None:
    many = {"sessions": [{"seconds": float(number)} for number in range(MOST)], "count": 5000}
    found = merged([many, many])
    assert len(found["sessions"]) == MOST
    assert found["sessions"][-1]["seconds"] == MOST // 2 - 1
    assert found["count"] == 10_000


def test_what_a_worker_says_can_t_break_it() -> None:
    odd: list[dict[str, Any]] = [{}, {"sessions": 7}, {"sessions": [7, {"seconds": None}], "count": 1}]
    assert merged(odd) == {"sessions": [{"seconds": None}], "count": 1, "silent": 2}


def test_kick_ends_a_session_with_421_and_a_line_in_the_log(workshop: Workshop) -> None:
    gate = Gate(workshop, "smtp")
    client, _ = gate.greet()
    assert kick([gate.link], "1-2")["error"].startswith("there is no session 1-2")
    answer: dict[str, Any] = workshop.run(lambda: kick([gate.link], "1-1"))
    assert answer == {"done": "1-1: the session of 192.0.2.7 is ended"}
    gate.gets(client, b"421 4.3.2 The administrator has ended this session\r\n")
    client.close()
    assert gate.end()["why"] == "kicked by the administrator (waiting for a command)"
    assert "error" in kick([gate.link], "1-1"), "only once"


def test_kick_before_a_pop3_login_says_so(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    client, _ = gate.greet()
    workshop.run(gate.link.kick)
    gate.gets(client, b"-ERR [SYS/TEMP] The administrator has ended this session\r\n")
    client.close()
    gate.end()


def test_kick_behind_a_pop3_login_puts_nothing_into_the_mail(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    client, _ = gate.greet()
    gate.log_in()
    gate.gets(client, b"+OK logged in\r\n")
    workshop.run(gate.link.kick)
    gate.until(client.ended)
    assert client.got.endswith(b"+OK logged in\r\n")
    client.close()
    assert gate.end()["why"].startswith("kicked by the administrator")


@pytest.mark.parametrize(
    ("question", "numbers"),
    [({"id": "1-1f"}, [1]), ({"id": "1"}, [1]), ({"id": "7-1"}, [0, 1]), ({"id": 7}, [0, 1]), ({}, [0, 1])],
)
def test_an_id_names_its_worker(question: dict[str, Any], numbers: list[int]) -> None:
    assert [child.number for child in concerned([WorkerProcess(0), WorkerProcess(1)], question)] == numbers


def test_addresses_are_shown_as_text(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    gate.open("2001:db8::7")
    gate.accepted()
    assert packed(str(listed([gate.link])["sessions"][0]["client"])) == packed("2001:db8::7")


def test_G12_sessions_leave_shadow_where_their_listener_enforces(workshop: Workshop) -> None:
    watching, other = Gate(workshop, "smtp"), Gate(workshop, "smtp")
    for gate in (watching, other):
        gate.rules = {"mode": "shadow"}
        gate.greet()
    services = {"door": replace(watching.service(), policy=policy(MemoryStore(workshop.clock)))}
    leave_shadow([watching.link], services)
    for gate in (watching, other):
        gate.say_ehlo()
        gate.start_mail()
    watching.talk(("C", b"RCPT TO:<x@far.test>\r\n"), (">C", b"554 5.7.1 <x@far.test>: Relay access denied\r\n"))
    other.talk(("C", b"RCPT TO:<x@far.test>\r\n"), (">U", b"RCPT TO:<x@far.test>\r\n"))
