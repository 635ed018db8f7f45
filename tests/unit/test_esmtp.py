"""EHLO's reply and the parameters of MAIL and RCPT: allow-lists, each with a grammar (rules S2, S7)."""

from __future__ import annotations

import pytest

from proxy.wire.esmtp import BadParameter, EhloEditor, Offer, asks_smtputf8, mail_parameters, rcpt_parameters
from proxy.wire.replies import Reply

ALL = frozenset({b"SIZE", b"8BITMIME", b"SMTPUTF8", b"DSN", b"ENHANCEDSTATUSCODES", b"AUTH"})


def ehlo(*lines: bytes) -> Reply:
    *heads, last = lines
    return Reply(250, b"".join(b"250-%b\r\n" % line for line in heads) + b"250 %b\r\n" % last)


def test_S7_what_is_carried() -> None:
    reply = ehlo(
        b"old hello",
        *[b"SIZE 1000", b"8bitmime", b"DSN", b"SMTPUTF8", b"ENHANCEDSTATUSCODES", b"PIPELINING"],
        *[
            b"CHUNKING",
            b"BINARYMIME",
            b"STARTTLS",
            b"XCLIENT ADDR",
            b"XFORWARD ADDR",
            b"ETRN",
            b"TURN",
            b"VERB",
            b"HELP",
        ],
        *[b"BURL imap", b"X-ANONYMOUSTLS", b"REQUIRETLS", b"MT-PRIORITY", b"DELIVERBY", b"LIMITS RCPTMAX=1", b""],
    )
    offer = Offer.of(reply, auth=True)
    assert offer.lines == (b"SIZE 1000", b"8BITMIME", b"DSN", b"SMTPUTF8", b"ENHANCEDSTATUSCODES")
    assert offer.keywords == {b"SIZE", b"8BITMIME", b"DSN", b"SMTPUTF8", b"ENHANCEDSTATUSCODES"}
    assert offer.pipelining
    assert offer.mechanisms == frozenset()


def test_S7_PIPELINING_is_always_ours_and_STARTTLS_by_our_state() -> None:
    editor = EhloEditor(auth=True)
    offer, octets = editor.edit(ehlo(b"old", b"SIZE"), True)
    assert not offer.pipelining
    assert octets == b"250-old\r\n250-PIPELINING\r\n250-SIZE\r\n250 STARTTLS\r\n"
    assert editor.edit(ehlo(b"old", b"SIZE"), False)[1] == b"250-old\r\n250-PIPELINING\r\n250 SIZE\r\n"
    assert editor.edit(ehlo(b"old"), False)[1] == b"250-old\r\n250 PIPELINING\r\n"
    assert editor.edit(Reply(250, b"250\r\n"), False)[1] == b"250-\r\n250 PIPELINING\r\n"


@pytest.mark.parametrize("size", [b"SIZE +5", b"SIZE x", b"SIZE \xd9\xa3", b"SIZE " + b"9" * 21, b"SIZE"])
def test_S7_a_size_that_is_no_number_is_left_out(size: bytes) -> None:
    assert Offer.of(ehlo(b"old", size), auth=True).lines == (b"SIZE",)


def test_S7_S10_AUTH_is_cut_to_the_allow_list_in_both_forms() -> None:
    reply = ehlo(b"old", b"AUTH=LOGIN NTLM", b"auth gssapi plain LOGIN anonymous External SCRAM-SHA-1-PLUS")
    offer = Offer.of(reply, auth=True)
    assert offer.mechanisms == {b"PLAIN", b"LOGIN"}
    assert offer.lines == (b"AUTH LOGIN PLAIN", b"AUTH=LOGIN PLAIN")
    assert b"AUTH" in offer.keywords
    nothing = Offer.of(ehlo(b"old", b"AUTH GSSAPI"), auth=True)
    assert nothing.lines == ()
    off = Offer.of(reply, auth=False)
    assert (off.lines, off.keywords, off.mechanisms) == ((), frozenset(), frozenset())


def test_the_first_line_is_no_keyword() -> None:
    assert Offer.of(ehlo(b"SIZE", b"DSN"), auth=True).keywords == {b"DSN"}


def test_what_the_editor_remembers_is_bounded() -> None:
    """An upstream that echoes the client's name gives a new reply to each."""
    editor = EhloEditor(auth=True)
    for number in range(1000):
        _, octets = editor.edit(ehlo(b"hello %d" % number, b"DSN"), False)
        assert octets.startswith(b"250-hello %d\r\n" % number)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (b" SIZE=0", b" SIZE=0"),
        (b"  size=12   body=8BitMime ", b" SIZE=12 BODY=8BITMIME"),
        (b" BODY=8bitmime RET=full", b" BODY=8BITMIME RET=FULL"),
        (b" ret=HDRS ENVID=a+3Db", b" RET=HDRS ENVID=a+3Db"),
        (b" ENVID=+41+2B+FF+20", b" ENVID=A+2B+FF+20"),
        (b" SMTPUTF8", b" SMTPUTF8"),
        (b" AUTH=<>", b" AUTH=<>"),
        (b" AUTH=e+3Dmc2@example.com", b" AUTH=<>"),
        (b" BODY=7BIT", b""),  # Sendmail clears the eighth bit then, and reads an end of data in \x8d\x8a.\x8d\x8a
        (b" body=7bit SIZE=1", b" SIZE=1"),
        (b' ENVID=<a(b),"c\\>', b" ENVID=+3Ca+28b+29+2C+22c+5C+3E"),
    ],
)
def test_S2_parameters_of_MAIL(text: bytes, written: bytes) -> None:
    assert mail_parameters(text, ALL, authenticated=False) == (written, ())


