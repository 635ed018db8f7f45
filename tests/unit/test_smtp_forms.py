"""The classical relay tests, and the forms of an address that servers were seen to read in two ways (rules S2, G16).

Rows carry the numbers of the threat list: C16 to C38 are the relay testers' forms, C39 to C75 those in which servers
use another address than a naive reader does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from ..support.smtp import ALLOW, DEFER, REFUSE, asked, ready, recipients

if TYPE_CHECKING:
    from ..support.driver import Driver

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
    Form("C41", "<<a@local.test>>", LOCAL, "<a@local.test>"),
    Form("C41 foreign", "<<b@far.test>>", ASKED, "<b@far.test>"),
    Form("C41 odd", "<<b@far.test>", BAD),
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
    Form("C49 within", "< a@local.test >", LOCAL, "<a@local.test>"),
    Form("C49 tab", "<a@local.test\t>", LOCAL, "<a@local.test>"),
    Form("C49 foreign", "< b@far.test >", ASKED, "<b@far.test>"),
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
    Form("C57b dots", "<.a..b.@local.test>", LOCAL, "<.a..b.@local.test>"),
    Form("C57b dots, foreign", "<x.y.@far.test>", ASKED, "<x.y.@far.test>"),
    Form("C57b dots alone", "<..@local.test>", BAD),
    Form("C57b dots and slashes", "<../x@local.test>", ASKED, "<../x@local.test>"),
    Form("C57b dots and percent", "<.a%far.test@local.test>", ASKED, "<.a%far.test@local.test>"),
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
    Form("C62 blanks", "  <b@far.test>", ASKED, "<b@far.test>"),
    Form("C62 tab", "\t<b@far.test>", ASKED, "<b@far.test>"),
    Form("C62 local", " \t<a@local.test>", LOCAL, "<a@local.test>"),
    Form("C62 bare name", "scanner", LOCAL, "<scanner>"),
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
    Form("C70 local part, over", "<" + "a" * 256 + "@local.test>", LOCAL, "<" + "a" * 256 + "@local.test>"),
    Form("C70 local part, far over", "<" + "a" * 257 + "@local.test>", BAD),
    Form("C70 list confirmation", f"<list-{'01' * 40}@local.test>", LOCAL, f"<list-{'01' * 40}@local.test>"),
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
        (b"RCPT T O:<b@far.test>", b"501 5.5.4"),
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
        ("<a@s.test> BODY=BINARYMIME", "555 5.5.4"),
        ("<a@s.test> BODY", "555 5.5.4"),
        ("<a@s.test> ENVID=a+00", "555 5.5.4"),
        ("<a@s.test> ENVID=a+0D+0A", "555 5.5.4"),
        ("<a@s.test> ENVID=a+7F", "555 5.5.4"),
        ("<a@s.test> ENVID=a+0a", "555 5.5.4"),
        ("<a@s.test> SMTPUTF8 SMTPUTF8", "555 5.5.4"),
        ("<a@s.test> SMTPUTF8=1", "555 5.5.4"),
        ("<a@s.test> MT-PRIORITY=3", "555 5.5.4"),
        ("<a@s.test> REQUIRETLS", "555 5.5.4"),
        ("<a@s.test> NOTIFY=NEVER", "555 5.5.4"),
        ("<a@s.test> SIZE=1\tX", "555 5.5.4"),
        ('<"a\u2028RCPT TO:v@far.test"@s.test> SMTPUTF8', "553 5.6.7"),
        ('<"a\u0085RCPT TO:v@far.test"@s.test> SMTPUTF8', "553 5.6.7"),
        ('<"a> RCPT TO:<v@far.test"@s.test>', "501 5.1.7"),  # brackets within quotes: legal, but read in two ways
        ('<"a> BODY=7BIT x"@s.test>', "501 5.1.7"),
        ('<"a\\<b"@s.test>', "501 5.1.7"),
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
    ],
)
def test_S2_C73_mail_as_it_goes_up(mail: str, line: str) -> None:
    driver = ready()
    driver.client(f"MAIL FROM:{mail}\r\n".encode())
    assert driver.to_upstream == f"MAIL FROM:{line}\r\n".encode()
    assert not recipients(driver.to_upstream)


@pytest.mark.parametrize(
    "argument",
    [
        *[b" 6 LAST", b" +6 LAST", b" 06", b" 0x10", b" -1", b" 1_0", b" \xd9\xa3", b" 99999999999999999999"],
        *[b"  6  LAST", b"\t6", b" 6 LASTX", b"", b" 0 LAST", b" 1048576"],
    ],
)
def test_S3_D2_BDAT_in_any_form_closes(argument: bytes) -> None:
    """What follows it would be octets of a message or commands, nobody can tell which."""
    driver = ready()
    driver.client(b"MAIL FROM:<a@s.test>\r\nRCPT TO:<user@local.test>\r\n")
    driver.upstream(b"250 a\r\n250 b\r\n")
    driver.to_client = driver.to_upstream = b""
    driver.client(b"BDAT" + argument + b"\r\nNOOP\r\nDATA\r\n")
    assert driver.to_client == b"502 5.5.1 Command not implemented\r\n"
    assert driver.to_upstream == b""
    assert driver.finished is not None
