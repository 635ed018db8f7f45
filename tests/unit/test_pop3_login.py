"""session/upstream/pop3_login.py: what the replies of a POP3 server say of a password (rule G15)."""

from __future__ import annotations

import pytest

from proxy.errors import UpstreamUnavailable
from proxy.gate.verdict import Password
from proxy.session.upstream.pop3_login import PopLogin

USER, PASS = b"USER anna\r\n", b"PASS se cret\r\n"


def login(is_open: bool = False) -> PopLogin:
    return PopLogin(b"anna", b"se cret", lambda: is_open)


def tried(*replies: bytes, is_open: bool = False, single: bool = False) -> PopLogin:
    """A try with these replies, each said when it is due; whole, or octet by octet."""
    attempt = login(is_open)
    for reply in replies:
        for piece in [reply[at : at + 1] for at in range(len(reply))] if single else [reply]:
            attempt.upstream_bytes(piece)
    return attempt


@pytest.mark.parametrize("single", [False, True], ids=["whole", "octet by octet"])
@pytest.mark.parametrize("greeting", [b"+OK\r\n", b"+OK <1@u> ready\r\n"])
@pytest.mark.parametrize("accepted", [b"+OK\r\n", b"+OK send PASS\r\n"])
def test_G15_ok_to_the_password_is_right(greeting: bytes, accepted: bytes, single: bool) -> None:
    attempt = tried(greeting, accepted, single=single)
    assert b"".join(attempt.to_upstream) == USER + PASS
    assert attempt.result is None
    for piece in [b"+OK", b" in\r", b"\n"]:
        assert attempt.result is None
        attempt.upstream_bytes(piece)
    assert attempt.result is Password.RIGHT


def test_each_command_waits_for_its_reply() -> None:
    attempt = login()
    assert attempt.to_upstream == []
    attempt.upstream_bytes(b"+OK hello\r\n")
    assert attempt.to_upstream == [USER]
    attempt.upstream_bytes(b"+OK\r\n")
    assert attempt.to_upstream == [USER, PASS]


CODES = [
    (b"-ERR [AUTH] no\r\n", Password.WRONG, Password.WRONG),
    (b"-ERR [SYS/PERM] disabled\r\n", Password.WRONG, Password.WRONG),
    (b"-ERR [X-OWN] no\r\n", Password.WRONG, Password.WRONG),
    (b"-ERR [in-use] no\r\n", Password.UNKNOWN, Password.UNKNOWN),
    (b"-ERR [IN-USE] locked\r\n", Password.UNKNOWN, Password.UNKNOWN),
    (b"-ERR [LOGIN-DELAY] soon\r\n", Password.UNKNOWN, Password.UNKNOWN),
    (b"-ERR [SYS/TEMP] later\r\n", Password.UNKNOWN, Password.UNKNOWN),
    # In words: the mailbox, not the login
    (b"-ERR Mailbox is locked by another POP3 session\r\n", Password.IN_USE, Password.IN_USE),
    (b"-ERR POP lock for anna is busy. Is another session active?\r\n", Password.IN_USE, Password.IN_USE),
    (b"-ERR maildrop already locked\r\n", Password.IN_USE, Password.IN_USE),
    (b"-ERR Unable to lock maildrop\r\n", Password.IN_USE, Password.IN_USE),
    (b"-ERR Can't get lock. Mailbox in use\r\n", Password.IN_USE, Password.IN_USE),
    (b"-ERR mailbox is being used by somebody\r\n", Password.IN_USE, Password.IN_USE),
    (b"-ERR account locked\r\n", Password.WRONG, Password.IN_USE),
    (b"-ERR the password is in use since long\r\n", Password.WRONG, Password.IN_USE),
    # Without a code: believed to be in use where popgate sees that it is.
    (b"-ERR\r\n", Password.WRONG, Password.IN_USE),
    (b"-ERR no such user\r\n", Password.WRONG, Password.IN_USE),
    (b"-ERR [ no code\r\n", Password.WRONG, Password.IN_USE),
    (b"-ERR  [IN-USE] too far\r\n", Password.WRONG, Password.IN_USE),
    (b"-ERR [] empty\r\n", Password.WRONG, Password.IN_USE),
    (b"-ERR [%b] long\r\n" % (b"X" * 65), Password.WRONG, Password.IN_USE),
]


