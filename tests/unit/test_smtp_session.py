"""The SMTP session on its own: the classical relay tests, ends of data, bounds, and what the link sees (RULES S, G16).

Dialogues are transcripts (tests/transcripts/smtp); here is what is a table or a number.  Rows carry the numbers of the
threat list: C16 to C38 the relay testers' forms, C39 to C75 forms of which servers were seen to use another address
than a naive reader does, A1 to A21 the ends of data.
"""

from __future__ import annotations

import tracemalloc
from typing import NamedTuple

import pytest

from proxy.session.events import Finished, LoginFailed, Refused, Relayed, UpstreamAborted, Wait

from ..support.driver import Driver, new_session
from ..support.smtp import ALLOW, DEFER, REFUSE, asked, ready, recipients

LOCAL, ASKED = "local", "asked"  # sent on without a question; a question to the gate
BAD = "501 5.1.3"
PLAIN = "<a@s.test>"


class Form(NamedTuple):
    """One way to name a recipient; `line`: what the upstream gets when the gate allows it, without RCPT TO:."""

    row: str
    to: str
    outcome: str
    line: str = ""
    mail: str = PLAIN


FORMS = [
    Form("C16", "<v@far.test>", ASKED, "<v@far.test>", "<>"),
    Form("C17", "<v@far.test>", ASKED, "<v@far.test>", "<a@far.test>"),
    Form("C18", "<v@far.test>", ASKED, "<v@far.test>", "<a@gate.test>"),
    Form("C19", "<v@far.test>", ASKED, "<v@far.test>", "<a@[192.0.2.1]>"),
    Form("C20", "<v%far.test@[192.0.2.1]>", ASKED, "<v%far.test@[192.0.2.1]>", "<a@[192.0.2.1]>"),
    Form("C21", "<v%far.test@gate.test>", ASKED, "<v%far.test@gate.test>", "<a@[192.0.2.1]>"),
    Form("C21 local", "<v%far.test@local.test>", ASKED, "<v%far.test@local.test>", "<a@[192.0.2.1]>"),
    Form("C22", '<"v@far.test">', ASKED, '<"v@far.test">', "<a@[192.0.2.1]>"),
    Form("C23", '<"v%far.test">', ASKED, "<v%far.test>", "<a@[192.0.2.1]>"),
    Form("C24", "<v@far.test@[192.0.2.1]>", BAD),
    Form("C25", '<"v@far.test"@[192.0.2.1]>', ASKED, '<"v@far.test"@[192.0.2.1]>'),
    Form("C25 local", '<"v@far.test"@local.test>', ASKED, '<"v@far.test"@local.test>'),
    Form("C26", "<v@far.test@gate.test>", BAD),
    Form("C26 local", "<v@far.test@local.test>", BAD),
    Form("C27", "<@[192.0.2.1]:v@far.test>", BAD),
    Form("C28", "<@gate.test:v@far.test>", ASKED, "<v@far.test>"),
    Form("C28 local", "<@local.test:v@far.test>", ASKED, "<v@far.test>"),
    Form("C28 two", "<@local.test,@x.test:v@far.test>", ASKED, "<v@far.test>"),
    Form("C28 home", "<@x.test:user@local.test>", ASKED, "<user@local.test>"),
    Form("C29", "<far.test!v>", ASKED, "<far.test!v>"),
    Form("C30", "<far.test!v@[192.0.2.1]>", ASKED, "<far.test!v@[192.0.2.1]>"),
    Form("C31", "<far.test!v@gate.test>", ASKED, "<far.test!v@gate.test>"),
    Form("C31 local", "<far.test!v@local.test>", ASKED, "<far.test!v@local.test>"),
    Form("C32", "<v@far.test>", ASKED, "<v@far.test>", "<a@localhost>"),
    Form("C33", "<v@far.test>", ASKED, "<v@far.test>", "<a>"),
    Form("C34", "<v@far.test>", ASKED, "<v@far.test>", "<v@far.test>"),
    Form("C35", "<v@far.test>", ASKED, "<v@far.test>", "<a@local.test>"),
    Form("C36 percent", "<v%far.test>", ASKED, "<v%far.test>"),
    Form("C36 dot", "<v@far.test.>", ASKED, "<v@far.test>"),
    Form("C36 dots", "<v@far.test..>", BAD),
    Form("C36 head", "<v@.far.test>", BAD),
    Form("C37 bare", "<v>", LOCAL, "<v>"),
    Form("C37 postmaster", "<postmaster>", LOCAL, "<postmaster>"),
    Form("C37 PoStMaStEr", "<PoStMaStEr>", LOCAL, "<PoStMaStEr>"),
    Form("C37 null", "<>", BAD),
    Form("C38 DECnet", "<v::far.test@local.test>", BAD),
    Form("C38 X.400", "</c=us/prmd=x/dd.rfc-822=v(a)far.test/@local.test>", BAD),
    Form("C38 X.400 without", "</c=us/prmd=x/@local.test>", ASKED, "</c=us/prmd=x/@local.test>"),
    Form("C38 include", '<":include:/etc/passwd"@local.test>', ASKED, '<":include:/etc/passwd"@local.test>'),
    Form("C38 pipe", '<"|id"@local.test>', ASKED, "<|id@local.test>"),
    Form("C38 pipe, bare", '<"|id">', ASKED, "<|id>"),
    Form("C38 file", "</etc/x@local.test>", ASKED, "</etc/x@local.test>"),
    Form("C39", "<a@local.test<b@far.test>>", BAD),
    Form("C40", "<b@far.test<a@local.test>>", BAD),
    Form("C41", "<<a@local.test>>", BAD),
    Form("C42", "<a@local.test>,<b@far.test>", BAD),
    Form("C43", "<a@local.test><b@far.test>", BAD),
    Form("C44 blank", "<a@local.test> <b@far.test>", "555 5.5.4"),
    Form("C44 semicolon", "<a@local.test>;<b@far.test>", BAD),
    Form("C45 comma", "<a@local.test,b@far.test>", BAD),
    Form("C45 semicolon", "<a@local.test;b@far.test>", BAD),
    Form("C46", "<grp:b@far.test;>", BAD),
    Form("C47 behind", "<a@local.test(x@far.test)>", BAD),
    Form("C47 within", "<a(x)@local.test>", BAD),
    Form("C48", "<b@far.test(>@local.test)>", BAD),
    Form("C49 around @", "<a @ local.test>", BAD),
    Form("C49 within", "< a@local.test >", BAD),
    Form("C49 tab", "<a@local.test\t>", BAD),
    Form("C50", "<b%far.test@local.test>", ASKED, "<b%far.test@local.test>"),
    Form("C51", "<b%far.test>", ASKED, "<b%far.test>"),
    Form("C52", "<far.test!b>", ASKED, "<far.test!b>"),
    Form("C52 local", "<far.test!b@local.test>", ASKED, "<far.test!b@local.test>"),
    Form("C53", "<@local.test:b@far.test>", ASKED, "<b@far.test>"),
    Form("C54", '<"b@far.test">', ASKED, '<"b@far.test">'),
    Form("C55", '<"b@far.test"@local.test>', ASKED, '<"b@far.test"@local.test>'),
    Form("C56", '<"b%far.test"@local.test>', ASKED, "<b%far.test@local.test>"),
    Form("C57", "<b@far.test@local.test>", BAD),
    Form("C57b quote", '<"b\\"@far.test"@local.test>', ASKED, '<"b\\"@far.test"@local.test>'),
    Form("C57b dots", "<.a.@local.test>", BAD),
    Form("C57b no domain", "<a@>", BAD),
    Form("C57b no local part", "<@local.test>", BAD),
    Form("C58", "<b\\@far.test@local.test>", BAD),
    Form("C59", "<a@local.test>\0@far.test>", "500 5.5.2"),
    Form("C59 foreign", "<b@far.test>\0@local.test>", "500 5.5.2"),
    Form("C60", "b@far.test", ASKED, "<b@far.test>"),
    Form("C60 local", "a@local.test", LOCAL, "<a@local.test>"),
    Form("C60 closed", "b@far.test>", BAD),
    Form("C60 open", "<a@local.test", BAD),
    Form("C61 quoted", '"a@local.test" <b@far.test>', BAD),
    Form("C61 phrase", "Joe <b@far.test>", BAD),
    Form("C62 blank", " <b@far.test>", ASKED, "<b@far.test>"),
    Form("C62 blanks", "  <b@far.test>", BAD),
    Form("C62 tab", "\t<b@far.test>", BAD),
    Form("C65", "<b@far.test> NOTIFY=NEVER ORCPT=rfc822;x@far.test", ASKED,
         "<b@far.test> NOTIFY=NEVER ORCPT=rfc822;x@far.test"),
    Form("C65 glued", "<b@far.test>NOTIFY=NEVER", BAD),
    Form("C65 unknown", "<b@far.test> FOO=BAR", "555 5.5.4"),
    Form("C65 twice", "<b@far.test> NOTIFY=NEVER NOTIFY=NEVER", "555 5.5.4"),
    Form("C65 hidden line", "<a@local.test> ORCPT=rfc822;a+0D+0ARCPT", "555 5.5.4"),
    Form("C65 hidden NUL", "<a@local.test> ORCPT=rfc822;a+00", "555 5.5.4"),
    Form("C66", "<a@\u212aocal.test>", "553 5.6.7"),
    Form("C66 SMTPUTF8", "<a@\u212aocal.test>", ASKED, "<a@\u212aocal.test>", "<a@s.test> SMTPUTF8"),
    Form("C67", "<a@b\u00fccher.test>", "553 5.6.7"),
    Form("C67 foreign", "<a@b\u00fccher.test>", ASKED, "<a@b\u00fccher.test>", "<a@s.test> SMTPUTF8"),
    Form("C67 local", "<a@b\u00fcro.test>", LOCAL, "<a@b\u00fcro.test>", "<a@s.test> SMTPUTF8"),
    Form("C67 A-label", "<a@XN--bro-hoa.test>", LOCAL, "<a@XN--bro-hoa.test>"),
    Form("C67 ideographic dot", "<a@local\u3002test>", ASKED, "<a@local\u3002test>", "<a@s.test> SMTPUTF8"),
    Form("C67 full width", "<a@\uff4cocal.test>", ASKED, "<a@\uff4cocal.test>", "<a@s.test> SMTPUTF8"),
    Form("C67 next line", "<a\u0085b@local.test>", "553 5.6.7", "", "<a@s.test> SMTPUTF8"),
    Form("C67 line separator", '<"a\u2028b"@local.test>', "553 5.6.7", "", "<a@s.test> SMTPUTF8"),
    Form("C68 dot", "<a@local.test.>", LOCAL, "<a@local.test>"),
    Form("C68 case", "<A@LOCAL.Test>", LOCAL, "<A@LOCAL.Test>"),
    Form("C69", "<a@[127.0.0.1]>", ASKED, "<a@[127.0.0.1]>"),
    Form("C69 v6", "<a@[IPv6:::1]>", ASKED, "<a@[IPv6:::1]>"),
    Form("C69 mapped", "<a@[IPv6:::ffff:127.0.0.1]>", ASKED, "<a@[IPv6:::ffff:127.0.0.1]>"),
    Form("C69 number", "<a@127.0.0.1>", ASKED, "<a@127.0.0.1>"),
    Form("C69 hex", "<a@0x7f000001>", ASKED, "<a@0x7f000001>"),
    Form("C69 brackets in a literal", "<a@[x>,<b@far.test]>", BAD),
    Form("C70 local part", "<" + "a" * 64 + "@local.test>", LOCAL, "<" + "a" * 64 + "@local.test>"),
    Form("C70 local part, over", "<" + "a" * 65 + "@local.test>", BAD),
    Form("C70 domain, over", "<a@" + "d." * 126 + "test>", BAD),
    Form("C70 path", "<a@" + "d" * 900 + ">", BAD),
    Form("C70 line", "<a@" + "d" * 3000 + ">", "500 5.5.6"),
    Form("C71 below", "<a@sub.local.test>", ASKED, "<a@sub.local.test>"),
    Form("C71 before", "<a@xlocal.test>", ASKED, "<a@xlocal.test>"),
    Form("C71 behind", "<a@local.test.evil.test>", ASKED, "<a@local.test.evil.test>"),
    Form("C71 hyphen", "<a@evil-local.test>", ASKED, "<a@evil-local.test>"),
    Form("C71 suffix", "<a@x.below.test>", LOCAL, "<a@x.below.test>"),
    Form("C71 suffix itself", "<a@below.test>", ASKED, "<a@below.test>"),
    Form("C72 dotless i", "<a@b\u0131g.test>", ASKED, "<a@b\u0131g.test>", "<a@s.test> SMTPUTF8"),
    Form("C72 soft hyphen", "<a@lo\u00adcal.test>", ASKED, "<a@lo\u00adcal.test>", "<a@s.test> SMTPUTF8"),
    Form("C72 joiner", "<a@lo\u200dcal.test>", ASKED, "<a@lo\u200dcal.test>", "<a@s.test> SMTPUTF8"),
    Form("C72 NFD", "<a@bu\u0308ro.test>", ASKED, "<a@bu\u0308ro.test>", "<a@s.test> SMTPUTF8"),
    Form("C72 sharp s", "<a@fu\u00df.test>", ASKED, "<a@fu\u00df.test>", "<a@s.test> SMTPUTF8"),
    Form("quoted, no need", '<"us.er"@local.test>', LOCAL, "<us.er@local.test>"),
    Form("quoted, needed", '<"us er"@local.test>', LOCAL, '<"us er"@local.test>'),
    Form("quoted pair", '<"us\\er"@local.test>', LOCAL, "<user@local.test>"),
    Form("plus", "<user+tag@local.test>", LOCAL, "<user+tag@local.test>"),
]  # fmt: skip
DOMAINS = "local=local.test,.below.test,b\u00fcro.test,big.test,fuss.test"


