"""Two nodes, one Redis: shared leases as their users meet them (promises 2 and 3, rule G7).

A login on one node opens the other before the client has its `+OK`; a Redis that is gone, hangs or comes back empty
defers relaying, and mail can be read.  Not here: a balancer in front of the nodes.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ..support.dialogue import Dialogue, pop_login, send
from ..support.popgate import Popgate, config
from ..support.ports import client_host
from ..support.redis import RedisServer
from ..support.vitals import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..support.appliance import SampleAppliance

FRIEND = b"friend@example.org"
PASSWORD = "sEcReT-of-the-store"
TIMEOUT = 0.5  # s, [store] timeout
SLACK = 3.0  # s that a loaded machine may add
PAIRS = 200


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer(password=PASSWORD) as server:
        yield server


@pytest.fixture
def nodes(appliance: SampleAppliance, redis: RedisServer) -> Iterator[tuple[Popgate, Popgate]]:
    settings = config(
        appliance.pop3,
        appliance.smtp,
        workers=2,
        gate={"patience": "0s"},
        store={"url": redis.url(), "timeout": f"{TIMEOUT * 1000:.0f}ms"},
    )
    with Popgate(settings) as one, Popgate(settings) as other:
        yield one, other
        for node in (one, other):
            assert PASSWORD not in node.process.output
            assert " bug " not in node.process.output


def rcpt(node: Popgate, source: str) -> bytes:
    """What a recipient outside is answered."""
    return send(node.address("smtp"), [FRIEND], source=source)[:3]


def test_promise_2_a_login_on_one_node_opens_the_other_before_the_client_has_its_ok(
    nodes: tuple[Popgate, Popgate],
) -> None:
    def pair(number: int) -> tuple[bytes, bytes]:
        login, sending = nodes if number % 2 else nodes[::-1]
        source = client_host()
        with Dialogue(sending.address("smtp"), source) as smtp:
            smtp.reply()
            smtp.say(b"HELO client\r\n")
            smtp.reply()
            smtp.say(b"MAIL FROM:<alice@example.com>\r\nRCPT TO:<friend@example.org>\r\nRSET\r\n")
            before = [smtp.reply()[:3] for _ in range(3)][1]
            smtp.say(b"MAIL FROM:<alice@example.com>\r\n")
            smtp.reply()
            pop_login(login.address("pop3"), source=source)
            smtp.say(b"RCPT TO:<friend@example.org>\r\n")
            return before, smtp.reply()[:3]

    with ThreadPoolExecutor(8) as several:
        assert set(several.map(pair, range(PAIRS))) == {(b"554", b"250")}


def test_revoked_on_one_node_is_revoked_on_all(nodes: tuple[Popgate, Popgate]) -> None:
    one, other = nodes
    source = client_host()
    pop_login(one.address("pop3"), source=source)
    assert rcpt(other, source) == b"250"
    assert source in other.command("leases").stdout
    assert other.command("leases", "revoke", "alice").stdout == "1 lease ended\n"
    assert rcpt(one, source) == rcpt(other, source) == b"554"


@pytest.mark.parametrize("trouble", ["killed", "frozen"])
def test_promise_3_without_redis_relaying_waits_and_mail_is_read_and_nothing_is_lost(
    nodes: tuple[Popgate, Popgate], redis: RedisServer, trouble: str
) -> None:
    one, other = nodes
    early, late, never = client_host(), client_host(), client_host()
    pop_login(one.address("pop3"), source=early)
    assert rcpt(other, early) == b"250"
    assert rcpt(other, never) == b"554"
    redis.freeze() if trouble == "frozen" else redis.kill()
    for node in nodes:
        for source in (early, never):
            begun = time.monotonic()
            assert rcpt(node, source) == b"451"
            assert time.monotonic() - begun < TIMEOUT + SLACK
    begun = time.monotonic()
    pop_login(one.address("pop3"), source=late)
    assert time.monotonic() - begun < TIMEOUT + SLACK
    redis.thaw() if trouble == "frozen" else redis.start()
    for source in (early, late):
        for node in nodes:
            replies: list[bytes] = []

            def accepted(node: Popgate = node, source: str = source, replies: list[bytes] = replies) -> bool:
                replies.append(rcpt(node, source))
                return replies[-1] == b"250"

            eventually(accepted, "leases to be back")
            assert set(replies) <= {b"451", b"250"}, "never refused"
    if trouble == "killed":  # and so emptied: whose leases nobody brought back is not known
        assert rcpt(one, never) == rcpt(other, never) == b"451"
        one.process.expect("store-emptied")
    else:
        eventually(lambda: rcpt(one, never) == b"554", "the end of doubt")
    assert "store-down" in one.process.output or trouble == "frozen"


def test_G9_who_waits_on_one_node_is_let_through_by_a_login_on_the_other(
    appliance: SampleAppliance, redis: RedisServer
) -> None:
    settings = config(appliance.pop3, appliance.smtp, gate={"patience": "15s"}, store={"url": redis.url(3)})
    source = client_host()
    with Popgate(settings) as one, Popgate(settings) as other, Dialogue(one.address("smtp"), source) as smtp:
        smtp.reply()
        smtp.ask(b"HELO client", b"250")
        smtp.ask(b"MAIL FROM:<alice@example.com>", b"250")
        with redis.client() as client:
            smtp.say(b"RCPT TO:<friend@example.org>\r\n")
            eventually(lambda: client.pubsub_numsub("popgate:granted:3")[0][1] == 1, "somebody who waits")
            begun = time.monotonic()
            pop_login(other.address("pop3"), source=source)
            assert smtp.reply().startswith(b"250")
            assert time.monotonic() - begun < SLACK
            eventually(lambda: client.pubsub_numsub("popgate:granted:3")[0][1] == 0, "that nobody waits any more")


def test_a_node_starts_without_redis_and_finds_it_later(appliance: SampleAppliance, redis: RedisServer) -> None:
    redis.kill()
    source = client_host()
    settings = config(appliance.pop3, appliance.smtp, gate={"patience": "0s"}, store={"url": redis.url(1)})
    with Popgate(settings) as node:
        node.process.expect("store-down")
        pop_login(node.address("pop3"), source=source)
        assert rcpt(node, source) == b"451"
        redis.start()
        node.process.expect("store-back")
        eventually(lambda: rcpt(node, source) == b"250", "the late grant")


def test_a_restarted_node_finds_all_leases_there(appliance: SampleAppliance, redis: RedisServer) -> None:
    source = client_host()
    settings = config(appliance.pop3, appliance.smtp, gate={"patience": "0s"}, store={"url": redis.url(2)})
    with Popgate(settings) as node:
        pop_login(node.address("pop3"), source=source)
        node.restart()
        assert rcpt(node, source) == b"250"
        assert rcpt(node, client_host()) == b"554"
        assert node.stop() == 0
        assert source in node.command("leases").stdout, "asked directly: nothing runs"
        assert node.command("leases", "grant", "192.0.2.7").returncode == 0
        assert "192.0.2.7" in node.command("leases", "list").stdout
        assert node.command("leases", "revoke", "alice").stdout == "1 lease ended\n"
        assert "Task was destroyed" not in node.process.output
        assert "ResourceWarning" not in node.process.output


def test_what_the_commands_say_when_redis_is_gone(appliance: SampleAppliance, redis: RedisServer) -> None:
    with Popgate(config(appliance.pop3, appliance.smtp, store={"url": redis.url()})) as node:
        node.stop()
        redis.kill()
        found = node.command("leases")
        assert found.returncode == 1
        assert found.stderr.startswith("popgate: the lease store is down: redis ")
        assert "Connection refused" in found.stderr
        checked = node.command("check")
        assert checked.returncode == 0, "that the store answers is no part of the configuration"
        assert f"redis://:********@{redis.host}" in checked.stdout
        tested = node.command("selftest").stdout
        assert any(line.startswith("FAIL  store") for line in tested.splitlines())
        assert PASSWORD not in found.stderr + checked.stdout + tested
