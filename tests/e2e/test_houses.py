"""The test houses themselves, without popgate: when these fail, the others say nothing about popgate."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import pytest

from ..support import clients
from ..support.dialogue import Dialogue, pop_login, send
from ..support.legacy import Call, Legacy, greets, silent
from ..support.postfix import Postfix
from ..support.process import Process
from ..support.toml import dumps
from .test_clients import BODY, HEADER

if TYPE_CHECKING:
    from pathlib import Path

    from ..support.dovecot import Dovecot


@pytest.mark.parametrize("fetch", clients.FETCHERS, ids=lambda fetcher: fetcher.__name__)
def test_every_fetcher_can_fetch_from_dovecot(fetch: clients.Fetch, dovecot: Dovecot, tmp_path: Path) -> None:
    dovecot.deliver("alice", HEADER + BODY)
    run = fetch(dovecot.address, tmp_path)
    assert run.content, run.said
    dovecot.empty("alice")


@pytest.mark.parametrize("send_by", clients.SENDERS, ids=lambda sender: sender.__name__)
def test_every_sender_sends_octet_for_octet(send_by: clients.Send, postfix: Postfix, tmp_path: Path) -> None:
    to = f"house-{send_by.__name__}@example.org"
    run = send_by(postfix.address, tmp_path, to, HEADER + BODY)
    assert run.content, run.said
    assert postfix.sink.take(to).body == BODY


def test_an_appliance_that_does_not_relay() -> None:
    server = Postfix(trusting=False)
    try:
        assert send(server.address, [b"house@example.org"]).startswith(b"554 ")
        assert send(server.address, [b"house@example.com"]).startswith(b"250 ")
    finally:
        server.close()


def test_dovecot_refuses_a_wrong_password(dovecot: Dovecot) -> None:
    pop_login(dovecot.address, "bob")
    with pytest.raises(AssertionError, match="AUTH"):
        pop_login(dovecot.address, password="wrong")


def test_the_old_server_records_every_octet() -> None:
    async def play(call: Call) -> None:
        await call.ask(b"one\r\n")
        await call.until(b".")

    with Legacy(play) as old:
        with Dialogue(old.address) as client:
            client.expect(b"one")
            client.say(b"a\r\nb\0c.")
            assert client.closed()
        assert old.call().ended.wait(5)
        assert old.call().received == b"a\r\nb\0c."


def test_the_old_server_tells_what_failed_in_its_script() -> None:
    async def play(call: Call) -> None:
        assert await call.line() == b"right\r\n"

    with pytest.raises(AssertionError), Legacy(play) as old, Dialogue(old.address) as client:
        client.say(b"wrong\r\n")
        assert client.closed()


def test_the_old_server_may_be_silent_or_only_greet() -> None:
    with Legacy(greets(b"+OK\r\n")) as old, Dialogue(old.address) as client:
        client.expect(b"+OK")
    with Legacy(silent) as old, Dialogue(old.address) as client:
        client.half_close()
        assert client.closed()


def test_a_program_that_ends_too_early_shows_what_it_said() -> None:
    with Process([sys.executable, "-c", "print('last words')"]) as program:
        with pytest.raises(AssertionError, match="last words"):
            program.expect("never said")
        assert program.wait() == 0


def test_a_program_that_does_not_stop_is_ended() -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    with Process([sys.executable, "-c", stubborn]) as program:
        program.expect("up")
        assert program.stop(timeout=0.2) < 0
    assert not program.running


def test_configurations_are_written_as_toml() -> None:
    import tomllib

    table = {"workers": 1, "gate": {"window": "2s", "local_domains": ['a"b', "c\\d"]}, "tls": {"x": True}}
    assert tomllib.loads(dumps(table)) == table


def test_a_dialogue_names_what_it_got_instead() -> None:
    with (
        Legacy(greets(b"421 no\r\n")) as old,
        Dialogue(old.address) as client,
        pytest.raises(AssertionError, match="421"),
    ):
        client.expect(b"220")


def test_loopback_addresses_are_ours_to_choose() -> None:
    with Legacy(silent, host="127.3.2.1") as old, socket.create_connection(old.address, 5, ("127.4.5.6", 0)) as client:
        assert client.getsockname()[0] == "127.4.5.6"