def begun(form: Form) -> Driver:
    driver = ready(DOMAINS)
    driver.client(f"MAIL FROM:{form.mail}\r\n".encode())
    driver.upstream(b"250 ok\r\n")
    assert driver.to_client == b"250 ok\r\n"
    driver.to_client = driver.to_upstream = b""
    driver.client(f"RCPT TO:{form.to}\r\n".encode())
    return driver


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.row)
def test_S2_G16_recipient_without_a_lease(form: Form) -> None:
    """What goes up, what is asked, and what is refused here; a refused or ill-formed RCPT is never seen upstream."""
    driver = begun(form)
    question = asked(driver)
    assert (question is not None) == (form.outcome == ASKED)
    if form.outcome == LOCAL:
        assert driver.to_upstream == f"RCPT TO:{form.line}\r\n".encode()
        assert driver.to_client == b""
        return
    if question is not None:
        assert driver.to_client == b""
        assert f"<{question.recipient}>" == form.line.split(" ")[0]
        driver.answer(REFUSE)
        assert driver.to_client.startswith(b"554 5.7.1 ")
    else:
        assert driver.to_client.startswith(form.outcome.encode() + b" ")
    assert driver.to_client.endswith(b"\r\n")
    assert driver.to_client.count(b"\n") == 1
    assert driver.to_upstream == b""


