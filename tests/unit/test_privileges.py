"""privileges.py: becoming somebody else, for good."""

from __future__ import annotations

import os

import pytest

from proxy.errors import ConfigError
from proxy.privileges import become

from ..support.nobody import as_nobody


def test_an_unknown_user_is_named() -> None:
    with pytest.raises(ConfigError, match="no user 'nobody-of-that-name'"):
        become("nobody-of-that-name")


def test_nobody_named_nobody_changed() -> None:
    before = os.getresuid()
    become("")
    assert os.getresuid() == before


def test_root_becomes_another_for_good() -> None:
    code = """
print(len(set(os.getresuid())), os.getuid() != 0, len(set(os.getresgid())), os.getgid() != 0, 0 not in os.getgroups())
try:
    os.setuid(0)
except PermissionError:
    print("never again")
become('nobody')
"""
    assert as_nobody(code).split("\n")[:2] == ["1 True 1 True True", "never again"]


def test_who_is_not_root_can_t_become_another() -> None:
    code = "try:\n    become('root')\nexcept ConfigError as error:\n    print(error)"
    assert "only root can become 'root'" in as_nobody(code)
