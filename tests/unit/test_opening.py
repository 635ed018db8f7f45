"""session/upstream/opening.py: STARTTLS and STLS towards an upstream, without a socket."""

from __future__ import annotations

import pytest

from proxy.errors import UpstreamUnavailable
from proxy.session.upstream.opening import Handshake, Opening, PopOpening, SmtpOpening, check

SMTP = [
    (b"220-hi\r\n220 there\r\n", b"EHLO gate.test\r\n"),
    (b"250-legacy\r\n250-SIZE\r\n250 StartTLS\r\n", b"STARTTLS\r\n"),
    (b"220 go\r\n", b""),
]
POP = [(b"+OK hi <1@u>\r\n", b"STLS\r\n"), (b"+OK go\r\n", b"")]


def fresh(kind: str) -> tuple[Opening, list[tuple[bytes, bytes]]]:
    return (SmtpOpening("gate.test", starttls=True), SMTP) if kind == "smtp" else (PopOpening(), POP)


def said(opening: Opening) -> bytes:
    out = b"".join(opening.to_upstream)
    opening.to_upstream.clear()
    return out


@pytest.mark.parametrize("kind", ["smtp", "pop3"])
@pytest.mark.parametrize("piece", [1 << 10, 1, 3])
def test_the_dialogue_in_pieces_of_any_size(kind: str, piece: int) -> None:
    opening, steps = fresh(kind)
    for words, answer in steps:
        assert not opening.ready
        for at in range(0, len(words), piece):
            opening.upstream_bytes(words[at : at + piece])
        assert said(opening) == answer
    assert opening.ready
    assert not opening.done
    opening.tls_started()
    assert opening.done
    assert not opening.ready
    assert said(opening) == b""
    assert opening.greeting == steps[0][0], "octet for octet: the client gets it once TLS is up"


@pytest.mark.parametrize(("kind", "step"), [("smtp", 0), ("smtp", 1), ("smtp", 2), ("pop3", 0), ("pop3", 1)])
@pytest.mark.parametrize("injected", [b"250 evil\r\n", b"+OK evil\r\n", b"+OK\r\n", b"2", b"\0"])
def test_S11_B12_more_behind_a_reply_is_never_believed(kind: str, step: int, injected: bytes) -> None:
    opening, steps = fresh(kind)
    for words, _ in steps[:step]:
        opening.upstream_bytes(words)
    with pytest.raises(UpstreamUnavailable):
        opening.upstream_bytes(steps[step][0] + injected)
    assert not (opening.ready and said(opening))


@pytest.mark.parametrize(
    "answer",
    [b"454 4.7.0 not now\r\n", b"502 what\r\n", b"354 go\r\n", b"250 ok\r\n", b"-ERR no\r\n", b"+OKAY\r\n", b"+ \r\n",
     b"220\n", b"\x16\x03\x01\x00\x05", b"220 " + b"x" * 100000],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["smtp", "pop3"])
def test_B13_no_consent_is_no_connection(kind: str, answer: bytes) -> None:
    opening, steps = fresh(kind)
    for words, _ in steps[:-1]:
        opening.upstream_bytes(words)
    with pytest.raises(UpstreamUnavailable):
        opening.upstream_bytes(answer)
        opening.upstream_bytes(b"\r\n")
    assert not opening.ready


@pytest.mark.parametrize(
    "ehlo", [b"250 legacy\r\n", b"250-legacy\r\n250 STARTTLSX\r\n", b"502 what\r\n", b"250-a\r\n250 X STARTTLS\r\n"]
)
def test_B13_smtp_that_does_not_offer_it(ehlo: bytes) -> None:
    opening = SmtpOpening("gate.test", starttls=True)
    opening.upstream_bytes(SMTP[0][0])
    said(opening)
    with pytest.raises(UpstreamUnavailable, match="no STARTTLS"):
        opening.upstream_bytes(ehlo)
    assert said(opening) == b""


