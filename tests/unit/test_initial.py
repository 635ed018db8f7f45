"""initial.py and `popgate init`: what is written can be loaded, nothing is overwritten, and what comes next is said."""

from __future__ import annotations

import io
import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.cli import GOOD, USAGE, initial, main
from proxy.cli.initial import Answers, folder_of, server, state_of, write
from proxy.config import load
from proxy.config.values import Wrong
from proxy.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ANSWERS = Answers("192.0.2.10:110", "192.0.2.10:25", ("example.com", ".example.net"))


@pytest.mark.parametrize(
    ("text", "protocol", "written"),
    [
        ("192.0.2.10", "pop3", "192.0.2.10:110"),
        ("192.0.2.10", "smtp", "192.0.2.10:25"),
        ("mail.example.com:2525", "smtp", "mail.example.com:2525"),
        ("2001:db8::1", "smtp", "[2001:db8::1]:25"),
        ("[2001:db8::1]:26", "smtp", "[2001:db8::1]:26"),
        ("unix:/run/pop", "pop3", "unix:/run/pop"),
    ],
)
def test_a_server_may_be_given_without_its_port(text: str, protocol: str, written: str) -> None:
    assert server(text, protocol) == written


@pytest.mark.parametrize("text", ["", "a b", "host:", "host:99999", "[::1", "http://x"])
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(Wrong):
        server(text, "smtp")


def test_what_is_written_is_what_is_shipped_and_the_answers(tmp_path: Path) -> None:
    folder = write(tmp_path, ANSWERS)
    assert folder == tmp_path / "conf.d"
    for path in (ROOT / "conf.d").glob("*.toml"):
        assert (folder / path.name).read_text() == path.read_text()
    config = load(folder)
    assert config.gate.local_domains == ("example.com", ".example.net")
    assert [str(one.servers[0]) for one in config.upstreams.values()] == ["192.0.2.10:110", "192.0.2.10:25"]
    assert config.user == ""
    assert max(path.name for path in folder.iterdir()) == initial.LOCAL, "it wins over all of them"


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    folder = write(tmp_path, ANSWERS)
    (folder / initial.LOCAL).write_text("# mine\n")
    with pytest.raises(ConfigError, match="has files already"):
        write(tmp_path, ANSWERS)
    assert (folder / initial.LOCAL).read_text() == "# mine\n"
    write(tmp_path, ANSWERS, force=True)
    assert load(folder).gate.local_domains == ANSWERS.domains


def test_a_folder_that_can_t_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't be written"):
        write(tmp_path / "file", ANSWERS)


def test_the_folder_itself_may_be_named() -> None:
    assert folder_of(Path("/etc/popgate")) == folder_of(Path("/etc/popgate/conf.d")) == Path("/etc/popgate/conf.d")


def test_the_store_is_where_the_user_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pwd.getpwuid(os.geteuid())
    assert state_of("nobody-of-that-name") == ""
    monkeypatch.setattr(pwd, "getpwnam", lambda _: pwd.struct_passwd((*entry[:5], str(tmp_path), entry.pw_shell)))
    assert state_of("popgate") == str(tmp_path)
    config = load(write(tmp_path / "etc", Answers(*ANSWERS.__getstate__()[:3], user="popgate")))  # type: ignore[misc]
    assert config.user == "popgate"
    assert config.store.path == tmp_path / "leases.db"
    assert config.admin.control == tmp_path / "popgate.sock"
    monkeypatch.setattr(pwd, "getpwnam", lambda _: pwd.struct_passwd((*entry[:5], "/nonexistent", entry.pw_shell)))
    assert state_of("popgate") == ""


# --- the command


class Terminal(io.StringIO):
    """A person who types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _nobody_types(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return


def test_init_says_what_is_still_to_do_and_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["init", str(tmp_path), "--pop3", "192.0.2.10", "--domain", "example.com", "--domain", "example.org"]
    assert main(words) == GOOD
    out = capsys.readouterr().out
    assert "Still to do:\n" in out
    steps = [line.strip() for line in out.partition("Next:\n")[2].splitlines()]
    assert steps == [
        f"popgate certs make example.com --folder {tmp_path}/certs --file mail.pem   (the name that clients use)",
        f"popgate check -c {tmp_path}/conf.d", f"popgate selftest -c {tmp_path}/conf.d",
        f"popgate run -c {tmp_path}/conf.d",
    ]  # fmt: skip
    assert main(steps[0].partition("   ")[0].split()[1:]) == GOOD
    assert main(["check", "-c", f"{tmp_path}/conf.d"]) == GOOD
    capsys.readouterr()
    assert main([*words, "--force"]) == GOOD
    out = capsys.readouterr().out
    assert "Still to do" not in out
    assert "certs make" not in out


@pytest.mark.parametrize(
    ("server", "what"),
    [
        ("a b", '"a b:110" does not begin with a host name'),
        ("192.0.2.10:99999", '"192.0.2.10:99999" has no usable port'),
        ("[::1]:99999", '"[::1]:99999" has no usable port'),
        ("2001:db8::zz", '"[2001:db8::zz]:110": only an IPv6 address'),
    ],
)
def test_init_tells_what_is_wrong_with_what_was_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], server: str, what: str
) -> None:
    assert main(["init", str(tmp_path), "--pop3", server, "--smtp", "a.example"]) == USAGE
    assert capsys.readouterr().err.startswith(f"--pop3: {what}")


@pytest.mark.parametrize("domain", [".example.com", "münchen.example"])
def test_init_names_no_certificate_that_can_t_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], domain: str
) -> None:
    assert main(["init", str(tmp_path), "--pop3", "192.0.2.10", "--domain", domain]) == GOOD
    assert "popgate certs make mail.example.com " in capsys.readouterr().out


def test_init_asks_a_person_for_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("mail.example.com:1110\n\nexample.com example.org\n"))
    assert main(["init", str(tmp_path)]) == GOOD
    assert "Its SMTP side, HOST or HOST:PORT [mail.example.com:25]: " in capsys.readouterr().out
    config = load(tmp_path / "conf.d")
    assert [str(one.servers[0]) for one in config.upstreams.values()] == [
        "mail.example.com:1110",
        "mail.example.com:25",
    ]
    assert config.gate.local_domains == ("example.com", "example.org")


@pytest.mark.parametrize(
    ("words", "problems"),
    [
        ([], ["--pop3 is missing", "--smtp is missing"]),
        (["--pop3", "a b"], ["--pop3: ", "--smtp is missing"]),
        (["--pop3", "192.0.2.10", "--domain", "exa mple"], ["--domain: "]),
    ],
)
def test_init_without_a_person_names_all_that_is_missing_or_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], problems: list[str]
) -> None:
    assert main(["init", str(tmp_path), *words]) == USAGE
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(problems)
    assert all(line.startswith(problem) for line, problem in zip(lines, problems, strict=True))
    assert not (tmp_path / "conf.d").exists()


def test_init_with_a_user_that_is_not_there_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path), "--pop3", "192.0.2.10", "--user", "nobody-of-that-name"]) == GOOD
    assert "nobody-of-that-name" in capsys.readouterr().out.partition("Still to do:")[2].partition("Next:")[0]
