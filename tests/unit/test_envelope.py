"""MAIL and RCPT from the client's argument to the upstream's line (rule S2).  Forms in bulk: test_smtp_session.py."""

from __future__ import annotations

import re

import pytest

from proxy.session.smtp import texts
from proxy.session.smtp.envelope import BadCommand, mail_command, rcpt_command

OFFERED = frozenset({b"SIZE", b"8BITMIME", b"SMTPUTF8", b"DSN", b"AUTH"})


def test_S2_mail() -> None:
    line, sender, smtputf8, _ = mail_command(b"from: <a@s.test> size=1 smtputf8", OFFERED, False)
    assert line == b"MAIL FROM:<a@s.test> SIZE=1 SMTPUTF8\r\n"
    assert sender == b"a@s.test"
    assert smtputf8
    assert mail_command(b"FROM:<>", OFFERED, False)[0] == b"MAIL FROM:<>\r\n"
    assert mail_command(b"FROM:<a@s.test> AUTH=x", OFFERED, True)[0] == b"MAIL FROM:<a@s.test> AUTH=x\r\n"


def test_S2_rcpt() -> None:
    line, path, _ = rcpt_command(b"tO:a@s.test notify=never", OFFERED, False)
    assert line == b"RCPT TO:<a@s.test> NOTIFY=NEVER\r\n"
    assert path.domain == b"s.test"


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        (b"", texts.SYNTAX_MAIL),
        (b"FROM", texts.SYNTAX_MAIL),
        (b"FROM <a@b>", texts.SYNTAX_MAIL),
        (b"TO:<a@b>", texts.SYNTAX_MAIL),
        (b"FROM:", texts.BAD_SENDER),
        (b"FROM:<a@b>SIZE=1", texts.BAD_SENDER),
        (b"FROM:<a@b> FOO", texts.BAD_PARAMETER),
        (b"FROM:<\xc3\xbc@b>", texts.NEEDS_SMTPUTF8),
        (b"FROM:<\xff@b> SMTPUTF8", texts.NEEDS_SMTPUTF8),
        (b"FROM:<\xc2\x80@b> SMTPUTF8", texts.NEEDS_SMTPUTF8),
    ],
)
def test_S2_no_mail(argument: bytes, reply: bytes) -> None:
    with pytest.raises(BadCommand) as caught:
        mail_command(argument, OFFERED, False)
    assert caught.value.reply == reply


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        (b"", texts.SYNTAX_RCPT),
        (b"TO", texts.SYNTAX_RCPT),
        (b"FROM:<a@b>", texts.SYNTAX_RCPT),
        (b"TO:", texts.BAD_RECIPIENT),
        (b"TO:<>", texts.BAD_RECIPIENT),
        (b"TO:<a@b>,<c@d>", texts.BAD_RECIPIENT),
        (b"TO:<a@b> <c@d>", texts.BAD_PARAMETER),
        (b"TO:<a@b> SIZE=1", texts.BAD_PARAMETER),
        (b"TO:<\xc3\xbc@b>", texts.NEEDS_SMTPUTF8),
    ],
)
def test_S2_no_rcpt(argument: bytes, reply: bytes) -> None:
    with pytest.raises(BadCommand) as caught:
        rcpt_command(argument, OFFERED, False)
    assert caught.value.reply == reply


@pytest.mark.parametrize("char", ["\u0080", "\u0085", "\u009f", "\u2028", "\u2029"])
def test_S1_no_line_ends_for_a_server_that_decodes_first(char: str) -> None:
    for command in (f'FROM:<"a{char}RCPT TO:<b@far.test>"@s.test> SMTPUTF8', f"FROM:<a@b{char}c> SMTPUTF8"):
        with pytest.raises(BadCommand):
            mail_command(command.encode(), OFFERED, False)
    with pytest.raises(BadCommand):
        rcpt_command(f"TO:<a{char}b@s.test>".encode(), OFFERED, True)


def test_all_replies_are_replies() -> None:
    """RFC 5321 4.2: a code, a space, printable ASCII, CRLF, 512 octets at most."""
    replies = [value for name, value in vars(texts).items() if name.isupper() and isinstance(value, bytes)]
    assert len(replies) > 30
    for reply in replies:
        assert re.fullmatch(rb"[2345][0-9]{2} [ -~]{0,506}\r\n", reply), reply


@pytest.mark.parametrize(
    ("template", "recipient", "reply"),
    [
        ("554 5.7.1 <{recipient}>: no", b"a@b", b"554 5.7.1 <a@b>: no\r\n"),
        ("554 {client} {recipient}", b"\xc3\xbc@b", b"554 192.0.2.7 ??@b\r\n"),
        ("554 {client} {recipient}", b"{client}@b", b"554 192.0.2.7 {client}@b\r\n"),
        ("554 \u00fc", b"a@b", b"554 ?\r\n"),
        ("554 {other} {", b"a@b", b"554 {other} {\r\n"),
    ],
)
def test_refusal(template: str, recipient: bytes, reply: bytes) -> None:
    assert texts.refusal(template, recipient, "192.0.2.7") == reply


def test_refusal_is_cut_to_a_reply_line() -> None:
    assert len(texts.refusal("554 " + "x" * 600 + "{recipient}", b"a" * 2000, "c")) == 512
