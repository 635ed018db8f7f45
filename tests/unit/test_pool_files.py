"""scripts/haproxy, and the commands of docs/pool.md that put it in place: each says what the others expect.

tests/e2e/test_pool.py runs all of it.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.cli import main
from proxy.config import load
from proxy.supervisor import ANNOUNCE

from ..support.needs import need

if TYPE_CHECKING:
    from proxy.config import Config

ROOT = Path(__file__).parents[2]
POOL = ROOT / "scripts" / "haproxy"
HAPROXY = (POOL / "haproxy.cfg").read_text()
PAGE = (ROOT / "docs" / "pool.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^listen (\w+)\n((?: .*\n)+)", HAPROXY, re.MULTILINE))


def seconds(key: str) -> int:
    (value,) = re.findall(rf"{key} (\d+[smh])\b", HAPROXY)
    return int(value[:-1]) * {"s": 1, "m": 60, "h": 3600}[value[-1]]


@pytest.fixture
def folder(tmp_path: Path, certificate: Path) -> Path:
    """/etc/popgate on a node, under another name."""
    shutil.copytree(ROOT / "conf.d", tmp_path / "conf.d")
    shutil.copy(POOL / "pool.toml", tmp_path / "conf.d" / "99-pool.toml")
    (tmp_path / "certs").mkdir()
    shutil.copy(certificate, tmp_path / "certs" / "mail.pem")
    return tmp_path / "conf.d"


@pytest.fixture
def node(folder: Path) -> Config:
    return load(folder)


def test_a_node_takes_its_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["check", "-c", str(folder)])
    said = capsys.readouterr()
    assert (code, said.err) == (0, "")
    assert "redis://popgate:********@192.0.2.30:6379/0" in said.out


@pytest.mark.parametrize("names", [{}, {"NODE1": "localhost", "NODE2": "localhost"}])
def test_haproxy_takes_its_configuration(names: dict[str, str]) -> None:
    (program,) = need("haproxy")
    done = subprocess.run(
        [program, "-c", "-f", str(POOL / "haproxy.cfg")],
        env=names,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "[WARNING]" not in done.stderr


def test_the_balancer_has_a_door_for_each_listener(node: Config) -> None:
    assert set(SECTIONS) == set(node.listeners)
    for name, listener in node.listeners.items():
        (port,) = {end.port for end in listener.bind}
        text = SECTIONS[name]
        assert re.findall(r"bind :(\d+)", text) == [str(port)]
        servers = re.findall(r'server node(\d) "\$\{NODE(\d)\}:(\d+)"(.*)', text)
        assert [server[:3] for server in servers] == [("1", "1", str(port)), ("2", "2", str(port))]
        assert ("check-ssl" in text) is (listener.tls == "implicit")
        assert ("option smtpchk EHLO" in text) is (listener.protocol == "smtp")


def test_N1_every_listener_demands_a_header_and_the_balancer_sends_it(node: Config) -> None:
    assert {listener.accept_proxy_from for listener in node.listeners.values()} == {("192.0.2.50",)}
    assert re.search(r"default-server .*\bcheck .*send-proxy-v2 check-send-proxy", HAPROXY)
    assert HAPROXY.count("tcp-check connect default") == 2, "else a check would come without"


def test_N6_the_agent_is_asked_where_it_answers_and_often_enough(node: Config) -> None:
    assert re.findall(r"agent-port (\d+)", HAPROXY) == [str(node.admin.agent).rpartition(":")[2]]
    assert seconds("agent-inter") < ANNOUNCE / 2


def test_the_balancer_waits_longer_than_popgate(node: Config) -> None:
    limits = node.limits
    longest = max(limits.pop_idle_timeout, limits.command_timeout, limits.data_timeout, limits.data_end_timeout)
    assert min(seconds("timeout client"), seconds("timeout server")) > longest
    assert int(re.findall(r"maxconn (\d+)", HAPROXY)[0]) == 2 * limits.connections


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("file", ["pool.toml", "haproxy.cfg"])
def test_the_page_s_commands_put_all_addresses_into_a_file(file: str, tmp_path: Path) -> None:
    """With other addresses in the places of ours."""
    (source, target) = next(words[1:] for words in commands() if words[0] in ("cp", "scp") and words[1].endswith(file))
    assert (ROOT / source.partition("/opt/popgate/")[2]).is_file()
    (script,) = (words[2] for words in commands() if words[:2] == ["sed", "-i"] and words[3] == target)
    yours = {"192.0.2": "198.51.100", "PASSWORD": "hunter2"}
    for ours, other in yours.items():
        script = re.sub(rf"/{re.escape(ours)}([^/]*)/(?=;|$)", rf"/{other}\1/", script)
    copy = tmp_path / file
    shutil.copy(POOL / file, copy)
    subprocess.run(["sed", "-i", script, str(copy)], check=True)
    lines = [line for line in copy.read_text().splitlines() if not line.startswith("#")]
    assert not re.search(r"192\.0\.2|PASSWORD", "\n".join(lines))
    assert "198.51.100." in "\n".join(lines)
