"""The URL of a shared lease store: redis://USER:PASSWORD@HOST:PORT/DB, or rediss:// for TLS.

The form is redis-py's.  Of its query only where the TLS files are: ssl_ca_certs (a file or folder of the only issuers
that count), ssl_certfile and ssl_keyfile (a certificate to show).  The server's certificate is always verified: who
could pose as the store could open the gate.  Reserved characters in user and password are written %XX.

Promise: what is wrong with a URL is said without repeating it, because it may hold the password; `masked` is for
everything that people see.  Sentinels, clusters and unix sockets are not taken: one name or address that moves with
the server is followed (leases/redis/connection.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from .values import Wrong

if TYPE_CHECKING:
    from urllib.parse import SplitResult

SCHEMES: Final = ("redis:", "rediss:")
MASK: Final = "********"
MAX_DATABASE: Final = 65535  # as many as anybody has; the server has 16 unless told otherwise
_EXAMPLE = '"redis://redis.example.com:6379/0"'
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """What the URL says."""

    host: str
    """Name or address."""
    port: int = 6379
    """TCP."""
    database: int = 0
    """Its number."""
    user: str = ""
    """Empty: the default user."""
    password: str = field(default="", repr=False)
    """Empty: none is needed."""
    tls: bool = False
    """Whether the scheme is rediss."""
    ca: Path | None = None
    """The authorities to believe; None: the system's."""
    certificate: Path | None = None
    """Ours, where the server asks for one."""
    key: Path | None = None
    """Of the certificate; None: it is in the same file."""

    def text(self) -> str:
        """The URL, password and all: for programs, never for people."""
        login = quote(self.user, safe="")
        if self.password:
            login += ":" + (MASK if self.password == MASK else quote(self.password, safe=""))
        host = f"[{self.host}]" if ":" in self.host else self.host
        files = zip(_FILES, (self.ca, self.certificate, self.key), strict=True)
        query = urlencode([(name, str(path)) for name, path in files if path], safe="/")
        return (
            f"redis{'s' if self.tls else ''}://{login}{'@' if login else ''}{host}:{self.port}/{self.database}"
            f"{'?' if query else ''}{query}"
        )


def parse(text: str, base: Path = Path()) -> RedisUrl:
    """Raises Wrong; relative paths are taken from `base`."""
    if "#" in text:
        raise Wrong("the redis URL has a # in it; in user or password write %23")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Wrong(
            f"the redis URL has no usable host or port; write for example {_EXAMPLE}; in user and password write "
            "/ as %2F, ? as %3F, @ as %40"
        ) from None
    if parts.scheme not in ("redis", "rediss") or not text.startswith(f"{parts.scheme}://"):
        raise Wrong(f"a redis URL begins with redis:// or rediss://; write for example {_EXAMPLE}")
    if not host or "," in host or "%" in host:
        raise Wrong(f"the redis URL must name one host; write for example {_EXAMPLE}")
    if port == 0:
        raise Wrong("the redis URL has port 0; write the port that the server listens on")
    password = unquote(parts.password or "")
    if password == MASK:
        raise Wrong("the redis URL has the mask that popgate check prints instead of the password; write the password")
    if parts.username and not password:
        raise Wrong("the redis URL has a user without a password; write redis://USER:PASSWORD@HOST:PORT/DB")
    found = RedisUrl(
        host=host,
        port=port or 6379,
        database=_database(parts.path),
        user=unquote(parts.username or ""),
        password=password,
        tls=parts.scheme == "rediss",
    )
    return _with_files(found, parts, base)


def masked(text: str) -> str:
    """A store's URL as people may see it."""
    if text.startswith("sqlite:"):
        return text
    if not text.startswith(SCHEMES):  # mistyped, perhaps
        return re.sub(r":.*@", f":{MASK}@", text)
    try:
        url = parse(text)
    except Wrong:
        return f"{text.partition(':')[0]}:{MASK}"
    return replace(url, password=MASK if url.password else "").text()


def _database(path: str) -> int:
    number = path.removeprefix("/")
    if not number:
        return 0
    if not (number.isascii() and number.isdigit()) or int(number[:6]) > MAX_DATABASE:
        raise Wrong("the redis URL must end in the number of a database, like /0")
    return int(number)


def _with_files(url: RedisUrl, parts: SplitResult, base: Path) -> RedisUrl:
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(given.keys() - set(_FILES)):
        raise Wrong(f"the redis URL has an option that is not taken here; take only {', '.join(_FILES)}, not "
                    f"{', '.join(name for name in unknown if name.isidentifier()) or 'that'}")  # fmt: skip
    if given and not url.tls:
        raise Wrong("the redis URL names TLS files but has no TLS; begin it with rediss://")
    if "" in given.values():
        raise Wrong("the redis URL names a TLS file without a path; write one, or take it out")
    if "ssl_keyfile" in given and "ssl_certfile" not in given:
        raise Wrong("the redis URL has a ssl_keyfile without its ssl_certfile; name both")
    ca, certificate, key = (base / given[name] if name in given else None for name in _FILES)
    return replace(url, ca=ca, certificate=certificate, key=key)
