"""Whatever is typed, piped or written into a file, a command answers in lines, never with a traceback."""

from __future__ import annotations

import asyncio
import io
import os
import pwd
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest

from proxy import __main__, cli
from proxy.cli import FAILED, GOOD, USAGE, main
from proxy.selftest import _visits
from proxy.selftest.findings import Findings, Sheet

from ..support.configuration import written
from ..support.folder import Folder

PLAIN = '[listener.smtp]\ntls = "off"\n[gate]\nlocal_domains = ["example.com"]\n'


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    try:
        code = main(words)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, *capsys.readouterr()


def test_an_empty_configuration_option_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(written(tmp_path, PLAIN))
    code, out, err = said(capsys, "check", "-c", "")
    assert (code, out) == (USAGE, "")
    assert "-c/--config: is empty; name a folder or a file" in err


@pytest.mark.parametrize(("path", "what"), [("a" * 5000, "File name too long"), ("/dev/null/x", "does not exist")])
def test_a_configuration_that_can_t_be_is_exit_2(capsys: pytest.CaptureFixture[str], path: str, what: str) -> None:
    code, _, err = said(capsys, "check", "-c", path)
    assert (code, err.count("\n")) == (USAGE, 1)
    assert what in err


def test_what_nobody_has_foreseen_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise KeyError("unforeseen")

    monkeypatch.setattr(cli.serving, "dump", fail)
    code, out, err = said(capsys, "check", "-c", str(written(tmp_path, PLAIN)))
    assert (code, out) == (FAILED, "")
    assert err.startswith("popgate: this is a bug, please report it: KeyError at test_cli_nonsense.py:")
    assert err.count("\n") == 1


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.1", "ff02::1"])
def test_a_lease_is_for_an_address_that_a_client_can_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    code, _, err = said(capsys, "leases", "grant", address, "-c", str(written(tmp_path, PLAIN)))
    assert code == USAGE
    assert "is no client's address; networks belong in gate.trusted_networks" in err


def test_a_recipient_in_brackets_is_that_recipient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(
        capsys, "why", "192.0.2.7", "--recipient", "<a@example.com>", "-c", str(written(tmp_path, PLAIN))
    )
    assert (code, out) == (GOOD, "192.0.2.7 at listener smtp: allow: the recipient is local\n")


def test_init_takes_a_person_who_goes_away_for_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Person(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Person(""))
    code, _, err = said(capsys, "init", str(tmp_path))
    assert code == USAGE
    assert err.startswith("--pop3 is missing: ")


def test_a_selftest_that_nobody_reads_to_its_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    async def visit(_: object) -> Findings:
        found = Findings("upstream.smtp")
        found.about("reachable")
        found.ok("yes")
        return found

    monkeypatch.setattr("proxy.selftest.visit", visit)
    with pytest.raises(BrokenPipeError):  # which the command line passes by: `popgate selftest | head`
        asyncio.run(_visits([None, None], Sheet(Gone(), 0)))  # type: ignore[list-item]


# --- what `user` can't open (node/access_check.py)


def for_nobody(folder: Path, text: str) -> Path:
    """A configuration whose user is nobody, who may not write in `folder`."""
    return written(folder, f'user = "nobody"\n{PLAIN}{text}')


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try what another may do")
def test_check_warns_of_what_the_user_can_t_open(capsys: pytest.CaptureFixture[str]) -> None:
    with Folder("reach") as name:
        folder = Path(name)
        conf = for_nobody(folder, '[log]\nfile = "popgate.log"\n')
        code, _, err = said(capsys, "check", "-c", str(conf))
    assert code == GOOD
    for key, name in (("admin.control", "popgate.sock"), ("store.url", "leases.db"), ("log.file", "popgate.log")):
        assert f"warning: {key}: {folder}/{name} can't be made: nobody can't write in {folder}; " in err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try what another may do")
def test_check_tries_private_keys_as_the_user(capsys: pytest.CaptureFixture[str]) -> None:
    with Folder("reach") as name:
        folder = Path(name)
        assert (
            said(capsys, "certs", "make", "mail.example.com", "--folder", f"{folder}/certs", "--file", "mail.pem")[0]
            == GOOD
        )
        conf = for_nobody(folder, '[listener.smtps]\nprotocol = "smtp"\nbind = ["127.0.0.1:0"]\ntls = "implicit"\n')
        key = folder / "certs" / "mail.pem"
        wrong = f"tls.certificates: nobody can't read {key}, so every reload will be refused; chown nobody {key}"
        assert wrong in said(capsys, "check", "-c", str(conf))[2]
        os.chown(key, pwd.getpwnam("nobody").pw_uid, -1)
        assert wrong not in said(capsys, "check", "-c", str(conf))[2]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[store]\nurl = "sqlite:."\n', "store.url: {folder} is a folder; name a file in it"),
        (
            '[store]\nurl = "sqlite:no/leases.db"\n',
            "store.url: {folder}/no/leases.db can't be made: {who} sees no folder ",
        ),
        ('[admin]\ncontrol = "no/x.sock"\n', "admin.control: {folder}/no/x.sock can't be made: {who} sees no folder "),
        ('[log]\nfile = "no/log"\n', "log.file: {folder}/no/log can't be made: {who} sees no folder {folder}/no; "),
        ('[log]\nfile = "syslog"\n', ""),
    ],
)
def test_check_warns_of_folders_that_are_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    code, _, err = said(capsys, "check", "-c", str(written(tmp_path, PLAIN + text)))
    assert code == GOOD
    assert err.count("\n") == bool(told)
    assert told.format(folder=tmp_path, who=pwd.getpwuid(os.geteuid()).pw_name) in err


def test_check_is_for_users_without_a_name_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nameless(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nameless)
    code, _, err = said(capsys, "check", "-c", str(written(tmp_path, PLAIN + '[log]\nfile = "no/log"\n')))
    assert code == GOOD
    assert f"can't be made: uid {os.geteuid()} sees no folder " in err


def test_check_warns_of_what_a_listener_can_t_have_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PLAIN + "[listener.smtp.gate]\npatience_waiting = 5\n"
    code, _, err = said(capsys, "check", "-c", str(written(tmp_path, text)))
    assert code == GOOD
    assert err.startswith("warning: listener.smtp.gate.patience_waiting: does nothing, for all listeners share it; ")


# --- loops (rule N10)


@pytest.mark.parametrize("server", ["0.0.0.0", "127.0.0.1", "[::ffff:127.0.0.1]", "localhost"])
def test_N10_check_knows_popgate_by_its_other_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], server: str
) -> None:
    text = PLAIN.replace("[gate]", f'bind = ["127.0.0.1:20025"]\n[upstream.smtp]\nservers = ["{server}:20025"]\n[gate]')
    code, _, err = said(capsys, "check", "-c", str(written(tmp_path, text)))
    assert code == USAGE
    assert err == f"upstream.smtp: {server}:20025 is popgate itself: a loop; give the mail server's own address\n"


def test_ctrl_c_while_python_still_reads_popgate_is_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Impatient(MetaPathFinder):
        def find_spec(self, fullname: str, *_: object) -> None:
            if fullname == "proxy.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "proxy.cli")
    monkeypatch.setattr(sys, "meta_path", [Impatient(), *sys.meta_path])
    assert __main__.main() == FAILED
    assert capsys.readouterr() == ("", "")
