"""wire/recipients.py: which recipients are local (rule G16; C36, C66 to C72 of the threat list)."""

from __future__ import annotations

import pytest

from proxy.wire.recipients import LocalDomains, is_routing

LOCAL = LocalDomains(["example.com", ".example.net", "bücher.test", "xn--strae-oqa.test", ".größe.test"])


@pytest.mark.parametrize("domain", [b"example.com", b"EXAMPLE.com", b"Example.Com", b"example.com."])
def test_G16_exact_domains_in_any_ascii_case_with_one_trailing_dot(domain: bytes) -> None:
    assert LOCAL.covers(domain, False)
    assert LOCAL.covers(domain, True)


@pytest.mark.parametrize(
    "domain",
    [
        *[
            b"sub.example.com",
            b"xexample.com",
            b"example.com.evil.test",
            b"evil-example.com",
            b"example.co",
            b"xample.com",
        ],
        *[
            b"example.com..",
            b".example.com",
            b"example..com",
            b"",
            b".",
            b"..",
            b"com",
            b"example.com ",
            b" example.com",
        ],
        *[b"example.com\0", b"example.com\t", b"example.com@evil.test", b"evil.test,example.com", b"[127.0.0.1]"],
        *[b"[IPv6:::1]", b"127.0.0.1", b"0x7f000001", b"ex\xffmple.com", b"example.com/"],
    ],
)
def test_G16_nothing_near_a_local_domain_is_local(domain: bytes) -> None:
    assert not LOCAL.covers(domain, False)
    assert not LOCAL.covers(domain, True)


@pytest.mark.parametrize("domain", [b"a.example.net", b"A.B.Example.NET", b"a.example.net.", b"xn--a.example.net"])
def test_G16_a_dot_in_front_covers_subdomains(domain: bytes) -> None:
    assert LOCAL.covers(domain, False)


@pytest.mark.parametrize(
    "domain",
    [
        *[b"example.net", b".example.net", b"..example.net", b"a..example.net", b"aexample.net", b"a.example.net.."],
        *[b"-.example.net", b"-a.example.net", b"a-.example.net", b"a b.example.net", b"a@b.example.net"],
        *[b"a%b.example.net", b"a\0.example.net", b"<a.example.net", b"[1].example.net", b"a.example.net.evil.test"],
        *[b"a" * 64 + b".example.net", b"a." * 124 + b".example.net", b"a." * 125 + b"example.net", b"a_b.example.net"],
    ],
)
def test_G16_a_subdomain_is_a_domain_of_its_own_and_well_formed(domain: bytes) -> None:
    assert not LOCAL.covers(domain, False)
    assert not LOCAL.covers(domain, True)


def test_G16_the_longest_subdomain() -> None:
    assert LOCAL.covers(b"a" * 63 + b".example.net", False)
    assert LOCAL.covers(b"a." * 122 + b"example.net", False)  # 255 octets


@pytest.mark.parametrize("domain", ["bücher.test", "bücher.TEST", "bücher.test.", "straße.test", "größe.größe.test"])
def test_G16_a_u_label_only_under_smtputf8(domain: str) -> None:
    assert LOCAL.covers(domain.encode(), True)
    assert not LOCAL.covers(domain.encode(), False)


@pytest.mark.parametrize(
    "domain", [b"xn--bcher-kva.test", b"XN--BCHER-KVA.test", b"xn--strae-oqa.test", b"a.xn--gre-6ka8i.test"]
)
def test_G16_an_a_label_is_the_u_label_configured(domain: bytes) -> None:
    assert LOCAL.covers(domain, False)


