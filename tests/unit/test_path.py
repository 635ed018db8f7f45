"""Paths: one grammar, and one text written from what it took (rules S2, G16).  More forms: test_smtp_session.py."""

from __future__ import annotations

import time

import pytest

from proxy.wire.path import MAX_DOMAIN, MAX_LOCAL, NULL, BadPath, Path, parse


@pytest.mark.parametrize(
    ("argument", "path"),
    [
        (b"<a@b.test>", Path(b"a@b.test", b"a", b"b.test")),
        (b" <a@b.test>", Path(b"a@b.test", b"a", b"b.test")),
        (b"<a.b+c@b.test>", Path(b"a.b+c@b.test", b"a.b+c", b"b.test")),
        (b"<A@B.Test>", Path(b"A@B.Test", b"A", b"B.Test")),
        (b"<a@b.test.>", Path(b"a@b.test", b"a", b"b.test")),
        (b"<a@b_c.test>", Path(b"a@b_c.test", b"a", b"b_c.test")),
        (b"<a>", Path(b"a", b"a", b"")),
        (b"a@b.test", Path(b"a@b.test", b"a", b"b.test")),
        (b"a@b.test.", Path(b"a@b.test", b"a", b"b.test")),
        (b"<@x.test:a@b.test>", Path(b"a@b.test", b"a", b"b.test", True)),
        (b"<@x.test,@y.test:a@b.test>", Path(b"a@b.test", b"a", b"b.test", True)),
        (b"<@x.test:a>", Path(b"a", b"a", b"", True)),
        (b"<a@[192.0.2.1]>", Path(b"a@[192.0.2.1]", b"a", b"", True)),
        (b"<a@[IPv6:2001:db8::1]>", Path(b"a@[IPv6:2001:db8::1]", b"a", b"", True)),
        (b'<"a"@b.test>', Path(b"a@b.test", b"a", b"b.test")),
        (b'<"a\\b"@b.test>', Path(b"ab@b.test", b"ab", b"b.test")),
        (b'<"a b"@b.test>', Path(b'"a b"@b.test', b"a b", b"b.test")),
        (b'<"a..b"@b.test>', Path(b'"a..b"@b.test', b"a..b", b"b.test")),
        (b'<"a\\"\\\\b"@b.test>', Path(b'"a\\"\\\\b"@b.test', b'a"\\b', b"b.test")),
        (b'<"a\\@b"@b.test>', Path(b'"a@b"@b.test', b"a@b", b"b.test")),
        (b"<\xc3\xbc@b.test>", Path(b"\xc3\xbc@b.test", b"\xc3\xbc", b"b.test")),
        (b"<a@\xc3\xbc.test>", Path(b"a@\xc3\xbc.test", b"a", b"\xc3\xbc.test")),
    ],
)
def test_S2_what_is_taken(argument: bytes, path: Path) -> None:
    assert parse(argument) == (path, b"")
    if argument.startswith((b"<", b" ")):
        assert parse(argument + b" X=1") == (path, b" X=1")
        assert parse(argument + b"X") == (path, b"X")  # whether something may be glued is the caller's question


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        *[(form, b"a@b") for form in (b"  <a@b>", b"\t<a@b>", b" \t <a@b>", b"< a@b>", b"<a@b >", b"<\ta@b\t>")],
        *[(form, b"a@b") for form in (b"<<a@b>>", b"<< a@b >>", b" <<a@b>>", b"  a@b")],
        (b"scanner", b"scanner"),
        (b" scanner", b"scanner"),
        (b"<.a@b>", b".a@b"),
        (b"<a.@b>", b"a.@b"),
        (b"<a..b@c>", b"a..b@c"),
        (b"x.y.@c", b"x.y.@c"),
        (b'<"a..b"@c>', b'"a..b"@c'),  # quoted as the RFC asks: it stays so
        (b"<" + b"bounces+" + b"0" * 120 + b"@em.test>", b"bounces+" + b"0" * 120 + b"@em.test"),
        (b"<SRS0=AbCd=XY=" + b"x" * 80 + b"@f.test>", b"SRS0=AbCd=XY=" + b"x" * 80 + b"@f.test"),
    ],
)
def test_S2_forms_that_real_senders_write(argument: bytes, text: bytes) -> None:
    assert parse(argument)[0].text == text
    assert parse(argument + b" X=1")[1].lstrip() == b"X=1"


