"""scripts/docker: what it names is there, and popgate and HAProxy take its configurations.  No image is built here."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.cli import main, parser_of_all
from proxy.config import load
from proxy.supervisor import _GRACE, ANNOUNCE

if TYPE_CHECKING:
    from proxy.config import Config

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "scripts" / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = (DOCKER / "compose.yaml").read_text()


def sources() -> list[str]:
    """What the image is made of."""
    lines = re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE, re.MULTILINE)
    return [word for line in lines for word in line.split()[:-1]]


@pytest.fixture
def folder(tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/etc/popgate in a node of the pool, under another name."""
    shutil.copytree(ROOT / "conf.d", tmp_path / "conf.d")
    shutil.copy(DOCKER / "pool.toml", tmp_path / "conf.d" / "99-local.toml")
    (tmp_path / "certs").mkdir()
    shutil.copy(certificate, tmp_path / "certs" / "mail.pem")
    for variable, place in re.findall(r"(STATE_DIRECTORY|RUNTIME_DIRECTORY)=(\S+)", DOCKERFILE):
        monkeypatch.setenv(variable, place)
    return tmp_path / "conf.d"


@pytest.fixture
def node(folder: Path) -> Config:
    return load(folder)


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    for name in sources():
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {project["readme"], project["license"]["file"]} <= set(sources()), "the build reads them"


def test_it_installs_extras_that_exist() -> None:
    (extras,) = re.findall(r'"/src\[(.+)\]"', DOCKERFILE)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= set(known)


def test_it_is_not_root_and_runs_commands_of_popgate() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["popgate"]
    for words in (["run"], ["status"]):
        assert callable(parser_of_all().parse_args(words).command)
    assert 'ENTRYPOINT ["popgate"]' in DOCKERFILE
    assert 'CMD ["run"]' in DOCKERFILE
    assert 'CMD ["popgate", "status"]' in DOCKERFILE


def ports(config: Config) -> list[int]:
    return sorted(end.port for listener in config.listeners.values() for end in listener.bind)


def test_the_ports_are_those_of_the_listeners(node: Config) -> None:
    (exposed,) = re.findall(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE)
    assert sorted(int(port) for port in exposed.split()) == ports(load(ROOT / "conf.d"))
    assert sorted(int(port) for port in re.findall(r'"(\d+):\1"', COMPOSE)) == ports(node)


def test_what_the_pool_mounts_is_there() -> None:
    mounted = re.findall(r"- (\.\S*?):/", COMPOSE)
    assert "../haproxy/haproxy.cfg" in mounted
    assert len(mounted) == 3
    for name in mounted:
        assert (DOCKER / name).exists(), name
    (context,) = re.findall(r"context: (\S+)", COMPOSE)
    (dockerfile,) = re.findall(r"dockerfile: (\S+)", COMPOSE)
    assert (DOCKER / context).resolve() == ROOT
    assert (ROOT / dockerfile).is_file()


def test_N6_docker_waits_longer_than_a_drain_takes(node: Config) -> None:
    (seconds,) = re.findall(r"stop_grace_period: (\d+)s", COMPOSE)
    assert int(seconds) >= ANNOUNCE + node.drain_timeout + _GRACE


def test_N1_the_balancer_and_nobody_else_says_who_the_client_is(node: Config) -> None:
    (balancer,) = re.findall(r"ipv4_address: (\S+)", COMPOSE)
    assert {listener.accept_proxy_from for listener in node.listeners.values()} == {(balancer,)}
    (network,) = re.findall(r"subnet: (\S+)", COMPOSE)
    assert node.gate.never_lease == (network,)


def test_the_nodes_take_their_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["check", "-c", str(folder)])
    said = capsys.readouterr()
    assert code == 0
    complaints = [line for line in said.err.splitlines() if "no folder /run/popgate;" not in line]
    assert complaints == [], "but for the folder that the image makes"
    assert 'control = "/run/popgate/popgate.sock"' in said.out
    assert "redis://redis:6379/0" in said.out


def test_haproxy_knows_the_nodes_by_their_names() -> None:
    nodes = dict(re.findall(r"^ +(NODE\d): (\S+)$", COMPOSE, re.MULTILINE))
    assert set(nodes) == set(re.findall(r"presetenv (NODE\d)", (DOCKER / "../haproxy/haproxy.cfg").read_text()))
    for name in nodes.values():
        assert re.search(rf"^  {name}:", COMPOSE, re.MULTILINE)


def test_the_pool_is_the_one_of_scripts_haproxy(node: Config) -> None:
    """Only the addresses and the certificates' places are others."""
    other = tomllib.loads((ROOT / "scripts" / "haproxy" / "pool.toml").read_text())
    own = tomllib.loads((DOCKER / "pool.toml").read_text())
    for listener in (*own["listener"].values(), *other["listener"].values()):
        assert len(listener.pop("accept_proxy_from")) == 1
    assert own["listener"] == other["listener"]
    assert own["admin"] == other["admin"]