@pytest.mark.parametrize(
    "domain",
    [
        "Bücher.test",  # not equal to its own lower case
        "bÜcher.test",
        "bu\u0308cher.test",  # not in NFC
        "bucher.test",
        "strasse.test",  # sharp s is not ss
        "straẞe.test",
        "example.\u212aom",  # Kelvin sign
        "e\uff58ample.com",  # full-width x
        "example\u3002com",  # ideographic full stop, and the other two dots of IDNA 2003
        "example\uff0ecom",
        "example\uff61com",
        "exam\u00adple.com",  # soft hyphen
        "exam\u200dple.com",  # zero width joiner
        "exam\u200cple.com",
        "\u0435xample.com",  # Cyrillic ie
        "ex\u0430mple.com",
        "example.c\u043em",
        "example.com\u2028",
        "bücher.test\u3002",
        "xn--bücher.test",
        "examp\u0131e.com",
    ],
)
def test_G16_no_other_mapping(domain: str) -> None:
    assert not LOCAL.covers(domain.encode(), True)
    assert not LOCAL.covers(domain.encode(), False)


@pytest.mark.parametrize(
    "head",
    [
        "a＠b",
        "a。b",
        "a\u00adb",
        "a\u200db",
        "a\u2028b",
        "a\u0085b",
        "\u0301b",
        "ﬁ",
        "１",
        "İ",
        "ab--ü",
        "ü" * 64,
        "-ü",
        "ü-",
    ],
)
def test_G16_a_u_label_below_a_suffix_is_letters_marks_and_digits(head: str) -> None:
    assert not LOCAL.covers(f"{head}.example.net".encode(), True)


def test_G16_a_u_label_below_a_suffix() -> None:
    assert LOCAL.covers("löß.example.net".encode(), True)
    assert not LOCAL.covers("löß.example.net".encode(), False)


@pytest.mark.parametrize(
    "domain", [b"b\xfccher.test", b"\xff.example.net", b"\xed\xa0\x80.example.net", b"\xc0\xae.example.net"]
)
def test_G16_what_is_not_utf_8_is_not_local(domain: bytes) -> None:
    assert not LOCAL.covers(domain, True)


def test_no_domains_cover_nothing() -> None:
    assert not LocalDomains([]).covers(b"example.com", False)
    assert not LocalDomains([]).covers(b"", True)


def test_configured_domains_are_folded_like_the_wire() -> None:
    domains = LocalDomains(["Example.COM.", ".Example.NET", "XN--BCHER-KVA.test"])
    assert domains.covers(b"example.com", False)
    assert domains.covers(b"a.example.net", False)
    assert domains.covers("bücher.test".encode(), True)


@pytest.mark.parametrize(
    "text",
    [
        *["", ".", "..", "..example.com", "example..com", "example.com..", "user@example.com", "*.example.com", "a b"],
        *["192.0.2.1", "[192.0.2.1]", "::1", "-a.test", "a_b.test", "Bücher.test", "example。com", "a\u200db.test"],
        *["a" * 64 + ".test", "a." * 128 + "test", "\ud800.test", "example.com\n"],
    ],
)
def test_what_is_no_domain_is_named(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        LocalDomains(["example.com", text])
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize("octet", list(b'%!@:;,()<>[]\\"'))
@pytest.mark.parametrize("around", [(b"", b""), (b"a", b""), (b"", b"b"), (b"a", b"b")])
def test_G16_routing_octets_anywhere(octet: int, around: tuple[bytes, bytes]) -> None:
    assert is_routing(around[0] + bytes([octet]) + around[1])


@pytest.mark.parametrize(
    "local", [b"/c=us/prmd=x/", b"/etc/x", b"|id", b"|", b"/", b" |id", b"  /x", b":include:/etc/passwd", b"v::R"]
)
def test_G16_files_pipes_and_gateways(local: bytes) -> None:
    assert is_routing(local)


@pytest.mark.parametrize(
    "local",
    [
        *[
            b"user",
            b"user+tag",
            b"first.last",
            b"a/b",
            b"a|b",
            b"SRS0=x=y=z=u",
            b"!"[:0],
            b"user name",
            b"o'hara",
            b"a=b",
        ],
        *[b"{x}", b"#", b"$", b"&", b"*", b"-", b"?", b"^", b"_", b"`", b"~", "jürgen".encode()],
    ],
)
def test_G16_plain_local_parts_do_not_route(local: bytes) -> None:
    assert not is_routing(local)
