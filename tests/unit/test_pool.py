"""net/upstream/pool.py: the next server, and the line before a full one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.net.upstream.pool import FORGIVEN, Pool, Pools
from proxy.shared_memory.server_health import ServerHealth, keys_of

from ..support.clocks import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable


class Node:
    """A scoreboard and the workers' pools of an upstream with servers 0, 1, 2 ..."""

    def __init__(
        self, count: int, balance: str = "first", limit: int = 0, workers: int = 2, max_waiting: int = 10
    ) -> None:
        self.clock = FakeClock()
        self.board = ServerHealth(workers)
        self.names = [f"{number}:25" for number in range(count)]
        own, keys = keys_of("up", self.names)
        self.board.enlist([own, *keys])
        self.soon: list[Callable[[], None]] = []
        rows = [self.board.row(number) for number in range(workers)]
        self.all = [Pools(row, self.clock.now, self.soon.append, max_waiting) for row in rows]
        self.pools: list[Pool] = [one.pool("up", self.names, balance, limit) for one in self.all]
        self.pool = self.pools[0]

    def turn(self) -> None:
        actions, self.soon[:] = self.soon[:], []
        for action in actions:
            action()

    def take(self, worker: int = 0) -> int | None:
        return self.pools[worker].enter_first(self.pools[worker].order())


