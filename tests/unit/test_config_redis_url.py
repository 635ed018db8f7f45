"""proxy/config/redis_url.py: the URL of a shared store, and that its password is never shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import dump
from proxy.config.places import store_url
from proxy.config.redis_url import MASK, RedisUrl, masked, parse
from proxy.config.values import Wrong
from tests.support.configuration import loaded, problems

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "sEcReT"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("redis://h", RedisUrl("h")),
        ("redis://192.0.2.1:7000/3", RedisUrl("192.0.2.1", 7000, 3)),
        ("redis://[2001:db8::1]/0", RedisUrl("2001:db8::1")),
        ("redis://:pw@h", RedisUrl("h", password="pw")),
        ("redis://al:p%40%2F%3F%23%3A@h:1/", RedisUrl("h", 1, user="al", password="p@/?#:")),
        ("rediss://h", RedisUrl("h", tls=True)),
        ("rediss://h?ssl_ca_certs=ca.pem", RedisUrl("h", tls=True, ca=Path("/base/ca.pem"))),
        (
            "rediss://h:1/2?ssl_certfile=/c.pem&ssl_keyfile=k.pem",
            RedisUrl("h", 1, 2, tls=True, certificate=Path("/c.pem"), key=Path("/base/k.pem")),
        ),
    ],
)
def test_a_url_is_taken_and_its_own_text_means_the_same(text: str, url: RedisUrl) -> None:
    assert parse(text, Path("/base")) == url
    assert parse(url.text()) == url


texts = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=["Cc", "Zs"]), min_size=1)


@given(user=texts, password=texts.filter(lambda text: text != MASK))
def test_whatever_is_in_user_and_password_comes_back(user: str, password: str) -> None:
    url = RedisUrl("h", user=user, password=password)
    assert parse(url.text()) == url
    assert password not in repr(url) or password in repr(RedisUrl("h", user=user))


WRONG = [
    ("redis:h", "begins with redis://"),
    ("redis://", "must name one host"),
    (f"redis://:{SECRET}@", "must name one host"),
    (f"redis://:{SECRET}@h:port/0", "no usable host or port"),
    (f"redis://:{SECRET}@h:65536", "no usable host or port"),
    (f"redis://:{SECRET}@[::1/0", "no usable host or port"),
    (f"redis://:{SECRET}@h:0", "has port 0"),
    (f"redis://:{SECRET}@h/one", "the number of a database"),
    (f"redis://:{SECRET}@h/-1", "the number of a database"),
    (f"redis://:{SECRET}@h/0/1", "the number of a database"),
    (f"redis://:{SECRET}@h/70000", "the number of a database"),
    (f"redis://:{SECRET}@a:1,b:2/0", "no usable host or port"),
    (f"redis://:{SECRET}@a,b/0", "must name one host"),
    (f"redis://:{SECRET}#x@h/0", "write %23"),
    (f"redis://al{SECRET}@h/0", "a user without a password"),
    (f"redis://:{MASK}@h/0", "the mask that popgate check prints"),
    (f"redis://:{SECRET}@h/0?db=1", "take only ssl_ca_certs, ssl_certfile, ssl_keyfile, not db"),
    (f"rediss://:{SECRET}@h/0?ssl_cert_reqs=none", "not ssl_cert_reqs"),
    (f"redis://:{SECRET}/x@h/0", "usable host or port"),
    (f"rediss://:x?{SECRET}@h/0", "usable host or port"),
    (f"redis://:{SECRET}@h?ssl_ca_certs=ca.pem", "begin it with rediss://"),
    (f"rediss://:{SECRET}@h?ssl_ca_certs=", "without a path"),
    (f"rediss://:{SECRET}@h?ssl_keyfile=k.pem", "without its ssl_certfile"),
]


@pytest.mark.parametrize(("text", "hint"), WRONG)
def test_what_is_wrong_is_said_with_the_cure_and_without_the_url(text: str, hint: str) -> None:
    with pytest.raises(Wrong, match="redis URL") as caught:
        parse(text)
    assert hint in str(caught.value)
    assert SECRET not in str(caught.value)
    assert SECRET not in masked(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("memory:", "memory:"),
        ("sqlite:/var/lib/leases.db", "sqlite:/var/lib/leases.db"),
        (f"redis://:{SECRET}@h:1/2", f"redis://:{MASK}@h:1/2"),
        (f"rediss://al:{SECRET}@h", f"rediss://al:{MASK}@h:6379/0"),
        ("redis://h", "redis://h:6379/0"),
        (f"REDIS://:{SECRET}@h", f"REDIS:{MASK}@h"),
        (f"valkey://:{SECRET}@h", f"valkey:{MASK}@h"),
    ],
)
def test_people_see_a_mask(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize("wrap", [repr, dump])
def test_the_password_is_in_nothing_that_the_configuration_says_of_itself(
    tmp_path: Path, wrap: Callable[[object], str]
) -> None:
    config = loaded(tmp_path, f'[store]\nurl = "redis://al:{SECRET}@h/0"\n')
    assert config.store.redis == RedisUrl("h", user="al", password=SECRET)
    assert config.store.path is None
    assert SECRET not in wrap(config)


def test_the_mask_that_check_prints_is_no_password(tmp_path: Path) -> None:
    shown = dump(loaded(tmp_path, f'[store]\nurl = "redis://:{SECRET}@h/0"\n'))
    (line,) = [line for line in shown.splitlines() if line.startswith("url = ")]
    [problem] = problems(tmp_path, f"[store]\n{line}\n")
    assert problem.endswith("the mask that popgate check prints instead of the password; write the password")


def test_a_mistyped_store_does_not_show_its_password(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, f'[store]\nurl = "reddis://:{SECRET}@h/0"\n')
    assert "is not a lease store" in problem
    assert SECRET not in problem


def test_relative_paths_start_where_all_others_do() -> None:
    assert store_url(Path("/etc/popgate"))("rediss://h?ssl_ca_certs=ca.pem") == (
        "rediss://h:6379/0?ssl_ca_certs=/etc/popgate/ca.pem"
    )