@pytest.mark.parametrize("form", [form for form in FORMS if form.outcome == ASKED], ids=lambda form: form.row)
def test_S2_line_of_an_allowed_recipient(form: Form) -> None:
    driver = begun(form)
    assert asked(driver) is not None
    driver.answer(ALLOW)
    assert driver.to_upstream == f"RCPT TO:{form.line}\r\n".encode()
    assert driver.to_client == b""


@pytest.mark.parametrize("form", [form for form in FORMS if form.outcome == ASKED], ids=lambda form: form.row)
def test_G7_a_store_in_trouble_defers(form: Form) -> None:
    driver = begun(form)
    assert asked(driver) is not None
    driver.answer(DEFER)
    assert driver.to_client.startswith(b"451 4.3.0 ")
    assert driver.to_upstream == b""


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"RCPT TO :<b@far.test>", b"501 5.5.4"),
        (b"RCPT  TO : <b@far.test>", b"501 5.5.4"),
        (b"RCPT  TO:<b@far.test>", b"501 5.5.4"),
        (b"RCPTTO:<b@far.test>", b"502 5.5.1"),
        (b"RCPT TO<b@far.test>", b"501 5.5.4"),
        (b"RCPT TO <b@far.test>", b"501 5.5.4"),
        (b"RCPT", b"501 5.5.4"),
        (b"RCPT TO:", b"501 5.1.3"),
        (b"RCPT FROM:<b@far.test>", b"501 5.5.4"),
        (b"RCPT TO:<a@b\xfccher.test>", b"553 5.6.7"),
    ],
)
def test_S2_C63_C64_command_forms(command: bytes, reply: bytes) -> None:
    driver = ready()
    driver.client(b"MAIL FROM:<a@s.test>\r\n")
    driver.upstream(b"250 ok\r\n")
    driver.to_client = driver.to_upstream = b""
    driver.client(command + b"\r\n")
    assert driver.to_client.startswith(reply)
    assert driver.to_upstream == b""
    assert not driver.events


