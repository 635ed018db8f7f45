"""session/upstream/handshake.py: XCLIENT, and a session begun anew; each without a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.errors import UpstreamUnavailable
from proxy.session.upstream.handshake import introduction, replay
from proxy.session.upstream.opening import SmtpOpening
from proxy.wire.address import packed

if TYPE_CHECKING:
    from proxy.session.upstream.opening import Handshake

CLIENT, HERE = (packed("192.0.2.7"), 40000), (packed("198.51.100.1"), 25)
OFFER = b"250-mail\r\n250-XCLIENT NAME ADDR LOGIN\r\n250 SIZE\r\n"


def play(handshake: Handshake, *steps: tuple[bytes, bytes]) -> SmtpOpening:
    """The server says the first of each pair, popgate answers by the second."""
    opening = SmtpOpening("gate.test", handshake=handshake)
    for words, answer in steps:
        opening.upstream_bytes(words)
        assert b"".join(opening.to_upstream) == answer
        opening.to_upstream.clear()
    return opening


def introduced(login: str = "") -> Handshake:
    return introduction("gate.test", CLIENT, HERE, login)


@pytest.mark.parametrize(("login", "more"), [("", b""), ("anna", b" LOGIN=anna")])
def test_S12_the_second_greeting_is_the_client_s(login: str, more: bytes) -> None:
    opening = play(
        introduced(login),
        (b"220 for popgate\r\n", b"EHLO gate.test\r\n"),
        (OFFER, b"XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7" + more + b"\r\n"),
        (b"220-for\r\n220 the client\r\n", b""),
    )
    assert opening.done
    assert opening.greeting == b"220-for\r\n220 the client\r\n"


@pytest.mark.parametrize("offer", [b"250 mail\r\n", b"250-mail\r\n250 XCLIENT NAME LOGIN\r\n"])
def test_S12_a_server_that_takes_no_xclient_is_not_used(offer: bytes) -> None:
    with pytest.raises(UpstreamUnavailable, match="smtpd_authorized_xclient_hosts"):
        play(introduced(), (b"220 hi\r\n", b"EHLO gate.test\r\n"), (offer, b""))


@pytest.mark.parametrize(
    "answer", [b"250 ok\r\n", b"421 no\r\n", b"501 bad\r\n", b"503 later\r\n", b"550 you may not\r\n"]
)
def test_S12_anything_but_220_to_xclient_is_no_connection(answer: bytes) -> None:
    with pytest.raises(UpstreamUnavailable, match="reply to XCLIENT: " + answer[:3].decode()):
        play(
            introduced(),
            (b"220 hi\r\n", b"EHLO gate.test\r\n"),
            (OFFER, b"XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7\r\n"),
            (answer, b""),
        )


def test_S12_a_server_that_knows_no_ehlo_is_not_used() -> None:
    with pytest.raises(UpstreamUnavailable, match="reply to EHLO: 502 what"):
        play(introduced(), (b"220 hi\r\n", b"EHLO gate.test\r\n"), (b"502 what\r\n", b""))


MAIL = b"MAIL FROM:<a@s.test> SIZE=5\r\n"


def test_S12_a_session_is_begun_anew() -> None:
    opening = play(
        replay(b"EHLO c.test\r\n", MAIL),
        (b"220 hi\r\n", b"EHLO c.test\r\n"),
        (b"250-mail\r\n250 SIZE\r\n", MAIL),
        (b"250 ok\r\n", b""),
    )
    assert opening.done
    assert opening.greeting == b"250-mail\r\n250 SIZE\r\n"


def test_S12_with_helo_and_without_either() -> None:
    opening = play(
        replay(b"HELO c.test\r\n", MAIL),
        (b"220 hi\r\n", b"HELO c.test\r\n"),
        (b"250 mail\r\n", MAIL),
        (b"250 ok\r\n", b""),
    )
    assert opening.greeting == b""
    assert play(replay(b"", MAIL), (b"220 hi\r\n", MAIL), (b"250 ok\r\n", b"")).done


def test_S12_a_server_older_than_esmtp() -> None:
    opening = play(
        replay(b"EHLO c.test\r\n", MAIL),
        (b"220 hi\r\n", b"EHLO c.test\r\n"),
        (b"500 what\r\n", b"HELO c.test\r\n"),
        (b"250 mail\r\n", MAIL),
        (b"250 ok\r\n", b""),
    )
    assert opening.greeting == b""


@pytest.mark.parametrize("answer", [b"421 later\r\n", b"451 later\r\n", b"550 no\r\n", b"251 well\r\n"])
@pytest.mark.parametrize("step", [1, 2])
def test_S12_a_different_answer_is_no_connection(answer: bytes, step: int) -> None:
    steps = [(b"220 hi\r\n", b"HELO c.test\r\n"), (b"250 mail\r\n", MAIL)]
    with pytest.raises(UpstreamUnavailable, match=answer.decode().strip()):
        play(replay(b"HELO c.test\r\n", MAIL), *steps[:step], (answer, b""))
