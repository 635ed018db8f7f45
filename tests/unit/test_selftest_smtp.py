"""proxy/selftest/smtp.py: each thing an SMTP server may answer, and what the administrator reads."""

from __future__ import annotations

import re

import pytest

from tests.support.legacy import Legacy
from tests.support.selftest import Found, smtp, visited

RELAY_DENIED = b"554 5.7.1 <popgate-selftest@example.com>: Relay access denied\r\n"
NULL_MX = b"556 5.1.10 <popgate-selftest@example.com>: Domain example.com does not accept mail (nullMX)\r\n"
YES = "ok relays for our address: popgate is the only thing between it and the world (expected)"
FOREIGN = b"RCPT TO:<popgate-selftest@example."


def asked(
    answers: dict[bytes, bytes] | None = None, *, auth: bool = False, local: tuple[str, ...] = ("local.test",)
) -> Found:
    with Legacy(smtp(answers)) as legacy:
        return visited(legacy, auth=auth, local=local)


def test_G12_the_relay_question_sends_nothing() -> None:
    with Legacy(smtp()) as legacy:
        found = visited(legacy)
        call = legacy.call()
        assert call.ended.wait(10)
        commands = bytes(call.received).split(b"\r\n")
    assert commands[0].startswith(b"EHLO ")
    assert commands[1:] == [
        b"MAIL FROM:<>",
        b"RCPT TO:<postmaster@local.test>",
        b"RSET",
        b"MAIL FROM:<popgate-selftest@local.test>",
        b"RCPT TO:<popgate-selftest@example.com>",
        b"RSET",
        b"QUIT",
        b"",
    ]
    assert found["relaying"] == [YES]
    assert found["local mail"] == ["ok takes <postmaster@local.test>"]
    assert found["greeting"] == ['ok "220 old.example"']


def test_what_EHLO_offers_is_told_with_what_is_missing() -> None:
    found = asked()
    assert found["EHLO"] == [
        "ok offers PIPELINING, SIZE 1000, STARTTLS; not 8BITMIME, SMTPUTF8, DSN, ENHANCEDSTATUSCODES, XCLIENT"
    ]


@pytest.mark.parametrize(
    ("auth", "text"),
    [
        (True, "ok PLAIN LOGIN is passed on; not GSSAPI"),
        (False, 'ok PLAIN GSSAPI LOGIN; not passed on (auth = "off")'),
    ],
)
def test_AUTH_is_told_as_popgate_treats_it(auth: bool, text: str) -> None:
    assert asked(auth=auth)["AUTH"] == [text]


def test_a_server_without_EHLO_is_asked_by_HELO() -> None:
    found = asked({b"EHLO": b"502 what?\r\n"})
    assert found["EHLO"] == ['warn refused, "502 what?": clients will fall back to HELO, without extensions']
    assert found["AUTH"] == ["ok not offered: who has no lease can't send"]
    assert found["relaying"] == [YES]


def test_G12_no_relaying_for_our_address_is_a_failure() -> None:
    (line,) = asked({FOREIGN: RELAY_DENIED})["relaying"]
    assert line.startswith('FAIL does not relay for our address, "554 5.7.1 <popgate-')
    assert line.endswith("leased clients would be refused by the server; allow popgate's address there")


def test_no_relaying_is_a_warning_where_users_can_send_by_AUTH() -> None:
    (line,) = asked({FOREIGN: RELAY_DENIED}, auth=True)["relaying"]
    assert line.startswith("warn does not relay for our address")


@pytest.mark.parametrize(
    "reply",
    [
        b"550 5.7.1 Unable to relay\r\n",
        b"550 relay not permitted\r\n",
        b"553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)\r\n",
        b"550 Invalid recipient\r\n",
        b"550 5.1.2 Relay not allowed.\r\n",
        b"530 5.7.0 Authentication required\r\n",
    ],
)
def test_what_servers_say_when_they_do_not_relay(reply: bytes) -> None:
    assert asked({FOREIGN: reply})["relaying"][0].startswith("FAIL does not relay")


@pytest.mark.parametrize(
    "reply",
    [
        NULL_MX,
        b"450 4.7.1 Greylisted\r\n",
        b"550 5.1.2 <popgate-selftest@example.com>: Recipient address rejected: Domain not found\r\n",
        b"553 5.7.1 <popgate-selftest@local.test>: Sender address rejected: not logged in\r\n",
        b"550 unknown domain\r\n",
        b"530 5.7.0 Must issue a STARTTLS command first\r\n",
    ],
)
def test_a_refusal_for_another_reason_is_not_taken_for_a_verdict(reply: bytes) -> None:
    (line,) = asked({FOREIGN: reply})["relaying"]
    assert line.startswith(
        "warn can't tell whether it relays for our address: RCPT TO:<popgate-selftest@example.net> got "
    )


