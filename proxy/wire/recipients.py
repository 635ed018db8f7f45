"""Which recipients are local: the domain against the configured ones, and routing in the local part (rule G16).

Promises: a domain is local only if it is, octet for octet, one that the administrator named, after ASCII case
folding, one trailing dot dropped, and U-labels written as A-labels by RFC 3492.  Nothing else is mapped: no
full-width letters or dots, no sharp s to ss, no soft hyphen or joiner dropped, no canonical composition.  What can't
be read is not local, which costs its sender a lease and nobody an open relay.

Does not: parse paths, remove quotes, or take <postmaster>, source routes and address literals apart: the SMTP grammar
does (wire/path.py) and asks here about the pieces.

Rejected: the standard library's "idna" codec (IDNA 2003: folds sharp s, full-width forms and U+3002, so that it makes
a foreign domain equal to a local one).  IDNA 2008 tables: what matters is that nothing is made equal, not that each
registrable label is known; so a U-label is held to what RFC 5891 4.2 asks in general (normal form, lower case,
letters, marks and digits) and then compared.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_DOMAIN_LIMIT = 255  # octets, RFC 5321 4.5.3.1.2
_LABEL = re.compile(rb"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # RFC 5321 4.1.2 sub-domain, RFC 1035 2.3.4 length
_ROUTING = b'%!@:;,()<>[]\\"'  # percent hack, bang path, source route, DECnet, group, comment, include (rule G16)


class LocalDomains:
    """The configured local domains: exact ("example.com") and subdomains only (".example.net")."""

    def __init__(self, domains: Iterable[str]) -> None:
        """ValueError names the first that is no domain; U-labels and A-labels are both taken."""
        exact: set[bytes] = set()
        suffixes: set[bytes] = set()
        for text in domains:
            domain = _ascii_form(text.removeprefix(".").removesuffix("."))
            if domain is None or domain.rpartition(b".")[2].isdigit():  # a name never ends in a number; an address does
                raise ValueError(f"{text!r} is not a domain (example.com, or .example.com for its subdomains)")
            if text.startswith("."):
                suffixes.add(b"." + domain)
            else:
                exact.add(domain)
        self._exact = frozenset(exact)
        self._suffixes = frozenset(suffixes)

    def covers(self, domain: bytes, smtputf8: bool) -> bool:
        """Whether mail for `domain`, as the client wrote it, is local; `smtputf8`: the transaction has SMTPUTF8."""
        name = domain.lower().removesuffix(b".")  # bytes.lower is ASCII only, so U+212A never becomes k
        if name in self._exact:
            return True
        if not name.isascii():
            read = _read(domain.removesuffix(b".")) if smtputf8 else None
            if read is None:
                return False
            name = read
        return name in self._exact or self._below(name)

    def _below(self, name: bytes) -> bool:
        """Whether the name is a subdomain, of one label or more, of a configured ".suffix"."""
        dot = name.find(b".") if self._suffixes else -1
        while dot > 0:
            if name[dot:] in self._suffixes:
                return _read(name) is not None  # empty labels, odd octets: not a domain, so not local
            dot = name.find(b".", dot + 1)
        return False


def is_routing(local: bytes) -> bool:
    """Whether the content of a local part, quotes and quoted-pairs removed, may send mail on to another place.

    Full-width and small forms of the routing characters count too: a server that maps U+FF20 to @ routes by it.
    """
    if not local.isascii():
        local = unicodedata.normalize("NFKC", local.decode("utf-8", "replace")).encode()
    if len(local.translate(None, _ROUTING)) != len(local) or local.lstrip(b" ").startswith((b"/", b"|")):
        return True
    return b"/" in local and b".." in local.split(b"/")  # ../x: a path to who knows where


def _read(domain: bytes) -> bytes | None:
    """A domain from the wire as _ascii_form gives it; None when it is not one."""
    if len(domain) > _DOMAIN_LIMIT:
        return None
    try:
        return _ascii_form(domain.decode())
    except UnicodeDecodeError:
        return None


def _ascii_form(domain: str) -> bytes | None:
    """The domain with each U-label as an A-label and ASCII in lower case; None when it is not a domain."""
    labels = []
    for text in domain.split("."):
        label = _label(text)
        if label is None:
            return None
        labels.append(label)
    name = b".".join(labels)
    return name if len(name) <= _DOMAIN_LIMIT else None


def _label(text: str) -> bytes | None:
    if text.isascii():
        label = text.lower().encode("ascii")
    elif _is_u_label(text):
        label = b"xn--" + text.encode("punycode")
    else:
        return None
    return label if _LABEL.fullmatch(label) else None


def _is_u_label(text: str) -> bool:
    """RFC 5891 4.2: in normal form, lower case, letters, marks, digits and hyphens only.

    NFKC is asked for, not only NFC: a label that compatibility mapping would change (full-width letters, ligatures) is
    never valid, and there are servers that map it.
    """
    return (
        len(text) <= 63
        and unicodedata.normalize("NFKC", text) == text == text.lower()
        and text[2:4] != "--"
        and all(char == "-" or unicodedata.category(char)[0] in "LMN" for char in text)
        and not text.endswith("-")
        and unicodedata.category(text[0])[0] in "LN"
    )