def test_S2_latin_1_under_smtputf8_is_no_utf_8() -> None:
    driver = ready()
    driver.client(b"MAIL FROM:<a@b\xfccher.test> SMTPUTF8\r\n")
    assert driver.to_client.startswith(b"553 5.6.7")
    assert driver.to_upstream == b""


@pytest.mark.parametrize(
    ("mail", "reply"),
    [
        ("<a@local.test<b@far.test>>", "501 5.1.7"),
        ("<a@local.test>,<b@far.test>", "501 5.1.7"),
        ("<a@s.test>SIZE=1", "501 5.1.7"),
        ("<a@s.test> SIZE=-1", "555 5.5.4"),
        ("<a@s.test> SIZE=+5", "555 5.5.4"),
        ("<a@s.test> SIZE=1_0", "555 5.5.4"),
        ("<a@s.test> SIZE=\u0663", "555 5.5.4"),
        ("<a@s.test> SIZE=", "555 5.5.4"),
        ("<a@s.test> SIZE", "555 5.5.4"),
        ("<a@s.test> SIZE=999999999999999999999", "555 5.5.4"),
        ("<a@s.test> BODY=BINARYMIME", "555 5.5.4"),
        ("<a@s.test> BODY", "555 5.5.4"),
        ("<a@s.test> RET=", "555 5.5.4"),
        ("<a@s.test> RET=ALL", "555 5.5.4"),
        ("<a@s.test> ENVID=a+00", "555 5.5.4"),
        ("<a@s.test> ENVID=a+0D+0A", "555 5.5.4"),
        ("<a@s.test> ENVID=a+7F", "555 5.5.4"),
        ("<a@s.test> ENVID=a+0a", "555 5.5.4"),
        ("<a@s.test> ENVID=a=b", "555 5.5.4"),
        ("<a@s.test> ENVID=", "555 5.5.4"),
        ("<a@s.test> SMTPUTF8 SMTPUTF8", "555 5.5.4"),
        ("<a@s.test> SMTPUTF8=1", "555 5.5.4"),
        ("<a@s.test> MT-PRIORITY=3", "555 5.5.4"),
        ("<a@s.test> REQUIRETLS", "555 5.5.4"),
        ("<a@s.test> NOTIFY=NEVER", "555 5.5.4"),
        ("<a@s.test> SIZE=1\tBODY=7BIT", "555 5.5.4"),
        ('<"a\u2028RCPT TO:<v@far.test>"@s.test> SMTPUTF8', "553 5.6.7"),
        ('<"a\u0085RCPT TO:<v@far.test>"@s.test> SMTPUTF8', "553 5.6.7"),
    ],
)
def test_S2_C73_mail_that_is_not_taken(mail: str, reply: str) -> None:
    driver = ready()
    driver.client(f"MAIL FROM:{mail}\r\n".encode())
    assert driver.to_client.startswith(reply.encode())
    assert driver.to_upstream == b""