def test_another_sender_and_another_domain_are_tried() -> None:
    found = asked({b"RCPT TO:<popgate-selftest@example.com>": NULL_MX})
    assert found["relaying"] == [YES]
    found = asked({b"MAIL FROM:<popgate-": b"550 5.1.8 no such user\r\n", FOREIGN: RELAY_DENIED})
    assert found["relaying"][0].startswith("FAIL does not relay")


def test_a_refused_MAIL_is_told_as_such() -> None:
    (line,) = asked({b"MAIL FROM:<p": b"550 5.1.8 no such user\r\n"})["relaying"]
    assert line == (
        "warn can't tell whether it relays for our address: MAIL FROM:<postmaster@local.test> "
        'got "550 5.1.8 no such user"'
    )


def test_a_MAIL_that_wants_AUTH_is_a_verdict() -> None:
    (line,) = asked({b"MAIL FROM:<p": b"530 5.7.0 Authentication required\r\n"})["relaying"]
    assert line.startswith("FAIL does not relay")


def test_a_word_in_an_address_is_no_reason() -> None:
    reply = b"556 5.1.10 <popgate-selftest@example.com> from <postmaster@relay.test> is refused\r\n"
    assert asked({FOREIGN: reply}, local=("relay.test",))["relaying"][0].startswith("warn can't tell")


def test_a_reserved_domain_that_is_local_here_is_not_taken_for_a_foreign_one() -> None:
    with Legacy(smtp({b"RCPT TO:<popgate-selftest@example.org>": RELAY_DENIED})) as legacy:
        found = visited(legacy, local=("example.com", "Example.NET."))
        assert found["relaying"][0].startswith("FAIL does not relay")
        assert b"popgate-selftest@example.net>\r\nRSET" not in legacy.call().received


def test_without_local_domains_the_null_sender_asks() -> None:
    with Legacy(smtp()) as legacy:
        found = visited(legacy, local=())
        assert b"MAIL FROM:<>\r\nRCPT TO:<popgate-selftest@example.com>\r\n" in legacy.call().received
    assert found["relaying"] == [YES]
    assert found["local mail"] == ["warn gate.local_domains is empty: the outside can't write to your users"]


def test_suffixes_and_U_labels_name_no_postmaster() -> None:
    found = asked(local=(".local.test", "bücher.test"))
    assert "local mail" not in found
    assert found["relaying"] == [YES]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (
            b"550 no such user\r\n",
            'warn refuses <postmaster@local.test>, "550 no such user": is local.test its domain?',
        ),
        (b"450 later\r\n", 'warn defers <postmaster@local.test>, "450 later"'),
    ],
)
def test_a_local_recipient_that_is_not_taken(reply: bytes, text: str) -> None:
    assert asked({b"RCPT TO:<postmaster": reply})["local mail"] == [text]


@pytest.mark.parametrize(
    ("answers", "topic", "text"),
    [
        ({b"": b"421 too busy\r\n"}, "greeting", 'FAIL it takes no mail now: "421 too busy"'),
        ({b"": b"554 no\r\n"}, "greeting", 'FAIL it takes no mail now: "554 no"'),
        ({b"EHLO": b"502 a\r\n", b"HELO": b"500 b\r\n"}, "EHLO", 'FAIL HELO is refused as well: "500 b"'),
        ({b"RSET": b""}, "relaying", "FAIL no answer to RSET: it hung up"),
    ],
)
def test_where_it_ends(answers: dict[bytes, bytes], topic: str, text: str) -> None:
    assert asked(answers)[topic][-1] == text


def test_replies_that_answer_nothing_end_it() -> None:
    found = asked({b"EHLO": b"250 a\r\n250 b\r\n"})
    assert found["local mail"] == ["FAIL does not speak SMTP as popgate takes it: it says more than it was asked"]


def test_a_hang_up_behind_the_verdict_does_no_harm() -> None:
    with Legacy(smtp({b"RSET": b"250 ok\r\n", b"QUIT": b""})) as legacy:
        found = visited(legacy)
    assert found["relaying"] == [YES]


def test_what_the_server_says_is_escaped_and_cut() -> None:
    found = asked({b"": b"220 \x1b[31m\xff" + b"x" * 500 + b"\r\n"})
    (line,) = found["greeting"]
    assert re.fullmatch(r'ok "220 \\x1b\[31m\\xffx+" \.\.\.', line)
    assert len(line) < 140


@pytest.mark.parametrize(
    ("offer", "text"),
    [
        (b"250-old\r\n250 XCLIENT NAME ADDR\r\n", "ok takes clients' addresses from popgate"),
        (b"250-old\r\n250 XCLIENT NAME\r\n", "FAIL xclient = true, but it does not offer that to popgate"),
        (b"250 old\r\n", "FAIL xclient = true, but it does not offer that to popgate"),
    ],
)
def test_S12_whether_it_takes_xclient(offer: bytes, text: str) -> None:
    with Legacy(smtp({b"EHLO": offer})) as old:
        assert visited(old, xclient=True)["XCLIENT"][0].startswith(text)
        assert "XCLIENT" not in visited(old)