@pytest.mark.parametrize("argument", [b"<>", b" <>", b"< >", b"\t<\t>"])
def test_S2_the_null_path_and_blanks(argument: bytes) -> None:
    assert parse(argument + b" SIZE=1") == (NULL, b" SIZE=1")


def test_S2_the_null_path() -> None:
    assert parse(b"<> SIZE=1") == (NULL, b" SIZE=1")
    assert parse(b" <>")[0] is NULL


@pytest.mark.parametrize(
    "argument",
    [
        *[b"", b" ", b"<", b">", b"<a", b"a>", b"<a@>", b"<@b>", b"<@>", b"a@b>", b"<..@b>", b"<...>"],
        *[
            b"<a@b<c@d>>",
            b"<<a@b>",
            b"<<a@b> >",
            b"<<<a@b>>>",
            b"<a @b>",
            b"<a@ b>",
            b"<a@b,c@d>",
            b"<a@b;>",
            b"<g:a@b;>",
        ],
        *[b"<a@b(c)>", b"<a(c)@b>", b"<(c)a@b>", b"<a@b@c>", b"<a@.b>", b"<a@b..>"],
        *[
            b"<a@-b>",
            b"<a@b->",
            b"<a@b..c>",
            b"<a\\@b@c>",
            b'<"a"b@c>',
            b'<a"b"@c>',
            b'<"a@b>',
            b'<""@b>',
            b'<"a\tb"@c>',
        ],
        *[
            b"<a@[]>",
            b"<a@[1.2.3.4>",
            b"<a@[x]y>",
            b"<a@[x>,<b@y]>",
            b"<a@[x@y]>",
            b"<a@[x y]>",
            b"<@a:>",
            b"<@a,b:c@d>",
        ],
        *[b"<a\x00@b>", b"<a\x7f@b>", b"<a@b\x7f>", b"<a\x01@b>", b'<"\x01"@b>', b'<"\x7f"@b>', b'<"\\\x7f"@b>'],
        *[b"Joe <a@b>", b'"Joe" <a@b>', b"a@b,c@d", b"a@b;", b'"a"@b', b"a@[1.2.3.4]"],
    ],
)
def test_S2_what_is_not_taken(argument: bytes) -> None:
    with pytest.raises(BadPath):
        parse(argument)


def test_S2_lengths() -> None:
    local, domain = b"a" * MAX_LOCAL, b"d" * MAX_DOMAIN
    assert parse(b"<%b@%b>" % (local, domain))[0].text == b"%b@%b" % (local, domain)
    assert parse(b'<"%b"@d>' % (b"a" * (MAX_LOCAL - 2)))[0].local == b"a" * (MAX_LOCAL - 2)
    for argument in (
        b"<a%b@d>" % local,
        b"<a@d%b>" % domain,
        b"a@d" + domain,
        b"<a%b>" % local,
        b"<@x:a@d%b>" % domain,
    ):
        with pytest.raises(BadPath):
            parse(argument)


def test_S2_what_was_written_reads_the_same() -> None:
    for argument in (b'<"a b"@c.test>', b'<"a\\"b"@c.test>', b'<"\\a"@c.test.>', b"<@x.test:a@c.test>", b"b@c.test"):
        path = parse(argument)[0]
        again = parse(b"<%b>" % path.text)[0]
        assert (again.text, again.local, again.domain) == (path.text, path.local, path.domain)


@pytest.mark.parametrize("head", [b"<", b"<@", b'<"', b"<a@", b"", b"<@a"])
@pytest.mark.parametrize("piece", [b"a", b"a.", b"a-", b"\\a", b'\\"', b"a,@", b".a-a", b"@a,"])
def test_the_grammar_takes_no_time_to_say_no(head: bytes, piece: bytes) -> None:
    """No input makes the expressions backtrack without end: a line is 1165 octets at most."""
    began = time.process_time()
    for tail in (b"", b"!", b"@", b">"):
        try:
            parse(head + piece * (1200 // len(piece)) + tail)
        except BadPath:
            continue
    assert time.process_time() - began < 0.5
