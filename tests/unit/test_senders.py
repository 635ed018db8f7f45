"""senders.py: which sender addresses a login may use (rule G10)."""

from __future__ import annotations

import pytest

from proxy.gate.senders import Senders

MAP = {
    "Anna": ("Sales@example.net", "anna.smith@example.org"),
    "boss@example.com": ("@example.com",),
    "scanner": ("@printers.example.net", "scan@example.org"),
}
RULE = Senders(["example.com", ".example.com", "b\u00fccher.example"], MAP)


@pytest.mark.parametrize(
    ("login", "sender"),
    [
        ("anna", "anna"),
        ("anna", "anna@example.com"),
        ("ANNA", "Anna@Example.COM"),
        ("anna", "anna@sub.example.com"),
        ("anna", "anna@xn--bcher-kva.example"),
        ("anna", "anna@b\u00fccher.example"),
        ("anna", "sales@example.net"),
        ("anna", "ANNA.SMITH@example.org"),
        ("anna@example.com", "anna@example.com"),
        ("anna@far.test", "anna@far.test"),
        ("boss@example.com", "anyone@example.com"),
        ("scanner", "third-floor@printers.example.net"),
        ("scanner", "scan@example.org"),
        ("j\u00f6rg", "j\u00f6rg@example.com"),
        ("anna", ""),
        ("nobody-in-the-map", ""),
    ],
)
def test_G10_its_own(login: str, sender: str) -> None:
    assert RULE.match(login, sender)


@pytest.mark.parametrize(
    ("login", "sender"),
    [
        ("anna", "bert@example.com"),
        ("anna", "anna@far.test"),
        ("anna", "anna@notexample.com"),
        ("anna", "xanna@example.com"),
        ("anna", "anna@example.com@example.com"),
        ("anna", "@relay.test:anna@example.com"),
        ("anna", "anna%far.test@example.com"),
        ("anna", "sales@example.org"),
        ("anna", "anna@"),
        ("anna", "@example.com"),
        ("anna@example.com", "anna@sub.example.com"),
        ("anna@example.com", "anna"),
        ("bert", "sales@example.net"),
        ("boss", "anyone@example.com"),
        ("boss@example.com", "anyone@sub.example.com"),
        ("scanner", "a@b@far.test"),
        # A letter that becomes an ASCII one in small letters is another letter, and another address.
        ("karl", "\u212aarl@example.com"),
        ("karl", "karl@\u212aarl.test"),
    ],
)
def test_G10_another_s(login: str, sender: str) -> None:
    assert not RULE.match(login, sender)


@pytest.mark.parametrize("sender", ["?SCRAM-SHA-1@example.com", "?SCRAM-SHA-1", "anna@example.com", ""])
def test_S10_a_login_that_could_not_be_read_may_use_none(sender: str) -> None:
    assert not RULE.match("?SCRAM-SHA-1", sender)


@pytest.mark.parametrize(
    ("login", "bare"),
    [
        *[("scanner", "scanner"), ("Scanner ", "scanner"), (" scanner", "scanner"), ("scanner x", "scanner")],
        *[("SCANNER@Example.COM", "scanner"), ("scanner@sub.example.com.", "scanner"), ("\u017fcanner", "scanner")],
        *[("scanner@far.test", "scanner@far.test"), ("@example.com", "@example.com"), ("", ""), (" ", "")],
        *[("a\udcff@example.com", "a\udcff"), ("scanner@\udcff", "scanner@\udcff")],
    ],
)
def test_G13_a_login_as_a_server_may_read_it(login: str, bare: str) -> None:
    assert RULE.bare(login) == bare


def test_without_local_domains_a_login_is_only_itself() -> None:
    rule = Senders([], {})
    assert rule.match("anna@example.com", "anna@example.com")
    assert not rule.match("anna", "anna@example.com")


def test_odd_octets_of_a_sender_are_no_trouble() -> None:
    """Events show octets that are not UTF-8 with escapes; logins keep theirs as surrogates."""
    assert not RULE.match("anna", "anna@example.com\\xff")
    assert not RULE.match("a\udcff", "anna@example.com")
    assert RULE.match("a\udcff", "a\udcff@example.com")