@pytest.mark.parametrize("after", [1, 2], ids=["to USER", "to PASS"])
@pytest.mark.parametrize(("reply", "closed", "opened"), CODES, ids=[reply.decode().strip() for reply, _, _ in CODES])
def test_G15_what_each_err_says(reply: bytes, closed: Password, opened: Password, after: int) -> None:
    replies = [b"+OK\r\n"] * after + [reply]
    assert tried(*replies).result is closed
    assert tried(*replies, is_open=True).result is opened
    assert tried(*replies, single=True).result is closed


@pytest.mark.parametrize("code", [b"", b"[AUTH] ", b"[SYS/PERM] "])
@pytest.mark.parametrize("is_open", [False, True])
def test_G15_a_greeting_that_refuses_says_nothing_of_the_password(code: bytes, is_open: bool) -> None:
    attempt = tried(b"-ERR %bgo away\r\n" % code, is_open=is_open)
    assert attempt.result is Password.UNKNOWN
    assert attempt.to_upstream == []


@pytest.mark.parametrize(
    "replies",
    [
        [b"+OK\r\n+OK\r\n"],  # the second answers nothing
        [b"+OK\r\n+OK\r\n+OK\r\n"],
        [b"+OK\r\n", b"+OK\r\n+OK in\r\n"],  # an answer to a password that was not said yet
        [b"+OK\r\n", b"+OK\r\n-ERR"],
        [b"+OK\r\n", b"+ \r\n"],  # a challenge that nothing asked for
        [b"+ \r\n"],
        [b"+OK\r\n", b"+OK\r\n", b"+ \r\n"],
        [b"+OKAY\r\n"],
        [b"+OK\r\n", b"+ok\r\n"],
        [b"+OK\r\n", b"+OK\r\n", b"+OKin\r\n"],
        [b"+OK\r\n", b"+OK\r\n", b" +OK\r\n"],
        [b"+OK\r\n", b"+OK\r\n", b"\xef\xbb\xbf+OK\r\n"],
        [b"+OK\r\n", b"+OK\r\n", b"+OK in\n"],
        [b"+OK\r\n", b"+OK\r\n", b"+OK\0\r\n"],
        [b"220 smtp\r\n"],
        [b"+OK\r\n", b"250 ok\r\n"],
        [b"\r\n"],
        [b"x" * 5000],
    ],
)
@pytest.mark.parametrize("is_open", [False, True])
def test_G15_what_is_no_pop3_dialogue_says_nothing(replies: list[bytes], is_open: bool) -> None:
    attempt = login(is_open)
    with pytest.raises(UpstreamUnavailable):
        for reply in replies:
            attempt.upstream_bytes(reply)
    assert attempt.result is None


def test_what_comes_behind_the_result_is_not_read() -> None:
    assert tried(b"+OK\r\n", b"+OK\r\n", b"+OK in\r\n-ERR x\r\nrubbish").result is Password.RIGHT
    assert tried(b"+OK\r\n", b"+OK\r\n", b"-ERR [AUTH] no\r\n+OK\r\n").result is Password.WRONG


def test_whether_the_mailbox_is_open_is_asked_when_the_answer_comes() -> None:
    asked: list[str] = []
    attempt = PopLogin(b"anna", b"x", lambda: not asked.append("now"))
    attempt.upstream_bytes(b"+OK\r\n")
    attempt.upstream_bytes(b"+OK\r\n")
    assert asked == []
    attempt.upstream_bytes(b"-ERR\r\n")
    assert (asked, attempt.result) == (["now"], Password.IN_USE)
