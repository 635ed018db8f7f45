"""shadow.py: mode "shadow" only in front of servers that say that they do not relay for us (rule G12)."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from proxy import shadow
from proxy.errors import UpstreamUnavailable
from proxy.shadow import enforced, judged
from proxy.upstream_client.talk import Address

from ..support.configuration import loaded
from ..support.workshop import KeptLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.config import Config, Endpoint


@contextlib.contextmanager
def server(rcpt: bytes, host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """An SMTP server that answers each RCPT so; its port."""
    with socket.create_server((host, port)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listening.accept()
                    with sock, sock.makefile("rwb", buffering=0) as talk:
                        talk.write(b"220 old\r\n")
                        for line in talk:
                            verb = line[:4].upper()
                            talk.write(
                                rcpt if verb == b"RCPT" else b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n"
                            )
                            if verb == b"QUIT":
                                break

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def config(folder: Path, *ports: int, mode: str = "shadow") -> Config:
    servers = ", ".join([f'"127.0.0.1:{port}"' for port in ports])
    text = f'[gate]\nmode = "{mode}"\nlocal_domains = ["local.test"]\n[upstream.smtp]\nservers = [{servers}]\n'
    return loaded(folder, text)


def modes(config: Config) -> set[str]:
    return {one.gate.mode for one in config.listeners.values() if one.protocol == "smtp"}


def test_G12_shadow_stays_where_the_server_refuses_to_relay_for_us(tmp_path: Path) -> None:
    with server(b"554 5.7.1 Relay access denied\r\n") as port:
        given = config(tmp_path, port)
        found, refused = enforced(given)
    assert (found, refused) == (given, {})
    assert modes(found) == {"shadow"}


@pytest.mark.parametrize("reply", [b"250 ok\r\n", b"451 later\r\n"], ids=["relays", "does not say"])
def test_G12_everything_else_enforces_and_says_why(tmp_path: Path, reply: bytes) -> None:
    with server(reply) as port:
        found, refused = enforced(config(tmp_path, port))
    assert modes(found) == {"enforce"}
    assert refused.keys() == {"smtp"}
    assert f"127.0.0.1:{port}" in refused["smtp"]


def test_G12_what_is_not_granted_is_in_the_log(tmp_path: Path) -> None:
    log = KeptLog()
    with server(b"250 ok\r\n") as port:
        assert modes(judged(config(tmp_path, port), log)) == {"enforce"}
    (line,) = log.of("no-shadow")
    assert line["listener"] == "smtp"
    assert f"127.0.0.1:{port}" in line["why"]


def test_G12_one_server_of_several_that_relays_is_enough(tmp_path: Path) -> None:
    with server(b"554 5.7.1 Relay access denied\r\n") as good, server(b"250 ok\r\n") as bad:
        found, refused = enforced(config(tmp_path, good, bad))
    assert modes(found) == {"enforce"}
    assert f"127.0.0.1:{bad} relays" in refused["smtp"]


def test_G12_a_server_that_is_not_there_permits_nothing(tmp_path: Path) -> None:
    with server(b"250 ok\r\n") as port:
        pass
    found, refused = enforced(config(tmp_path, port))
    assert modes(found) == {"enforce"}
    assert "does not say" in refused["smtp"]


def test_G12_who_does_not_answer_in_time_permits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found, refused = enforced(config(tmp_path, silent.getsockname()[1]))
    assert modes(found) == {"enforce"}
    assert refused == {"smtp": "its servers were not asked to the end in time"}


def test_nobody_is_asked_where_nothing_is_in_shadow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "_asked", None)
    given = config(tmp_path, 1, mode="enforce")
    assert enforced(given) == (given, {})


def test_G12_a_name_is_asked_at_each_of_its_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions may come to any of them, and the server may take one of them for its own network."""

    async def both(endpoint: Endpoint, patience: float) -> list[Address]:
        return [Address(socket.AF_INET, host, endpoint.port) for host in ("127.0.0.1", "127.0.0.9")]

    monkeypatch.setattr(shadow, "addresses", both)
    with server(b"554 5.7.1 Relay access denied\r\n") as good, server(b"250 ok\r\n", "127.0.0.9", good):
        found, refused = enforced(config(tmp_path, good))
    assert modes(found) == {"enforce"}
    assert f"127.0.0.9:{good} relays" in refused["smtp"]


def test_G12_servers_that_clients_choose_can_t_be_asked(tmp_path: Path) -> None:
    text = '[gate]\nmode = "shadow"\n[listener.smtp]\ntransparent = true\n[upstream.smtp]\nservers = []\n'
    found, refused = enforced(loaded(tmp_path, text))
    assert modes(found) == {"enforce"}
    assert "clients choose its servers" in refused["smtp"]


def test_G12_a_name_that_can_t_be_looked_up_permits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(endpoint: Endpoint, patience: float) -> list[Address]:
        raise UpstreamUnavailable("no such name")

    monkeypatch.setattr(shadow, "addresses", none)
    with server(b"554 5.7.1 Relay access denied\r\n") as port:
        _, refused = enforced(config(tmp_path, port))
    assert "can't be asked: no such name" in refused["smtp"]