def test_S2_an_identity_is_passed_only_behind_the_upstreams_235() -> None:
    assert mail_parameters(b" AUTH=e+3Dmc2@example.com", ALL, authenticated=True)[0] == b" AUTH=e+3Dmc2@example.com"
    with pytest.raises(BadParameter):
        mail_parameters(b" AUTH=a+0Ab", ALL, authenticated=False)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (b" NOTIFY=NEVER", b" NOTIFY=NEVER"),
        (b" notify=success,Failure,DELAY", b" NOTIFY=SUCCESS,FAILURE,DELAY"),
        (b" ORCPT=rfc822;a+2Bb@c", b" ORCPT=rfc822;a+2Bb@c"),
        (b" orcpt=RFC822;a+40b", b" ORCPT=RFC822;a@b"),
        (b" ORCPT=rfc822;<v@far.test>", b" ORCPT=rfc822;+3Cv@far.test+3E"),
    ],
)
def test_S2_parameters_of_RCPT(text: bytes, written: bytes) -> None:
    assert rcpt_parameters(text, ALL) == (written, ())


@pytest.mark.parametrize(
    "text",
    [
        *[b"SIZE=1", b" SIZE=1 SIZE=1", b" SIZE=1 size=1", b" BODY=BINARYMIME", b" BODY=", b" BODY", b" BODY=7BIT\tX"],
        *[b" ENVID=a+00", b" ENVID=a+0D+0A", b" ENVID=a+1F", b" ENVID=a+7F", b" ENVID=a+0a", b" AUTH=a+0d"],
        *[b" SMTPUTF8=", b" SMTPUTF8=1", b" FOO", b" FOO=BAR", b" =", b" =1", b" NOTIFY=NEVER", b" XFOO=1"],
    ],
)
def test_S2_no_parameter_of_MAIL(text: bytes) -> None:
    """Unknown, of another command, given twice; what changes the message; and control octets, which no client has by
    mistake."""
    with pytest.raises(BadParameter):
        mail_parameters(text, ALL, authenticated=True)


@pytest.mark.parametrize(
    "text", [b" NOTIFY=NEVER NOTIFY=NEVER", b" ORCPT=rfc822;a+0D+0ARCPT", b" SIZE=1", b" SMTPUTF8", b" ORCPT=rf c;a"]
)
def test_S2_no_parameter_of_RCPT(text: bytes) -> None:
    with pytest.raises(BadParameter):
        rcpt_parameters(text, ALL)


@pytest.mark.parametrize(
    "text",
    [
        *[b" SIZE", b" SIZE=", b" SIZE=-1", b" SIZE=+1", b" SIZE=1_0", b" SIZE=\xd9\xa3", b" SIZE=" + b"1" * 21],
        *[b" RET=ALL", b" ENVID=", b" ENVID=a+", b" ENVID=a+4", b" ENVID=a+4g", b" ENVID=\xff", b" AUTH=", b" AUTH"],
    ],
)
def test_S2_a_malformed_hint_of_MAIL_is_left_out(text: bytes) -> None:
    name = text[1:].partition(b"=")[0]
    assert mail_parameters(text + b" BODY=8BITMIME", ALL, authenticated=True) == (b" BODY=8BITMIME", (name,))


@pytest.mark.parametrize(
    "text",
    [
        *[b" NOTIFY=", b" NOTIFY", b" NOTIFY=NEVER,DELAY", b" NOTIFY=SUCCESS,", b" NOTIFY=X"],
        *[b" ORCPT=rfc822", b" ORCPT=;a", b" ORCPT=rfc822;", b" ORCPT=" + b"a" * 41 + b";a", b" ORCPT=rfc822;a+2"],
    ],
)
def test_S2_a_malformed_hint_of_RCPT_is_left_out(text: bytes) -> None:
    assert rcpt_parameters(text, ALL) == (b"", (text[1:].partition(b"=")[0],))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (b" ORCPT=rfc822;a+2bb@x", b" ORCPT=rfc822;a+2Bb@x"),
        (b" ORCPT=rfc822;b=x@y", b" ORCPT=rfc822;b+3Dx@y"),
    ],
)
def test_S2_xtext_as_clients_write_it_is_corrected(text: bytes, written: bytes) -> None:
    assert rcpt_parameters(text, ALL) == (written, ())
    assert mail_parameters(text.replace(b"ORCPT=rfc822;", b"AUTH="), ALL, authenticated=True)[0] == (
        written.replace(b"ORCPT=rfc822;", b"AUTH=")
    )


@pytest.mark.parametrize("text", [b" SIZE=100", b" BODY=8BITMIME", b" size=1 body=7bit", b" SIZE= BODY=8BITMIME"])
def test_S2_after_HELO_size_and_body_are_left_out(text: bytes) -> None:
    assert mail_parameters(text, frozenset(), authenticated=False, helo=True) == (b"", ())
    with pytest.raises(BadParameter):
        mail_parameters(b" BODY=BINARYMIME", frozenset(), authenticated=False, helo=True)


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        (b" SIZE=1", b"SIZE"),
        (b" BODY=8BITMIME", b"8BITMIME"),
        (b" SMTPUTF8", b"SMTPUTF8"),
        (b" RET=FULL", b"DSN"),
        (b" ENVID=x", b"DSN"),
        (b" AUTH=<>", b"AUTH"),
    ],
)
def test_S2_only_what_the_upstream_offers(text: bytes, needed: bytes) -> None:
    assert mail_parameters(text, frozenset({needed}), authenticated=False)[0]
    with pytest.raises(BadParameter):
        mail_parameters(text, ALL - {needed}, authenticated=False)


def test_asks_smtputf8() -> None:
    assert asks_smtputf8(b" SIZE=1 SMTPUTF8")
    assert not asks_smtputf8(b" ENVID=SMTPUTF8")
    assert not asks_smtputf8(b"")
