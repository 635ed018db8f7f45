"""A pool under load while everything happens to it (promises 2, 3, 8; rules G5, G7, N6, N7).

The real HAProxy, Redis, Dovecot and Postfix, two nodes of two workers, configured as we ship it (support/pool.py).
Users log in and send without a break (support/load.py) while the configuration is reloaded, a node dies, the other one
is drained and started again, Redis is restarted and at last emptied.  Then it is counted: who was refused wrongly, who
was accepted wrongly, and which message was lost or came twice.  Nobody, and none.

What may happen, and then only where and when it may: `451` while Redis is away or was emptied; a connection to the node
that dies that breaks; "come again" by the node that is drained.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ..support.dialogue import send
from ..support.load import Attempt, Load
from ..support.pool import Pool
from ..support.popgate import merged
from ..support.ports import client_host
from ..support.vitals import eventually, noted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..support.dovecot import Dovecot
    from ..support.postfix import Postfix

SLACK = 3.0  # s that a loaded machine may add
KNOWN_BACK = 8.0  # s after Redis is back until everything is as before: docs/pool.md, "Shared leases"
BROUGHT_BACK = 2.0  # s until the nodes have seen that it was emptied, and have brought back what is theirs
ENDED = 1.0  # s that the end of a node may take
ATTEMPTS = 120  # between two events
SECRET = "secret"  # Dovecot's password


@pytest.fixture
def pool(dovecot: Dovecot, postfix: Postfix, certificate: Path) -> Iterator[Pool]:
    with Pool(dovecot.endpoint, postfix.endpoint, certificate) as pool:
        yield pool


class Story:
    """What happened when (time.monotonic()), and what may come of it."""

    def __init__(self, pool: Pool, load: Load) -> None:
        self.pool, self.load = pool, load
        self.died = self.write_unblocked = self.away = (0.0, 0.0)
        self.emptied = self.known_again = 0.0

    def calm(self) -> None:
        """Let the load go on."""
        now, before = time.monotonic(), len(self.load.attempts)

        def went_on() -> bool:
            return sum(attempt.begun > now for attempt in self.load.attempts[before:]) >= ATTEMPTS

        eventually(went_on, "more attempts")

    def reload(self) -> None:
        for node, settings in zip(self.pool.nodes, self.pool.settings, strict=True):
            node.write(merged(settings, {"gate": {"local_domains": ["example.com", "example.net"]}}))
            node.reload("reloaded")
            assert send(node.address("smtp"), [b"bob@example.net"], source=client_host()).startswith(b"250")

    def kill_a_node(self) -> None:
        begun, said = time.monotonic(), len(self.pool.haproxy.process.lines)
        self.pool.nodes[0].process.kill()
        self.died = begun, time.monotonic() + ENDED
        self.calm()
        self.pool.start_again(0, said)

    def drain_the_other(self) -> None:
        begun, said, node = time.monotonic(), len(self.pool.haproxy.process.lines), self.pool.nodes[1]
        assert node.command("drain").stdout == "draining\n"
        assert node.process.wait() == 0
        self.write_unblocked = begun, time.monotonic() + ENDED
        self.calm()
        self.pool.start_again(1, said)

    def restart_redis(self) -> None:
        begun = time.monotonic()
        self.pool.redis.kill()
        self.calm()
        self.pool.redis.start()
        self.away = begun, time.monotonic() + KNOWN_BACK + SLACK
        eventually(lambda: time.monotonic() > self.away[1], "the end of doubt")

    def empty_redis(self) -> None:
        self.emptied = time.monotonic()
        self.known_again = self.emptied + BROUGHT_BACK + SLACK
        with self.pool.redis.client() as client:
            client.flushall()
        eventually(lambda: time.monotonic() > self.known_again, "leases to be brought back")

    def settle(self) -> None:
        """Nothing happens any more: where each connection went that needs an explanation is known."""
        self.load.stop()
        keys = {Pool.key(attempt) for attempt in self.load.attempts if attempt.outcome not in ("done", "refused")}
        eventually(lambda: not keys - set(self.pool.places()), lambda: f"{keys - set(self.pool.places())} to be logged")
        self.places = self.pool.places()
        self.orphans = {
            attempt.source
            for attempt in self.load.attempts
            if attempt.who == "login" and attempt.begun < self.died[1] and self.at(attempt) != "node2"
        }

    def at(self, attempt: Attempt) -> str:
        """Which server had it; "" where the balancer's log does not say."""
        return self.places.get(Pool.key(attempt), "")

    def explains(self, attempt: Attempt) -> bool:
        """Whether this outcome may be, by what happened meanwhile."""
        match attempt.outcome:
            case "done":
                return attempt.who != "stranger"
            case "refused":
                return attempt.who == "stranger"
            case "deferred":
                return self._may_be_deferred(attempt)
            case "cut off":
                return attempt.overlaps(*self.died) and self.at(attempt) == "node1"
            case "told to come again":
                return attempt.overlaps(*self.write_unblocked) and self.at(attempt) == "node2"
        return False

    def _may_be_deferred(self, attempt: Attempt) -> bool:
        if attempt.who not in ("newcomer", "regular", "stranger"):
            return False  # mail is read, and local mail taken, whatever happens to Redis
        if attempt.overlaps(*self.away) or attempt.overlaps(self.emptied, self.known_again):
            return True
        # For `window` nobody knows who is a stranger; and nobody brings back what a node had made that died since.
        unknown = attempt.who == "stranger" or (attempt.who == "regular" and attempt.source in self.orphans)
        return unknown and attempt.begun > self.emptied


