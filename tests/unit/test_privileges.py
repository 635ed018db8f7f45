"""privileges.py: becoming somebody else, for good."""

from __future__ import annotations

import os

import pytest

from proxy.errors import ConfigError
from proxy.node.privileges import become

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


KEEPING = "become('nobody', keep_net_raw=True)"


def test_one_right_may_be_kept_and_no_other() -> None:
    code = """
print(len(set(os.getresuid())), os.getuid() != 0, is_permitted())
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if line.startswith("Cap"))
print(int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 1 << 13, int(status["CapInh"], 16))
if os.fork() == 0:
    with socket.socket() as sock:
        make_transparent(sock)
        sock.bind(("192.0.2.7", 0))
        print(sock.getsockname()[0], flush=True)
    os._exit(0)
os.wait()
try:
    os.setuid(0)
except PermissionError:
    print("never again")
demand_net_raw(["upstream.smtp.source"])
"""
    assert as_nobody(code, KEEPING).split("\n")[:4] == ["1 True True", "True 0", "192.0.2.7", "never again"]


def test_source_client_without_the_right_is_told_with_the_cure() -> None:
    code = """
demand_net_raw([])
try:
    demand_net_raw(["upstream.smtp.source"])
except ConfigError as error:
    print(error)
"""
    assert 'upstream.smtp.source: "client" needs CAP_NET_RAW; start popgate as root' in as_nobody(code)
