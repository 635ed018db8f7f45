"""The transaction, and which recipients are local (rule G16)."""

from __future__ import annotations

import pytest

from proxy.gate.local import is_local
from proxy.session.smtp.transaction import Transaction
from proxy.wire.path import BadPath, parse
from proxy.wire.recipients import LocalDomains

DOMAINS = LocalDomains(["local.test", ".below.test", "b\u00fcro.test"])


@pytest.mark.parametrize(
    "path",
    [
        *[
            b"<user@local.test>",
            b"<User@LOCAL.test>",
            b"<user@local.test.>",
            b"<x@a.below.test>",
            b"<x@xn--bro-hoa.test>",
        ],
        *[
            b"<postmaster>",
            b"<PostMaster>",
            b"<user>",
            b"<us.er+tag>",
            b'<"us er"@local.test>',
            b'<"us\\er"@local.test>',
        ],
    ],
)
def test_G16_local(path: bytes) -> None:
    assert is_local(parse(path)[0], False, DOMAINS)


@pytest.mark.parametrize(
    "path",
    [
        *[b"<user@far.test>", b"<user@sub.local.test>", b"<user@below.test>", b"<user@local.test.far.test>"],
        *[
            b"<a%b@local.test>",
            b"<a!b@local.test>",
            b'<"a@b"@local.test>',
            b'<"a:b"@local.test>',
            b'<"a;b"@local.test>',
        ],
        *[
            b'<"a,b"@local.test>',
            b'<"a(b"@local.test>',
            b'<"a)b"@local.test>',
        ],
        *[b'<"a[b"@local.test>', b'<"a]b"@local.test>', b'<"a\\\\b"@local.test>', b'<"a\\"b"@local.test>'],
        *[b"</etc/passwd@local.test>", b"<|id@local.test>", b'<"|id"@local.test>', b'<"\\|id"@local.test>'],
        *[b"<a%far.test>", b"<far.test!a>", b'<"a@far.test">', b"</a>", b"<|a>"],
        *[b"<@x.test:user@local.test>", b"<@local.test:user>", b"<user@[127.0.0.1]>", b"<user@[IPv6:::1]>"],
        *["<user@b\u00fcro.test>".encode()],
    ],
)
def test_G16_not_local(path: bytes) -> None:
    assert not is_local(parse(path)[0], False, DOMAINS)


@pytest.mark.parametrize("path", [b'<"a<b"@local.test>', b'<"a>b"@local.test>', b'<"a\\>b"@local.test>'])
def test_G16_brackets_within_quotes_are_no_path(path: bytes) -> None:
    with pytest.raises(BadPath):
        parse(path)


def test_G16_a_u_label_only_under_smtputf8() -> None:
    path = parse("<user@b\u00fcro.test>".encode())[0]
    assert is_local(path, True, DOMAINS)
    assert not is_local(path, False, DOMAINS)


@pytest.mark.parametrize("char", ["\uff20", "\uff05", "\uff01", "\uff1a", "\ufe6b", "\uff5c"])
def test_G16_a_mapped_routing_character_is_one(char: str) -> None:
    """A server that maps full-width and small forms would route by it."""
    for text in (f"<{char}v@local.test>", f"<{char}far.test>"):
        assert not is_local(parse(text.encode())[0], True, DOMAINS)
    assert is_local(parse("<j\u00f6rg@local.test>".encode())[0], True, DOMAINS)


def test_a_new_transaction_has_nothing() -> None:
    transaction = Transaction(b"a@s.test", False)
    assert (transaction.unanswered, transaction.accepted, transaction.foreign) == ([], [], 0)
    assert transaction.verdict is None
    assert transaction.allowed is None
