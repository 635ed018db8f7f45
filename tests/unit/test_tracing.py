"""tracing.py, with the control socket and the inquiries of a whole supervisor: streams, their ends, their bounds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from proxy.node import control
from proxy.node.channel import packed
from proxy.node.tracing import MAX_TRACED

if TYPE_CHECKING:
    import socket

    from ..support.office import Office

LINE = [1795000000.5, "192.0.2.7", "0-1", "smtp", "C>", "NOOP"]


def said(office: Office, client: socket.socket) -> list[dict[str, Any]]:
    """What has come to a terminal."""
    office.turn()
    client.setblocking(False)
    text = b""
    try:
        while data := client.recv(1 << 20):
            text += data
            office.turn()
    except BlockingIOError:
        pass
    return [json.loads(line) for line in text.splitlines()]


def worker_says(office: Office, number: int, message: dict[str, Any]) -> None:
    office.pairs[number].sendall(packed(message))
    office.turn()


def test_a_trace_is_told_to_all_workers_and_its_lines_come_back(office: Office) -> None:
    office.start()
    client = office.ask({"do": "trace", "client": "::ffff:192.0.2.7"})
    assert said(office, client) == [{"tracing": "192.0.2.7"}]
    order = {"order": "trace", "clients": ["192.0.2.7"]}
    assert [office.heard(number) for number in (0, 1)] == [[order], [order]]
    worker_says(office, 1, {"trace": [LINE, [*LINE[:1], "192.0.2.8", *LINE[2:]]], "lost": 0})
    assert said(office, client) == [
        {"time": 1795000000.5, "client": "192.0.2.7", "id": "0-1", "protocol": "smtp", "who": "C>", "text": "NOOP"}
    ]
    client.close()


def test_a_worker_that_was_restarted_is_told_again(office: Office) -> None:
    office.start()
    client = office.ask({"do": "trace", "client": "192.0.2.7"})
    office.heard(0)
    office.seconds(1.0, beating=(0, 1))
    assert {"order": "trace", "clients": ["192.0.2.7"]} in office.heard(0)
    client.close()


def test_a_trace_ends_when_its_terminal_goes(office: Office) -> None:
    office.start()
    client = office.ask({"do": "trace", "client": "192.0.2.7"})
    office.heard(0)
    client.close()
    office.turn()
    assert office.heard(0) == [{"order": "trace", "clients": []}]
    office.seconds(2.0, beating=(0, 1))
    assert office.heard(0) == []
    assert office.supervisor.control.askers == set()


def test_a_trace_ends_when_its_time_is_over(office: Office) -> None:
    office.start()
    client = office.ask({"do": "trace", "client": "192.0.2.7", "seconds": 3.0})
    office.seconds(2.5, beating=(0, 1))
    assert office.supervisor.tracing.followers
    office.seconds(1.0, beating=(0, 1))
    assert said(office, client) == [{"tracing": "192.0.2.7"}]
    assert not office.supervisor.tracing.followers
    client.setblocking(True)
    assert client.recv(10) == b""
    client.close()


def test_a_terminal_that_does_not_read_loses_lines_and_nothing_else(office: Office) -> None:
    office.start()
    slow = office.ask({"do": "trace", "client": "192.0.2.7"})
    other = office.ask({"do": "trace", "client": "192.0.2.7"})
    count = 0
    for _ in range(400):
        worker_says(office, 0, {"trace": [[*LINE[:-1], "x" * 500]] * 5, "lost": 0})
        count += len(said(office, other))
    (asker,) = [one for one in office.supervisor.tracing.followers if one.unsent]
    assert len(asker.unsent) < control.MAX_UNREAD + 1000
    assert count == 1 + 2000, "the one that reads has them all"
    got = said(office, slow)
    assert len(got) < 2001
    worker_says(office, 0, {"trace": [LINE], "lost": 3})
    (last,) = said(office, slow)
    assert last["lost"] == 2001 - len(got) + 3
    slow.close()
    other.close()


@pytest.mark.parametrize("question", [{}, {"client": "nonsense"}, {"client": "192.0.2.7", "seconds": "soon"}])
def test_nonsense_is_told_so(office: Office, question: dict[str, Any]) -> None:
    client = office.ask({"do": "trace"} | question)
    (answer,) = said(office, client)
    assert "error" in answer
    client.close()


def test_there_is_a_bound_to_traces(office: Office) -> None:
    office.start()
    clients = [office.ask({"do": "trace", "client": f"192.0.2.{number}"}) for number in range(MAX_TRACED + 1)]
    assert "traces are under way" in said(office, clients[-1])[0]["error"]
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    "message",
    [{"trace": 7}, {"trace": [7]}, {"trace": [[]]}, {"trace": [[1, 2, 3, 4, 5, {}]]}, {"trace": [LINE], "lost": "x"}],
)
def test_what_a_worker_says_can_t_break_the_supervisor(office: Office, message: dict[str, Any]) -> None:
    office.start()
    client = office.ask({"do": "trace", "client": "192.0.2.7"})
    worker_says(office, 0, message)
    worker_says(office, 0, {"trace": [LINE], "lost": 0})
    assert said(office, client)[-1]["text"] == "NOOP"
    client.close()


def test_sessions_are_asked_of_all_workers(office: Office) -> None:
    office.start()
    client = office.ask({"do": "sessions"})
    for number in (1, 0):
        (order,) = office.heard(number)
        answer = {"sessions": [{"id": f"{number}-1", "seconds": float(number)}], "count": 1}
        assert said(office, client) == []
        worker_says(office, number, {"tag": order["tag"], "answer": answer})
    (answer,) = said(office, client)
    assert [one["id"] for one in answer["sessions"]] == ["0-1", "1-1"]
    assert answer["silent"] == 0
    client.close()


def test_sessions_of_a_stuck_worker_are_missing_and_it_is_said(office: Office) -> None:
    office.start()
    client = office.ask({"do": "sessions"})
    (order,) = office.heard(0)
    worker_says(office, 0, {"tag": order["tag"], "answer": {"sessions": [], "count": 0}})
    office.seconds(6, beating=(0, 1))
    assert said(office, client) == [{"sessions": [], "count": 0, "silent": 1}]
    client.close()


def test_a_kick_goes_to_the_session_s_worker(office: Office) -> None:
    office.start()
    client = office.ask({"do": "kick", "id": "1-1f"})
    assert office.heard(0) == []
    (order,) = office.heard(1)
    assert order["question"]["id"] == "1-1f"
    client.close()


def test_a_log_level_holds_until_the_next_reload(office: Office) -> None:
    office.start()
    client = office.ask({"do": "log-level", "level": "debug"})
    assert said(office, client) == [{"done": "log level debug, until the next reload or restart"}]
    assert office.heard(0) == [{"order": "log-level", "level": "debug"}]
    assert office.supervisor.config.log.level == "debug", "for a worker that is started later"
    client.close()
    client = office.ask({"do": "reload"})
    for number in (0, 1):
        worker_says(office, number, {"tag": office.heard(number)[-1]["tag"], "answer": {}})
    assert said(office, client) == [{"done": "reloaded"}]
    assert office.supervisor.config.log.level == "info"
    client.close()
    client = office.ask({"do": "log-level", "level": "loud"})
    assert "debug, info" in said(office, client)[0]["error"]
    client.close()
