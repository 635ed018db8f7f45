"""A domain is local only if it is one that was configured (rule G16), whatever octets are asked about."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.recipients import LocalDomains, is_routing

EXACT = LocalDomains(["example.com", "bücher.test"])
BELOW = LocalDomains([".example.com"])
FORMS = {b"example.com", b"xn--bcher-kva.test"}

pieces = st.sampled_from(
    [
        *"example.com",
        "example",
        "com",
        "bücher",
        "bu\u0308cher",
        "BÜCHER",
        "test",
        "xn--bcher-kva",
        "sub",
        "-",
        ".",
        "@",
        "%",
        *["\u3002", "\uff0e", "\u212a", "\u00ad", "\u200d", "ß", "ss", "\0", " ", "E", "\u0131", "\uff45"],
    ]
)
names = st.lists(pieces, max_size=8).map("".join)


@given(names | st.text(max_size=20), st.booleans())
def test_G16_local_is_what_was_configured_and_nothing_else(name: str, smtputf8: bool) -> None:
    if not EXACT.covers(name.encode("utf-8", "replace"), smtputf8):
        return
    ascii_folded = re.sub("[A-Z]", lambda found: found[0].lower(), name).removesuffix(".")
    assert ascii_folded.encode() in FORMS or (smtputf8 and ascii_folded == "bücher.test")
    assert unicodedata.is_normalized("NFC", name)


@given(names | st.text(max_size=20), st.booleans())
def test_G16_below_a_suffix_only_well_formed_names(name: str, smtputf8: bool) -> None:
    if BELOW.covers(name.encode("utf-8", "replace"), smtputf8):
        head = name.lower().removesuffix(".").removesuffix(".example.com")
        assert head != name.lower().removesuffix(".")
        assert all(re.fullmatch(r"[\w-]+", label) and "_" not in label for label in head.split("."))
        assert name.isascii() or smtputf8


@given(st.binary(max_size=300), st.booleans())
def test_G16_no_octets_raise(domain: bytes, smtputf8: bool) -> None:
    assert not EXACT.covers(b"." + domain, smtputf8)
    assert not BELOW.covers(domain + b"\0.example.com", smtputf8)
    is_routing(domain)


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyzäöüßéø0123456789", min_size=1, max_size=20))
def test_G16_u_labels_and_a_labels_are_one_domain(label: str) -> None:
    a_label = label.encode() if label.isascii() else b"xn--" + label.encode("punycode")
    for domains in (LocalDomains([f"{label}.test"]), LocalDomains([f"{a_label.decode()}.test"])):
        assert domains.covers(a_label + b".test", False)
        assert domains.covers(f"{label}.test".encode(), True)
