"""node/worker_queries.py: questions that a worker answers, late, never, or nonsense."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxy.node.channel import packed

if TYPE_CHECKING:
    from ..support.office import Office


def test_a_question_goes_to_a_worker_and_its_answer_back(office: Office) -> None:
    office.start()
    client = office.ask({"do": "leases"})
    (order,) = office.heard(0)
    assert order["question"] == {"do": "leases"}
    office.pairs[0].sendall(packed({"tag": order["tag"], "answer": {"leases": []}}))
    office.turn()
    assert client.recv(100) == b'{"leases": []}\n'
    client.close()


def test_N5_a_stopped_worker_s_question_is_given_up(office: Office) -> None:
    office.start()
    client = office.ask({"do": "leases"})
    office.seconds(6, beating=(1,))
    assert b"does not answer" in client.recv(200)
    assert office.supervisor.queries.under_way == 0
    client.close()


def test_N5_the_next_question_goes_to_one_that_lives(office: Office) -> None:
    office.start()
    office.seconds(6, beating=(1,))
    client = office.ask({"do": "leases"})
    assert office.heard(0) == []
    assert office.heard(1)[0]["order"] == "ask"
    client.close()


def test_a_late_answer_is_no_other_question_s(office: Office) -> None:
    office.start()
    first = office.ask({"do": "leases"})
    (order,) = office.heard(0)
    office.seconds(6, beating=(0, 1))
    second = office.ask({"do": "leases"})
    office.pairs[0].sendall(packed({"tag": order["tag"], "answer": {"leases": ["old"]}}))
    office.turn()
    second.setblocking(False)
    with pytest.raises(BlockingIOError):
        second.recv(10)
    first.close()
    second.close()


def test_a_worker_that_dies_owes_its_answers(office: Office) -> None:
    office.start()
    client = office.ask({"do": "leases"})
    office.died(0)
    assert b"the worker that was asked has died" in client.recv(200)
    client.close()


def test_without_a_worker_it_says_so(office: Office) -> None:
    client = office.ask({"do": "leases"})
    assert b"no worker is running" in client.recv(200)
    client.close()


@pytest.mark.parametrize(
    "message",
    [{}, {"tag": "x"}, {"tag": 1}, {"tag": 1, "answer": 7}, {"tag": 99, "answer": {}}, {"tag": [1]}, {"tag": None}],
)
def test_what_a_worker_says_can_t_break_the_supervisor(office: Office, message: dict[str, Any]) -> None:
    office.start()
    client = office.ask({"do": "leases"})
    office.pairs[0].sendall(packed(message))
    office.turn()
    assert office.supervisor.queries.under_way == 1
    client.close()