class Client:
    """Waits in a line until there is a place for it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.untried = pool.order()
        self.got: int | None = None

    def try_again(self) -> bool:
        self.got = self.pool.enter_first(self.untried, from_queue=True)
        return self.got is not None


def tried(pool: Pool, order: list[int]) -> list[int]:
    """The order in which one client comes to all of these servers."""
    found = []
    while order:
        server = pool.enter_first(order)
        assert server is not None
        order.remove(server)
        found.append(server)
    return found


def waiting(node: Node, worker: int = 0) -> Client:
    client = Client(node.pools[worker])
    assert client.pool.queue.join(client, node.clock.now())
    node.clock.advance(0.5)
    return client


# --- balance


def test_first_is_the_configured_order() -> None:
    node = Node(3)
    assert [node.pool.order() for _ in range(3)] == [[0, 1, 2]] * 3


def test_roundrobin_takes_turns_that_are_the_node_s() -> None:
    node = Node(3, "roundrobin")
    assert [node.pools[worker].order() for worker in (0, 1, 1, 0)] == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]


def test_leastconn_is_who_has_fewest_in_all_workers() -> None:
    node = Node(3, "leastconn")
    taken = [node.take(worker) for worker in (0, 1, 0, 1, 0, 1)]
    assert sorted(taken, key=str) == [0, 0, 1, 1, 2, 2]
    node.pools[0].leave(1)
    assert node.take(1) == 1
    node.pools[0].leave(2)
    node.pools[0].leave(2)
    assert [node.take(), node.take()] == [2, 2]


def test_leastconn_takes_turns_among_equals() -> None:
    node = Node(2, "leastconn")
    firsts = []
    for _ in range(4):
        firsts.append(node.take())
        node.pool.leave(firsts[-1] or 0)
    assert firsts == [0, 1, 0, 1]


# --- health


def test_what_is_down_comes_last() -> None:
    node = Node(3)
    node.pool.failed(0, node.clock.now(), "x")
    assert tried(node.pools[1], node.pool.order()) == [1, 2, 0]


def test_when_all_are_down_they_are_tried_in_order() -> None:
    node = Node(2)
    node.clock.advance(1)
    for server in (0, 1):
        node.pool.failed(server, node.clock.now(), "x")
    assert not node.pool.healthy
    assert tried(node.pool, node.pool.order()) == [0, 1]


def test_a_success_brings_it_back() -> None:
    node = Node(1)
    assert node.pool.healthy, "unknown is no reason to say that it is down"
    node.pool.failed(0, node.clock.now(), "x")
    assert not node.pools[1].healthy
    node.clock.advance(1)
    node.pools[1].succeeded(0, node.clock.now())
    assert node.pool.healthy


def test_a_failure_is_forgiven_where_nobody_probes() -> None:
    node = Node(1)
    node.pool.failed(0, node.clock.now(), "x")
    node.clock.advance(FORGIVEN - 0.1)
    assert not node.pool.healthy
    node.clock.advance(0.1)
    assert node.pool.healthy
    assert node.pool.condition(0).state == "down", "for the log and for status it is down until it was seen up"


def test_the_bad_luck_of_one_connection_is_not_the_server_s() -> None:
    """It hung for ten seconds; others were served meanwhile."""
    node = Node(1)
    begun = node.clock.now()
    node.clock.advance(5)
    node.pools[1].succeeded(0, node.clock.now())
    node.clock.advance(5)
    node.pool.failed(0, begun, "no greeting in time")
    assert node.pool.healthy


# --- places


def test_max_connections_is_the_node_s() -> None:
    node = Node(2, limit=2)
    assert [node.take(worker) for worker in (0, 1, 0, 1, 0, 1)] == [0, 0, 1, 1, None, None]
    assert node.board.connections(node.board.slot("up 0:25")) == 2, "who got no place does not count"
    node.pools[1].leave(0)
    assert node.take(0) == 0


def test_a_full_server_is_waited_for_and_a_dead_one_not_tried_instead() -> None:
    node = Node(2, limit=1)
    node.pool.failed(1, node.clock.now(), "x")
    assert [node.take(), node.take()] == [0, None]


def test_who_waits_gets_the_next_place_in_order() -> None:
    node = Node(1, limit=1)
    assert node.take() == 0
    first, second = waiting(node), waiting(node)
    assert node.take() is None
    node.pool.leave(0)
    node.turn()
    assert (first.got, second.got) == (0, None)
    assert len(node.pool.queue) == 1
    node.pool.leave(0)
    node.turn()
    assert second.got == 0
    node.pool.leave(0)
    assert node.take() == 0


def test_a_newcomer_does_not_overtake_the_line() -> None:
    node = Node(1, limit=1)
    assert node.take() == 0
    client = waiting(node)
    node.pool.leave(0)  # and before the line is served:
    assert node.take() is None
    node.turn()
    assert client.got == 0


def test_who_goes_leaves_the_line() -> None:
    node = Node(1, limit=1)
    node.take()
    first, second = waiting(node), waiting(node)
    node.pool.queue.leave(first)
    node.pool.queue.leave(first)
    node.pool.leave(0)
    node.turn()
    assert (first.got, second.got) == (None, 0)


def test_a_place_goes_to_who_has_waited_longest_in_the_node() -> None:
    node = Node(1, limit=1)
    assert node.take(0) == 0
    there, here = waiting(node, 1), waiting(node, 0)
    node.pools[0].leave(0)
    node.turn()
    assert (there.got, here.got) == (None, None), "worker 1 is woken, and does it itself"
    node.all[1].woken()
    assert (there.got, here.got) == (0, None)
    node.pools[1].leave(0)
    node.all[0].woken()
    assert here.got == 0


def test_a_tick_finds_places_that_nobody_told_of() -> None:
    """Worker 1 has died with its connections, or was stopped when it was woken."""
    node = Node(1, limit=1)
    assert node.take(1) == 0
    client = waiting(node)
    node.all[0].tick()
    assert client.got is None
    node.board.forget(1)
    node.all[0].tick()
    assert client.got == 0


def test_a_queue_has_an_end() -> None:
    node = Node(1, limit=1, max_waiting=2)
    node.take()
    waiting(node)
    waiting(node)
    assert not node.pool.queue.join(Client(node.pool), node.clock.now())


def test_N7_a_line_outlives_a_reload() -> None:
    node = Node(1, limit=1)
    node.take()
    client = waiting(node)
    fresh = node.all[0].pool("up", node.names, "first", 2)
    assert fresh.queue is node.pool.queue
    assert fresh.enter_first(fresh.order()) is None, "it has a place, but somebody waits"
    node.pool.leave(0)
    node.turn()
    assert client.got == 0


def test_without_a_limit_nobody_counts_lines() -> None:
    node = Node(1)
    assert [node.take() for _ in range(50)] == [0] * 50
    node.pool.leave(0)
    assert node.soon == []
