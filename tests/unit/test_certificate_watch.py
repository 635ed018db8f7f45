"""certificate_watch.py: files that change, files that are broken, certificates that end."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxy.certificates import make, read
from proxy.config import Config, Tls
from proxy.net.tls.contexts import ServerTls
from proxy.node.certificate_watch import DAY, PAUSE, CertificateWatch

from ..support.workshop import KeptLog

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_900_000_000.0


class Watching:
    """A popgate with one certificate, "mail.pem", and a clock in the test's hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = make(["a.example"], folder, file="mail.pem", now=NOW)
        self.config = replace(Config(), tls=Tls(certificates=(self.path,)))
        self.sides = [ServerTls("smtp", [self.path]), ServerTls("pop3", [self.path])]
        self.log = KeptLog()
        self.now = 0.0
        self.wall = NOW
        self.watch = CertificateWatch(self.sides, lambda: self.wall)
        assert not self.look()

    def look(self) -> bool:
        """A minute later: are the workers told?"""
        self.now += PAUSE
        return self.watch.tick(self.now, self.config, self.log)

    def shown(self) -> set[str]:
        return {one.fingerprint for side in self.sides for one in side.certificates}

    def events(self) -> list[str]:
        return [event for _, _, event, _ in self.log.lines]


@pytest.fixture
def watching(tmp_path: Path) -> Watching:
    return Watching(tmp_path)


def test_a_renewed_certificate_is_shown_within_a_minute_and_told_once(watching: Watching) -> None:
    assert not watching.look()
    make(["a.example"], watching.folder, file="mail.pem", force=True, now=NOW)
    assert not watching.watch.tick(watching.now + PAUSE - 1, watching.config, watching.log), "not before its time"
    assert watching.look()
    assert watching.shown() == {read(watching.path).fingerprint}
    assert not watching.look()
    assert watching.log.lines == [("info", "popgate", "certificates-reloaded", {"files": str(watching.path)})]


def test_N7_a_bad_pair_keeps_the_old_one_and_is_told_once(watching: Watching) -> None:
    before, good = watching.shown(), watching.path.read_bytes()
    watching.path.write_bytes(good.partition(b"-----BEGIN PRIVATE KEY")[0])
    for _ in range(3):
        assert not watching.look()
    assert watching.shown() == before
    assert watching.events() == ["certificate-refused"]
    assert "no private key inside" in watching.log.of("certificate-refused")[0]["why"]
    watching.path.unlink()
    assert not watching.look()
    assert not watching.look()
    assert watching.events() == ["certificate-refused"] * 2, "it has changed again"
    watching.path.write_bytes(good)
    assert watching.look()
    assert watching.shown() == before


def test_a_folder_of_links_as_certbot_keeps_them(watching: Watching, tmp_path: Path) -> None:
    archive, live = tmp_path / "archive", tmp_path / "live"
    live.mkdir()
    for number in (1, 2):
        make(["a.example"], archive, file=f"{number}.pem", now=NOW)
    for name in ("fullchain.pem", "privkey.pem"):
        (live / name).symlink_to(archive / "1.pem")
    watching.config = replace(watching.config, tls=Tls(certificates=(live,)))
    for side in watching.sides:
        side.reload([live])
    watching.watch.reloaded()
    assert not watching.look()
    for name in ("fullchain.pem", "privkey.pem"):
        (live / f"{name}.new").symlink_to(archive / "2.pem")
        os.replace(live / f"{name}.new", live / name)
    assert watching.look()
    assert watching.shown() == {read(archive / "2.pem").fingerprint}


def test_what_a_reload_has_read_is_not_read_again(watching: Watching) -> None:
    make(["a.example"], watching.folder, file="mail.pem", force=True, now=NOW)
    for side in watching.sides:
        side.reload([watching.path])
    watching.watch.reloaded()
    assert not watching.look()
    assert watching.log.lines == []


def test_the_end_is_told_once_a_day_from_14_days_before(watching: Watching) -> None:
    ends = read(watching.path).not_after
    watching.wall = ends - 15 * DAY
    for _ in range(3 * 24):
        watching.look()
        watching.wall += DAY / 24
    assert [words["days"] for words in watching.log.of("certificate-ends")] == [14, 13]
    assert watching.log.level_of("certificate-ends") == "warning"
    watching.log.lines.clear()
    watching.wall = ends + 1
    for _ in range(30):
        watching.look()
        watching.wall += DAY / 24
    assert [words["days"] for words in watching.log.of("certificate-ended")] == [0, 1]
    assert watching.log.level_of("certificate-ended") == "error"
