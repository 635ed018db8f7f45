"""net/sockets/poller.py with real sockets."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from proxy.net.sockets.poller import BROKEN, HANDSHAKES, READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..support.workshop import Workshop


class Calls:
    """A handler that calls a function."""

    def __init__(self, function: Callable[[int], object]) -> None:
        self._function = function

    def on_ready(self, events: int) -> None:
        self._function(events)


def _two(workshop: Workshop) -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair()
    near.setblocking(False)
    return workshop.keep(near), workshop.keep(far)


def test_a_handler_is_called_when_its_socket_is_ready(workshop: Workshop) -> None:
    near, far = _two(workshop)
    seen: list[int] = []
    workshop.poller.add(near.fileno(), READ, Calls(seen.append))
    workshop.turns(5)
    assert seen == []
    far.send(b"x")
    workshop.until(lambda: seen)
    assert seen[0] & READ


def test_level_triggered_and_changeable(workshop: Workshop) -> None:
    near, far = _two(workshop)
    seen: list[int] = []
    workshop.poller.add(near.fileno(), READ, Calls(seen.append))
    far.send(b"x")
    workshop.until(lambda: len(seen) >= 3)
    workshop.poller.change(near.fileno(), 0)
    workshop.turns(3)
    count = len(seen)
    workshop.turns(10)
    assert len(seen) == count
    workshop.poller.change(near.fileno(), WRITE)
    workshop.until(lambda: len(seen) > count)
    assert seen[-1] & WRITE


def test_remove_leaves_the_socket_open(workshop: Workshop) -> None:
    near, far = _two(workshop)
    seen: list[int] = []
    workshop.poller.add(near.fileno(), READ, Calls(seen.append))
    workshop.poller.remove(near.fileno())
    far.send(b"x")
    workshop.turns(10)
    assert seen == []
    assert near.recv(1) == b"x"


def test_N2_a_hang_up_is_told_even_when_nothing_is_asked_for(workshop: Workshop) -> None:
    near, far = _two(workshop)
    seen: list[int] = []

    def handler(events: int) -> None:
        seen.append(events)
        workshop.poller.remove(near.fileno())

    workshop.poller.add(near.fileno(), 0, Calls(handler))
    far.close()
    workshop.until(lambda: seen)
    assert seen[0] & BROKEN


def test_N2_a_socket_closed_within_a_batch_gets_no_event_and_gives_its_number_to_nobody(workshop: Workshop) -> None:
    """Two sockets are ready at once; the first handler closes the second and opens another: same number, other peer."""
    pairs = [_two(workshop) for _ in range(2)]
    called: list[str] = []
    fresh: list[socket.socket] = []

    def handler_of(this: int) -> None:
        def handler(events: int) -> None:
            other = pairs[1 - this][0]
            number = other.fileno()
            if called:
                return
            called.append("first")
            workshop.poller.close(other)
            new, far = _two(workshop)
            assert new.fileno() != number, "reused within the batch"
            workshop.poller.add(new.fileno(), READ, Calls(lambda _: called.append("fresh")))
            fresh.extend((new, far))
            workshop.poller.remove(pairs[this][0].fileno())

        workshop.poller.add(pairs[this][0].fileno(), READ, Calls(handler))

    handler_of(0)
    handler_of(1)
    pairs[0][1].send(b"x")
    pairs[1][1].send(b"x")
    workshop.until(lambda: called)
    workshop.turns(10)
    assert called == ["first"]
    assert [near.fileno() for near, _ in pairs].count(-1) == 1, "closed at the end of the turn"
    fresh[1].send(b"x")
    workshop.until(lambda: "fresh" in called)


def test_closing_outside_a_turn_is_at_once(workshop: Workshop) -> None:
    near, _ = _two(workshop)
    workshop.poller.add(near.fileno(), READ, Calls(lambda _: pytest.fail("called")))
    workshop.poller.close(near)
    assert near.fileno() == -1


def test_N2_at_most_eight_handshake_steps_a_turn(workshop: Workshop) -> None:
    steps: list[int] = []
    for _ in range(3 * HANDSHAKES + 1):
        workshop.poller.handshake(lambda: steps.append(workshop.poller.turns))
    workshop.until(lambda: len(steps) == 3 * HANDSHAKES + 1)
    assert HANDSHAKES == 8
    assert max(steps.count(turn) for turn in steps) == HANDSHAKES


def test_N2_established_connections_go_before_handshakes(workshop: Workshop) -> None:
    near, far = _two(workshop)
    order: list[str] = []

    def ready(_: int) -> None:
        near.recv(10)
        order.append("mail")

    workshop.poller.add(near.fileno(), READ, Calls(ready))
    for _ in range(HANDSHAKES * 2):
        workshop.poller.handshake(lambda: order.append("handshake"))
    far.send(b"x")
    workshop.until(lambda: len(order) == HANDSHAKES * 2 + 1)
    assert order[0] == "mail"


def test_soon_runs_in_the_same_turn_behind_the_handlers(workshop: Workshop) -> None:
    near, far = _two(workshop)
    order: list[tuple[str, int]] = []

    def ready(_: int) -> None:
        near.recv(10)
        workshop.poller.soon(lambda: order.append(("soon", workshop.poller.turns)))
        order.append(("ready", workshop.poller.turns))

    workshop.poller.add(near.fileno(), READ, Calls(ready))
    far.send(b"x")
    workshop.until(lambda: len(order) == 2)
    assert [name for name, _ in order] == ["ready", "soon"]
    assert order[0][1] == order[1][1]


def test_soon_that_asks_again_does_not_starve_the_loop(workshop: Workshop) -> None:
    count = 0

    def again() -> None:
        nonlocal count
        count += 1
        if count < 100:
            workshop.poller.soon(again)

    workshop.poller.soon(again)
    workshop.turns(3)
    assert count < 100, "the loop had a turn in between"
    workshop.until(lambda: count == 100)


def test_connections_begin_at_the_end_of_a_turn_or_at_once(workshop: Workshop) -> None:
    poller = workshop.poller
    order: list[str] = []

    def ready(_: int) -> None:
        near.recv(10)
        poller.connect(lambda: order.append("connected"))
        poller.soon(lambda: order.append("soon"))
        order.append("ready")

    near, far = _two(workshop)
    poller.add(near.fileno(), READ, Calls(ready))
    far.send(b"x")
    workshop.until(lambda: len(order) == 3)
    assert order == ["ready", "soon", "connected"]
    workshop.run(lambda: poller.connect(lambda: order.append("at once")))
    assert order[3:] == ["at once"]


def test_a_connection_that_fails_in_its_beginning_takes_no_other_down(workshop: Workshop) -> None:
    poller = workshop.poller
    begun: list[str] = []

    def bad() -> None:
        raise ZeroDivisionError

    def all_three() -> None:
        poller.connect(bad)
        poller.connect(lambda: begun.append("second"))

    poller.soon(all_three)
    workshop.until(lambda: workshop.trouble)
    workshop.trouble.clear()
    workshop.until(lambda: begun)
    assert not poller.in_turn


def test_a_handler_that_fails_takes_nothing_else_down(workshop: Workshop) -> None:
    """An exception is the loop's to report; other sockets and what was put off go on."""
    near, far = _two(workshop)
    other, other_far = _two(workshop)
    called: list[str] = []

    def bad(_: int) -> None:
        workshop.poller.remove(near.fileno())
        workshop.poller.soon(lambda: called.append("soon"))
        raise ZeroDivisionError

    def good(_: int) -> None:
        other.recv(10)
        called.append("good")

    workshop.poller.add(near.fileno(), READ, Calls(bad))
    workshop.poller.add(other.fileno(), READ, Calls(good))
    far.send(b"x")
    workshop.until(lambda: workshop.trouble)
    workshop.trouble.clear()
    workshop.until(lambda: "soon" in called)
    other_far.send(b"x")
    workshop.until(lambda: "good" in called)


def test_after_shut_nothing_turns(workshop: Workshop) -> None:
    near, far = _two(workshop)
    workshop.poller.add(near.fileno(), READ, Calls(lambda _: pytest.fail("called")))
    workshop.poller.soon(lambda: pytest.fail("called"))
    workshop.poller.shut()
    far.send(b"x")
    workshop.turns(5)
