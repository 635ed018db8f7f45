"""proxy/selftest/pop3.py: each thing a POP3 server may answer, and what the administrator reads."""

from __future__ import annotations

import re

import pytest

from tests.support.legacy import Legacy
from tests.support.selftest import Found, pop3, visited


def asked(answers: dict[bytes, bytes] | None = None, *, checks: bool = False) -> Found:
    with Legacy(pop3(answers)) as legacy:
        return visited(legacy, "pop3", checks=checks)


def test_what_it_is_asked_and_what_is_told() -> None:
    with Legacy(pop3()) as legacy:
        found = visited(legacy, "pop3")
        call = legacy.call()
        assert call.ended.wait(10)
        assert re.fullmatch(
            rb"CAPA\r\nUSER popgate-selftest-[0-9a-f]{8}\r\nPASS [0-9a-f]{16}\r\nQUIT\r\n", bytes(call.received)
        )
    assert found["greeting"] == ['ok "+OK ready <1.2@old.example>"']
    assert found["CAPA"] == ["ok offers USER, UIDL; not STLS, TOP, PIPELINING, UTF8, RESP-CODES"]
    assert found["logins"] == ["ok APOP yes; SASL PLAIN; not passed on: GSSAPI"]
    assert found["password"] == ['ok a wrong one is refused, "-ERR no"']


def test_a_server_that_accepts_any_password_fails() -> None:
    found = asked({b"PASS": b"+OK welcome, whoever you are\r\n"})
    assert found["password"] == ["FAIL accepts any password: every visitor would get a lease"]


def test_a_refused_USER_is_as_good() -> None:
    assert asked({b"USER": b"-ERR who?\r\n"})["password"] == ['ok a wrong one is refused, "-ERR who?"']


def test_a_hang_up_at_PASS_opens_nothing() -> None:
    assert asked({b"PASS": b""})["password"] == ["warn a wrong one is not answered: no answer to PASS: it hung up"]


def test_P3_what_only_looks_like_OK_is_no_answer() -> None:
    (line,) = asked({b"PASS": b"+OKAY\r\n"})["password"]
    assert line == "FAIL does not speak POP3 as popgate takes it: a line that is no POP3 reply"


def test_an_old_server_without_CAPA_and_APOP() -> None:
    found = asked({b"": b"+OK hello\r\n", b"CAPA": b"-ERR what?\r\n"})
    assert found["CAPA"] == ["ok not known: an old server"]
    assert found["logins"] == ["ok APOP no; SASL none"]
    assert found["password"][0].startswith("ok ")


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({}, "ok passwords can be checked here, by USER and PASS"),
        ({b"CAPA": b"+OK\r\nUIDL\r\nSASL CRAM-MD5\r\n.\r\n"}, "FAIL offers no USER: passwords can't be checked here; "),
        ({b"CAPA": b"-ERR\r\n"}, "ok passwords can be checked here, by USER and PASS"),
        ({b"CAPA": b"-ERR\r\n", b"USER": b"-ERR APOP only\r\n"}, "warn USER is refused; if that is so for all users, "),
        ({b"USER": b"-ERR who?\r\n"}, "ok passwords can be checked here, by USER and PASS"),
    ],
)
def test_G15_whether_it_can_check_passwords(answers: dict[bytes, bytes], told: str) -> None:
    assert "AUTH" not in asked(answers)
    (line,) = asked(answers, checks=True)["AUTH"]
    assert line.startswith(told)


@pytest.mark.parametrize(
    ("answers", "topic", "text"),
    [
        ({b"": b"-ERR later\r\n"}, "greeting", 'FAIL it takes nobody now: "-ERR later"'),
        (
            {b"": b"220 smtp\r\n"},
            "greeting",
            "FAIL does not speak POP3 as popgate takes it: a line that is no POP3 reply",
        ),
        ({b"CAPA": b"+OK\r\n" + b"X\r\n" * 300}, "CAPA", "CAPA of more than 200 lines"),
        ({b"CAPA": b"+ go on\r\n"}, "CAPA", "a challenge as the answer to CAPA"),
        ({b"CAPA": b"-ERR\r\n+OK\r\n"}, "password", "it says more than it was asked"),
        ({b"CAPA": b""}, "CAPA", "FAIL no answer to CAPA: it hung up"),
    ],
)
def test_where_it_ends(answers: dict[bytes, bytes], topic: str, text: str) -> None:
    assert asked(answers)[topic][-1].endswith(text)