@pytest.mark.parametrize(
    ("mail", "line"),
    [
        ("<>", "<>"),
        ("<> SIZE=00", "<> SIZE=00"),
        ("<a@s.test> SIZE=99999999999999999999", "<a@s.test> SIZE=99999999999999999999"),
        ("<a@s.test>  body=8bitmime   ret=hdrs", "<a@s.test> BODY=8BITMIME RET=HDRS"),
        ("<a@s.test> ENVID=q+2B+41", "<a@s.test> ENVID=q+2BA"),
        ("<a@s.test> AUTH=boss", "<a@s.test> AUTH=<>"),
        ("<a@s.test> AUTH=<>", "<a@s.test> AUTH=<>"),
        ("<a@s.test> smtputf8", "<a@s.test> SMTPUTF8"),
        ("<@x.test:a@s.test>", "<a@s.test>"),
        ("<j\u00f6rg@s.test> SMTPUTF8", "<j\u00f6rg@s.test> SMTPUTF8"),
        ('<"a> RCPT TO:<v@far.test"@s.test>', '<"a> RCPT TO:<v@far.test"@s.test>'),
    ],
)
def test_S2_C73_mail_as_it_goes_up(mail: str, line: str) -> None:
    driver = ready()
    driver.client(f"MAIL FROM:{mail}\r\n".encode())
    assert driver.to_upstream == f"MAIL FROM:{line}\r\n".encode()
    assert not recipients(driver.to_upstream)


