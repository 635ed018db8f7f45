"""wire/pop3.py: replies, their exact form, and the capability list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolError
from proxy.wire.pop3 import MAX_REPLY_LINE, ReplyLines, Status, edited_capabilities, has_control, status


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"+OK", Status.OK),
        (b"+OK ", Status.OK),
        (b"+OK done", Status.OK),
        (b"-ERR", Status.ERR),
        (b"-ERR [IN-USE] locked", Status.ERR),
        (b"+", Status.CONTINUE),
        (b"+ ", Status.CONTINUE),
        (b"+ PDE4", Status.CONTINUE),
    ],
)
def test_P3_a_reply_s_status(line: bytes, said: Status) -> None:
    assert status(line) is said


@pytest.mark.parametrize(
    "line",
    [b"", b"+OKAY", b"+ok", b"+Ok", b" +OK", b"OK", b"-OK", b"+OK\t", b"+OK\x00", b"+OK.", b"+OK\xa0",
     b"\xef\xbb\xbf+OK", b"-ERRx", b"-err", b"- ERR", b"++", b"+x", b"+OK" + b"x" * 600, b"220 hi", b".", b"* OK"],
)  # fmt: skip
def test_P3_what_is_no_reply(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        status(line)


@given(st.binary(max_size=40))
def test_P3_ok_is_four_octets_and_no_other(line: bytes) -> None:
    try:
        said = status(line)
    except ProtocolError:
        said = None
    assert (said is Status.OK) == (line == b"+OK" or line.startswith(b"+OK "))


@pytest.mark.parametrize("octet", [*range(0x20), 0x7F])
def test_P2_control_octets(octet: int) -> None:
    assert has_control(b"USER al" + bytes((octet,)) + b"ice")


def test_P2_all_other_octets_are_none() -> None:
    assert not has_control(bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100)))


def lines_of(*pieces: bytes) -> list[bytes]:
    lines, found = ReplyLines(), []
    for piece in pieces:
        lines.feed(piece)
        while (line := lines.take()) is not None:
            found.append(line)
    return found


def test_lines_in_pieces() -> None:
    assert lines_of(b"+O", b"K\r", b"\n-ERR x\r\n+") == [b"+OK", b"-ERR x"]


@pytest.mark.parametrize("data", [b"+OK\n", b"+OK\r\r\n", b"+O\rK\r\n", b"+OK\0\r\n", b"\n", b"a\nb\r\n", b"\r\r\n"])
def test_P3_a_bare_cr_lf_or_nul_is_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="bare"):
        lines_of(data)


def test_a_line_has_a_limit_whether_it_ends_or_not() -> None:
    assert lines_of(b"x" * (MAX_REPLY_LINE - 1) + b"\r\n") == [b"x" * (MAX_REPLY_LINE - 1)]
    with pytest.raises(ProtocolError, match="more than"):
        lines_of(b"x" * (MAX_REPLY_LINE + 1))
    with pytest.raises(ProtocolError, match="more than"):
        lines_of(b"x" * (MAX_REPLY_LINE + 1) + b"\r\n")


def test_the_rest_is_handed_over_as_it_is() -> None:
    lines = ReplyLines()
    lines.feed(b"+OK\r\n\0half\n")
    assert lines.take() == b"+OK"
    assert len(lines) == 6
    assert lines.rest() == b"\0half\n"
    assert len(lines) == 0
    assert lines.take() is None


@given(st.lists(st.binary(max_size=12).filter(lambda line: not set(line) & set(b"\r\n\0")), max_size=8), st.data())
def test_cuts_change_nothing(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(line + b"\r\n" for line in lines)
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
    assert lines_of(*pieces) == lines


def test_capabilities_lose_what_popgate_can_t_carry() -> None:
    given = [
        b"TOP",
        b"SASL PLAIN GSSAPI login",
        b"STLS",
        b"xclient TTL",
        b"XOIP",
        b"IMPLEMENTATION x",
        b"USER",
        b"EXPIRE 0",
    ]
    kept = [b"TOP", b"SASL PLAIN LOGIN", b"IMPLEMENTATION x", b"USER", b"EXPIRE 0"]
    assert edited_capabilities(given, False, True) == kept
    assert edited_capabilities(given, True, True)[-1] == b"STLS"


def test_capabilities_without_a_login_in_the_clear() -> None:
    assert edited_capabilities([b"USER", b"SASL PLAIN", b"UIDL", b"user"], True, False) == [b"UIDL", b"STLS"]


@pytest.mark.parametrize("line", [b"SASL", b"SASL ", b"SASL NTLM", b"sasl anonymous external"])
def test_sasl_without_a_mechanism_vanishes(line: bytes) -> None:
    assert edited_capabilities([line], False, True) == []


def test_login_delay_and_words_that_begin_alike_stay() -> None:
    lines = [b"LOGIN-DELAY 60", b"STLSX", b"USERS", b"UTF8 USER", b"LANG"]
    assert edited_capabilities(lines, False, False) == lines