@pytest.mark.parametrize(
    "greeting", [b"554 go away\r\n", b"421 later\r\n", b"+OK hi\r\n", b"250 hi\r\n", b"220-a\r\n221 b\r\n"]
)
def test_smtp_greetings_that_are_none(greeting: bytes) -> None:
    opening = SmtpOpening("gate.test", starttls=True)
    with pytest.raises(UpstreamUnavailable):
        opening.upstream_bytes(greeting)
    assert said(opening) == b""


@pytest.mark.parametrize("greeting", [b"-ERR busy\r\n", b"220 hi\r\n", b"+ hi\r\n", b"+ok\r\n", b"+OK\n"])
def test_pop3_greetings_that_are_none(greeting: bytes) -> None:
    opening = PopOpening()
    with pytest.raises(UpstreamUnavailable):
        opening.upstream_bytes(greeting)
    assert said(opening) == b""


def test_the_words_for_the_log_are_cut_and_escaped() -> None:
    opening = PopOpening()
    with pytest.raises(UpstreamUnavailable) as caught:
        opening.upstream_bytes(b"-ERR \xff\x1b" + b"x" * 3000 + b"\r\n")
    assert len(str(caught.value)) < 300
    assert str(caught.value).isascii()


# Speeches


def handshake() -> Handshake:
    reply = yield b"ONE\r\n"
    check(reply.code == 250, "ONE", reply)
    reply = yield b"TWO\r\n"
    return reply.octets


SAID = [(b"220 hi\r\n", b"ONE\r\n"), (b"250-a\r\n250 b\r\n", b"TWO\r\n"), (b"220 new\r\n", b"")]


@pytest.mark.parametrize("piece", [1 << 10, 1, 3])
def test_a_speech_has_the_last_word(piece: int) -> None:
    opening = SmtpOpening("gate.test", handshake=handshake())
    for words, answer in SAID:
        assert not opening.done
        for at in range(0, len(words), piece):
            opening.upstream_bytes(words[at : at + piece])
        assert said(opening) == answer
    assert opening.done
    assert not opening.ready
    assert opening.greeting == b"220 new\r\n"


def test_a_speech_begins_under_tls() -> None:
    opening = SmtpOpening("gate.test", starttls=True, handshake=handshake())
    for words, answer in SMTP:
        opening.upstream_bytes(words)
        assert said(opening) == answer
    assert opening.ready
    opening.tls_started()
    assert said(opening) == b"ONE\r\n"
    for words, answer in SAID[1:]:
        opening.upstream_bytes(words)
        assert said(opening) == answer
    assert opening.done


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("injected", [b"250 evil\r\n", b"2", b"\0"])
def test_S12_more_behind_a_reply_to_a_speech_is_never_believed(step: int, injected: bytes) -> None:
    opening = SmtpOpening("gate.test", handshake=handshake())
    for words, _ in SAID[:step]:
        opening.upstream_bytes(words)
    said(opening)
    with pytest.raises(UpstreamUnavailable):
        opening.upstream_bytes(SAID[step][0] + injected)
    assert not (opening.done and said(opening))


def test_a_speech_that_gives_up() -> None:
    opening = SmtpOpening("gate.test", handshake=handshake())
    opening.upstream_bytes(SAID[0][0])
    with pytest.raises(UpstreamUnavailable, match="reply to ONE: 550 no"):
        opening.upstream_bytes(b"550 no\r\n")


@pytest.mark.parametrize("word", [b"STARTTLS ", b"STARTTLS\t", b" starttls"])
def test_blanks_around_starttls_are_no_other_word(word: bytes) -> None:
    opening = SmtpOpening("gate.test", starttls=True)
    opening.upstream_bytes(b"220 hi\r\n")
    opening.upstream_bytes(b"250-legacy\r\n250 " + word + b"\r\n")
    assert opening.to_upstream[-1] == b"STARTTLS\r\n"