ENDS = {  # the threat list's number: octets that some server was seen, or was told, to take for the end of data
    "A1": b"\n.\n",
    "A2": b"\n.\r\n",
    "A3": b"\r\n.\n",
    "A4": b"\n.\r",
    "A5": b"\r.\r",
    "A6": b"\r.\n",
    "A7": b"\r.\r\n",
    "A8": b"\r\n.\r",
    "A9": b"\r\r\n.\r\r\n",
    "A10": b"\r\n.\r\r\n",
    "A12": b"\r\0\n.\r\n",
    "A13": b"\r\n\0.\r\n",
    "A14": b"\r\n.\0\r\n",
    "A14b": b"\r\n.\0\0\0\r\n",
    "A15": b"\r\n.\r\0\n",
    "A16": b"\n\n.\n\n",
    "A19": b"\r\n. \r\n",
    "A19b": b"\r\n\t.\r\n",
    "A19c": b"\r\n.\x0b\r\n",
    "A19d": b"\r\n.\x1a\r\n",
    "A20": b"\xc2\x85.\xc2\x85",
    "A20b": b"\x0b.\x0b",
    "A20c": b"\x0c.\x0c",
    "A20d": b"\x1c.\x1c",
    "A20e": b"\xe2\x80\xa8.\xe2\x80\xa8",
    "A21": b"\r\n..\r\n",
}
TRUE_ENDS = {"A11": b"\r\r\n.\r\n", "A17": b"\0\r\n.\r\n", "A18": b"\r\n.\r\n\0"}  # they hold a literal CRLF.CRLF
SMUGGLED = b"MAIL FROM:<smuggled@s.test>\r\nRCPT TO:<victim@far.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
LAX_END = (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\n.\r", b"\r.\n", b"\r\n.\r\r\n")


def in_body(*words: str) -> Driver:
    driver = ready(*words)
    driver.client(b"MAIL FROM:<a@s.test>\r\nRCPT TO:<user@local.test>\r\nDATA\r\n")
    driver.upstream(b"250 a\r\n250 b\r\n354 go\r\n")
    driver.to_client = driver.to_upstream = b""
    return driver


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100000])
@pytest.mark.parametrize("row", ENDS)
def test_S8_no_smuggling_normalize(row: str, size: int) -> None:
    """The message goes on to its CRLF.CRLF, and no lax server finds another end in what went up."""
    driver = in_body()
    text = b"Subject: outer\r\n\r\nbody" + ENDS[row] + SMUGGLED
    driver.client(*[text[at : at + size] for at in range(0, len(text), size)])
    sent = driver.to_upstream
    assert sent.endswith(b"\r\n.\r\n")
    body = sent.removesuffix(b".\r\n")
    assert not any(end in body for end in LAX_END)
    assert b"\r" not in sent.replace(b"\r\n", b"")
    assert b"\n" not in sent.replace(b"\r\n", b"")
    assert driver.to_client == b""
    assert not driver.events
    driver.upstream(b"250 queued\r\n")
    assert driver.to_client == b"250 queued\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100000])
@pytest.mark.parametrize("row", ENDS)
def test_S8_no_smuggling_reject(row: str, size: int) -> None:
    """With a stray CR or LF: one 550 behind CRLF.CRLF and no end of data upstream; without: passed on as it is."""
    driver = in_body("bare_newline=reject")
    text = b"Subject: outer\r\n\r\nbody" + ENDS[row] + SMUGGLED
    stray = text.replace(b"\r\n", b"")
    driver.client(*[text[at : at + size] for at in range(0, len(text), size)])
    if b"\r" not in stray and b"\n" not in stray:
        assert driver.to_upstream == text
        assert not driver.events
        return
    assert b"\r\n.\r\n" not in driver.to_upstream
    assert not any(end in driver.to_upstream for end in LAX_END)
    assert driver.to_client == b"550 5.5.2 The message has a bare CR or LF\r\n"
    assert [type(event) for event in driver.events] == [UpstreamAborted, Finished]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100000])
@pytest.mark.parametrize("row", TRUE_ENDS)
def test_S8_a_literal_end_is_an_end(row: str, size: int) -> None:
    """Not to end there would be the difference: what follows are the client's own commands, and judged as such."""
    driver = in_body()
    text = b"Subject: outer\r\n\r\nbody" + TRUE_ENDS[row] + SMUGGLED[: SMUGGLED.index(b"DATA")]
    driver.client(*[text[at : at + size] for at in range(0, len(text), size)])
    body, _, behind = driver.to_upstream.partition(b"\r\n.\r\n")
    assert body.startswith(b"Subject: outer")
    if row == "A18":  # the next command begins with NUL
        assert behind == b""
        assert asked(driver) is None
    else:
        assert behind == b"MAIL FROM:<smuggled@s.test>\r\n"
        assert asked(driver) is not None
        driver.answer(REFUSE)
    assert not recipients(behind)


