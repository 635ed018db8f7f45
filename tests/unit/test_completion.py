"""cli/completion.py: what Tab offers, asked of the shells themselves."""

from __future__ import annotations

import argparse
import subprocess

import pytest

from proxy.cli import GOOD, main, parser_of_all
from proxy.cli.completion import SHELLS, places, script

from ..support.needs import need

OFFERS = [
    ("popgate ", {"run", "leases", "sessions", "completion", "init", "certs"}, {"grant", "--json"}),
    ("popgate le", {"leases"}, {"log-level", "grant"}),
    ("popgate leases ", {"list", "grant", "revoke", "history"}, {"leases", "make"}),
    ("popgate leases grant --", {"--login", "--for", "--config"}, {"--at", "--json"}),
    ("popgate log-level ", {"debug", "info", "warning", "error"}, {"run"}),
    ("popgate certs make x --", {"--rsa", "--csr", "--force"}, {"--login"}),
    ("popgate completion ", {"bash", "zsh", "fish"}, {"run"}),
]


def printed(shell: str) -> str:
    return script(shell, places(parser_of_all()))


def run(argv: list[str], text: str) -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_every_command_and_option_is_in_the_table() -> None:
    """argparse's private tables: were they empty one day, this would see it."""
    found = {place.path: set(place.words) for place in places(parser_of_all())}
    assert {"", "run", "leases", "leases grant", "certs make", "trace", "completion"} <= found.keys()
    assert {"--client", "--for", "--json", "-c", "--config"} <= found["trace"]
    small = argparse.ArgumentParser(add_help=False)
    small.add_argument("--one", choices=("a", "b"))
    assert [place.words for place in places(small)] == [["--one", "a", "b"]]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_it(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == GOOD
    assert capsys.readouterr().out == printed(shell)


@pytest.mark.parametrize(("typed", "wanted", "unwanted"), OFFERS)
def test_bash_offers(typed: str, wanted: set[str], unwanted: set[str]) -> None:
    (bash,) = need("bash")
    words = typed.split(" ")
    line = f"COMP_WORDS=({' '.join(words[:-1])} '{words[-1]}'); COMP_CWORD={len(words) - 1}; _popgate\n"
    offered = set(run([bash, "-s"], printed("bash") + line + 'printf "%s\\n" "${COMPREPLY[@]}"\n').split())
    assert wanted <= offered
    assert not unwanted & offered


@pytest.mark.parametrize(("typed", "wanted", "unwanted"), OFFERS)
def test_fish_offers(typed: str, wanted: set[str], unwanted: set[str]) -> None:
    (fish,) = need("fish")
    lines = run([fish, "--no-config"], printed("fish") + f"complete -C {typed!r}\n").splitlines()
    offered = {line.split("\t")[0] for line in lines}
    assert wanted <= offered
    assert not unwanted & offered


@pytest.mark.parametrize(("typed", "wanted", "unwanted"), OFFERS)
def test_zsh_offers(typed: str, wanted: set[str], unwanted: set[str]) -> None:
    (zsh,) = need("zsh")
    words = typed.split(" ")
    offering = 'compadd() { shift; print -l -- "$@" }\n'  # what completion would do with them
    line = f"words=({' '.join(words[:-1])} '{words[-1]}'); CURRENT={len(words)}; _popgate\n"
    offered = set(run([zsh, "-f", "-s"], offering + printed("zsh") + line).split())
    if words[-1]:
        offered = {one for one in offered if one.startswith(words[-1])}  # zsh itself does that
    assert wanted <= offered
    assert not unwanted & offered
