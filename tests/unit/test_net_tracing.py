"""net/tracing.py: who gets a traced session, and a queue with a bound."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from proxy.net.tracing import BATCH, MAX_WAITING, Traces
from proxy.wire.address import packed

from ..support.gate import Gate

if TYPE_CHECKING:
    from ..support.workshop import Workshop

CLIENT = packed("192.0.2.7")


@pytest.mark.parametrize("protocol", ["smtp", "pop3"])
def test_only_a_traced_client_gets_a_traced_session(workshop: Workshop, protocol: str) -> None:
    gate = Gate(workshop, protocol)
    gate.traces.clients = frozenset([CLIENT])
    gate.open("192.0.2.8")
    greeting = b"220 u\r\n" if protocol == "smtp" else b"+OK u\r\n"
    gate.accepted().send(greeting)
    gate.gets(gate.client, greeting)
    assert gate.traces.take() is None
    gate.open("192.0.2.7")
    batch = gate.traces.take()
    assert batch is not None
    assert [line[1:] for line in batch["trace"]] == [["192.0.2.7", "1-1", protocol, "--", "192.0.2.7 at listener door"]]


def test_lines_come_in_batches_that_the_socket_takes() -> None:
    traces = Traces(lambda: 1.5)
    for number in range(100):
        traces.note("192.0.2.7", "0-1", "smtp", "C>", "\\xff" * 512 + str(number))
    seen = []
    while (batch := traces.take()) is not None:
        assert len(json.dumps(batch)) < 3 * BATCH
        assert batch["lost"] == 0
        seen += [line[-1].rpartition("f")[2] for line in batch["trace"]]
    assert seen == [str(number) for number in range(100)]


def test_what_nobody_takes_is_lost_and_counted() -> None:
    traces = Traces()
    for _ in range(MAX_WAITING + 7):
        traces.note("192.0.2.7", "0-1", "smtp", "C>", "NOOP")
    batch = traces.take()
    assert batch is not None
    assert batch["lost"] == 7
    batch = traces.take()
    assert batch is None or batch["lost"] == 0


def test_a_link_is_traced_through_a_login_and_a_plain_one_is_not(workshop: Workshop) -> None:
    gate = Gate(workshop, "pop3")
    shared = gate.shared()
    shared.traces.clients = frozenset([CLIENT])
    gate.shared = lambda: shared  # type: ignore[method-assign]
    gate.greet()
    gate.log_in()
    gate.gets(gate.client, b"+OK logged in\r\n")
    assert gate.leased == ["anna"], "a traced client's login counts as any other"
    batch = shared.traces.take()
    assert batch is not None
    assert [" ".join(line[4:]) for line in batch["trace"]][1:] == [
        "U> +OK hi <1@u>", ">C +OK hi <1@u>", "C> USER anna", ">U USER anna", "U> +OK", ">C +OK",
        "C> PASS ***", ">U PASS ***", "U> +OK (15 octets)", ">C +OK (15 octets)",
    ]  # fmt: skip