@pytest.mark.parametrize("size", [509, 998, 999, 1000, 2048, 4096, 8192, 65536])
def test_S8_a_dot_at_the_edge_of_a_buffer(size: int) -> None:
    for length in (size - 1, size, size + 1):
        driver = in_body()
        text = b"a" * length + b"\r\n.\r\n"
        driver.client(*[text[at : at + size] for at in range(0, len(text), size)])
        assert driver.to_upstream == text
        assert not driver.session.streaming


def test_S8_a_line_without_end_is_not_kept() -> None:
    driver = in_body()
    for _ in range(64):
        driver.client(b"a" * 16384)
    assert len(driver.to_upstream) == 64 * 16384


def test_S1_a_flood_without_a_line_end_is_not_kept() -> None:
    """Memory: what a session holds of a line is bounded, whatever comes (promise 6)."""
    driver = ready()
    flood = b"x" * 10000
    tracemalloc.start()
    try:
        for _ in range(100):
            driver.client(flood)
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()
    driver.client(b"\r\nNOOP\r\n")
    assert driver.to_client == b"500 5.5.6 Line too long\r\n"
    assert driver.to_upstream == b"NOOP\r\n"


def test_S6_a_reply_without_end_is_not_kept() -> None:
    driver = ready()
    driver.client(b"NOOP\r\n")
    for _ in range(70):
        driver.upstream(b"250-" + b"x" * 1000)
    assert driver.to_client == b"421 4.3.0 The mail server does not follow the protocol\r\n"
    assert driver.finished is not None


def test_S6_a_reply_of_many_lines() -> None:
    driver = ready()
    driver.client(b"NOOP\r\n")
    reply = b"250-x\r\n" * 99 + b"250 x\r\n"
    driver.upstream(reply)
    assert driver.to_client == reply
    driver.client(b"NOOP\r\n")
    driver.upstream(b"250-x\r\n" * 100)
    assert driver.to_client == reply + b"421 4.3.0 The mail server does not follow the protocol\r\n"


def test_the_ledger_bounds_what_is_owed() -> None:
    """A client that pipelines without end is not read any more until replies have gone out."""
    driver = ready()
    driver.client(b"NOOP\r\n" * 1500)
    assert driver.to_upstream == b"NOOP\r\n" * 1000
    assert driver.session.holding
    driver.upstream(b"250 ok\r\n" * 400)
    assert driver.to_upstream == b"NOOP\r\n" * 1400
    driver.upstream(b"250 ok\r\n" * 1000)
    assert driver.to_upstream == b"NOOP\r\n" * 1500
    driver.upstream(b"250 ok\r\n" * 100)
    assert not driver.session.holding
    assert driver.to_client == b"250 ok\r\n" * 1500


def test_holding_while_the_gate_is_asked() -> None:
    driver = ready()
    driver.client(b"MAIL FROM:<a@s.test>\r\n", b"RCPT TO:<v@far.test>\r\n", b"RCPT TO:<user@local.test>\r\n")
    assert driver.session.holding
    assert driver.session.doing == "waiting for the gate"
    driver.answer(REFUSE)
    assert not driver.session.holding
    assert driver.to_upstream == b"MAIL FROM:<a@s.test>\r\nRCPT TO:<user@local.test>\r\n"


def test_waits_and_phrases() -> None:
    driver = Driver(new_session("smtp"))
    session = driver.session
    assert (session.wait, session.doing) == (Wait.GREETING, "waiting for the greeting")
    driver.upstream(b"220 old\r\n")
    assert (session.wait, session.doing) == (Wait.COMMAND, "waiting for a command")
    driver.client(b"HELO c.test\r\n")
    assert (session.wait, session.doing) == (Wait.COMMAND, "waiting for the reply to HELO")
    driver = in_body()
    session = driver.session
    assert (session.wait, session.doing, session.streaming) == (Wait.MESSAGE, "receiving a message", True)
    driver.client(b"x\r\n.\r\n")
    assert (session.wait, session.streaming) == (Wait.MESSAGE_REPLY, False)
    assert session.doing == "waiting for the reply to the message"


def test_steps_count_what_was_done_and_not_octets() -> None:
    """The limit of a wait is a total: single octets of a command do not prolong it."""
    driver = ready()
    before = driver.session.step
    driver.client(b"N", b"O", b"O", b"P")
    assert driver.session.step == before
    driver.client(b"\r\n")
    assert driver.session.step == before + 1
    driver.upstream(b"25")
    assert driver.session.step == before + 1
    driver.upstream(b"0 ok\r\n")
    assert driver.session.step == before + 2


