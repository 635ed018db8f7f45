"""The demo plays its story to the end, and says so when a step goes another way."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from proxy.demo import play
from proxy.demo.screen import Screen

if TYPE_CHECKING:
    import pytest


def test_the_story_is_played_to_its_end() -> None:
    out = io.StringIO()
    code = play(False, out, window=3)
    told = out.getvalue()
    assert code == 0, told
    refused, accepted, ended = told.split("RCPT TO:<friend@example.org>")[1:]
    assert "S: 554" in refused.splitlines()[1]
    assert "S: 250" in accepted.splitlines()[1]
    assert "S: 554" in ended.splitlines()[1]
    assert "PASS ******" in told
    assert "secret" not in told
    assert "alice" in told.split("leases list")[1]
    assert "the lease ends in 0 s" in told


def test_a_gate_that_does_not_start_fails_the_demo_and_shows_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.demo.stage._CONFIG", "nonsense = true\n")
    out = io.StringIO()
    assert play(False, out) == 1
    assert "The demo failed" in out.getvalue()
    assert "nonsense" in out.getvalue()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain, coloured = io.StringIO(), _Terminal()
    for out in (plain, coloured):
        Screen(out).server("554 no")
    assert plain.getvalue() == "  S: 554 no\n"
    assert "\x1b[31mS: 554 no" in coloured.getvalue()