def test_nobody_is_refused_or_let_in_wrongly_and_nothing_is_lost_whatever_happens_to_a_pool(
    pool: Pool, postfix: Postfix
) -> None:
    begun = time.monotonic()
    with Load(pool.haproxy.doors) as load:
        story = Story(pool, load)
        story.calm()
        events = (story.reload, story.kill_a_node, story.drain_the_other, story.restart_redis, story.empty_redis)
        for event in events:
            event()
            story.calm()
        story.settle()
    outcomes = Counter(f"{attempt.who} {attempt.outcome}" for attempt in load.attempts)
    noted("a pool under load", f"{time.monotonic() - begun:.0f} s, {dict(sorted(outcomes.items()))}")
    assert [attempt for attempt in load.attempts if not story.explains(attempt)] == []
    assert load.stranded == []
    assert_each_message_once(load, postfix, lambda attempt: attempt.outcome == "cut off" and attempt.whole)
    assert_all_of_it_was_tried(story, outcomes)
    for process in pool.said:
        assert not re.search(rf" bug |Traceback|worker-(died|failed|stalled)|{SECRET}", process.output)


def assert_each_message_once(load: Load, postfix: Postfix, may_have_come: Callable[[Attempt], bool]) -> None:
    """Those that were answered 250 came, once; of the others only such as `may_have_come`: it died behind their 250."""
    messages = [attempt for attempt in load.attempts if attempt.who != "login"]
    subjects = [re.search(rb"^Subject: (load-\d+)\r$", message.octets, re.MULTILINE) for message in postfix.arrived()]
    arrived = Counter(match[1] for match in subjects if match)
    accepted = {attempt.mark for attempt in messages if attempt.outcome == "done"}
    assert len(accepted) > 5 * ATTEMPTS / 2
    assert accepted - set(arrived) == set(), "lost"
    assert [mark for mark, times in arrived.items() if times > 1] == [], "came twice"
    assert set(arrived) - accepted <= {attempt.mark for attempt in messages if may_have_come(attempt)}, "never accepted"


def assert_all_of_it_was_tried(story: Story, outcomes: Counter[str]) -> None:
    """Else the test would be green for want of trying."""
    logins = {attempt.source: story.at(attempt) for attempt in story.load.attempts if attempt.who == "login"}
    ways = Counter((logins[a.source], story.at(a)) for a in story.load.attempts if a.who == "newcomer")
    assert ways["node1", "node2"] > 20, "logged in at one, sent through the other"
    assert ways["node2", "node1"] > 20
    assert sum(number for outcome, number in outcomes.items() if outcome.endswith("cut off")) > 0
    for outcome in ("newcomer deferred", "regular done", "stranger refused", "stranger deferred"):
        assert outcomes[outcome] > 0, outcome
    later = [attempt for attempt in story.load.attempts if attempt.begun > story.known_again]
    assert {a.outcome for a in later if a.who == "regular" and a.source not in story.orphans} == {"done"}