def test_facts() -> None:
    driver = ready()
    driver.client(b"MAIL FROM:<a@s.test>\r\nRCPT TO:<v@far.test>\r\nRCPT TO:<user@local.test>\r\nDATA\r\n")
    driver.answer(REFUSE)
    driver.upstream(b"250 a\r\n250 b\r\n354 go\r\n")
    driver.client(b"x\r\n.\r\n")
    driver.upstream(b"250 queued\r\n")
    assert dict(driver.session.facts()) == {
        "helo": "c.test",
        "login": "",
        "cmds": 5,
        "msgs": 1,
        "rcpts": 1,
        "refused": 1,
    }


def test_N11_a_refusal_is_told_with_all_that_the_log_needs() -> None:
    driver = ready()
    driver.client(b"MAIL FROM:<a@s.test>\r\nRCPT TO:<v@far.test>\r\n")
    assert asked(driver) is not None
    driver.answer(REFUSE)
    reply = "554 5.7.1 <v@far.test>: Relay access denied"
    assert driver.events == [Refused("a@s.test", "v@far.test", reply, "no lease")]


def test_N11_the_audit_trail_of_a_relayed_message() -> None:
    driver = ready()
    driver.client(b"MAIL FROM:<a@s.test>\r\nRCPT TO:<v@far.test>\r\nRCPT TO:<w@far.test>\r\nDATA\r\n")
    assert asked(driver) is not None
    driver.answer(ALLOW)
    driver.upstream(b"250 a\r\n250 b\r\n550 c\r\n354 go\r\n")
    driver.client(b"x\r\n", b"y\n.\r\n.\r\n")
    driver.upstream(b"250 2.0.0 Ok: queued as 1A2B\r\n")
    sent = len(b"x\r\ny\r\n..\r\n.\r\n")
    trail = Relayed("a@s.test", ("v@far.test",), sent, "250 2.0.0 Ok: queued as 1A2B", "lease of anna", "anna")
    assert driver.events == [trail]


def test_N11_local_mail_leaves_no_trail() -> None:
    driver = in_body()
    driver.client(b"x\r\n.\r\n")
    driver.upstream(b"250 queued\r\n")
    assert not driver.events


def test_G14_the_trail_names_the_login() -> None:
    driver = ready()
    driver.client(b"AUTH PLAIN AGFubmEAc2VjcmV0\r\n")
    driver.upstream(b"235 ok\r\n")
    driver.client(b"MAIL FROM:<a@s.test>\r\nRCPT TO:<v@far.test>\r\nDATA\r\n")
    driver.upstream(b"250 a\r\n250 b\r\n354 go\r\n")
    driver.client(b"x\r\n.\r\n")
    driver.upstream(b"554 no\r\n")
    assert driver.events == [Relayed("a@s.test", ("v@far.test",), 6, "554 no", "authenticated", "anna")]


def test_S10_a_failed_login_is_told_without_its_password() -> None:
    driver = ready()
    driver.client(b"AUTH PLAIN AGFubmEAc2VjcmV0\r\n")
    driver.upstream(b"535 no\r\n")
    assert driver.events == [LoginFailed("anna")]


def test_the_refusal_shows_no_odd_octets_and_fits_a_reply_line() -> None:
    session = new_session("smtp")
    driver = Driver(session)
    driver.upstream(b"220 old\r\n")
    driver.client(b"HELO c.test\r\n")
    driver.upstream(b"250 old\r\n")
    driver.to_client = b""
    driver.client(b"MAIL FROM:<a@s.test>\r\n")
    driver.upstream(b"250 ok\r\n")
    driver.client(b"RCPT TO:<" + b"a" * 64 + b"@" + b"b" * 200 + b"." + b"c" * 50 + b">\r\n")
    driver.answer(REFUSE)
    line = driver.to_client.partition(b"\r\n")[2]
    assert line.startswith(b"554 5.7.1 <aaaa")
    assert len(line) <= 512


@pytest.mark.parametrize(
    "call", ["client_eof", "upstream_eof", "upstream_failed", "out_of_time", "drain", "tls_started"]
)
def test_a_finished_session_stays_finished(call: str) -> None:
    driver = ready()
    driver.client(b"GET / HTTP/1.1\r\n")
    assert driver.finished is not None
    driver.events.clear()
    driver.call(getattr(driver.session, call))
    driver.answer(ALLOW)
    driver.client(b"RCPT TO:<v@far.test>\r\n")
    driver.upstream(b"250 ok\r\n")
    assert not driver.events
    assert driver.to_client == driver.to_upstream == b""
