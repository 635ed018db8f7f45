"""Replies owed, in order."""

from __future__ import annotations

from proxy.session.ledger import BOUND, Ledger


def test_what_is_not_waited_for_goes_out_at_once() -> None:
    ledger: Ledger[str] = Ledger()
    assert ledger.inject(b"554\r\n") == b"554\r\n"
    assert len(ledger) == 0


def test_an_injected_reply_takes_its_turn() -> None:
    ledger: Ledger[str] = Ledger()
    ledger.expect("MAIL")
    assert ledger.inject(b"554 a\r\n") == b""
    assert ledger.inject(b"554 b\r\n") == b""
    ledger.expect("RSET")
    assert ledger.inject(b"252\r\n") == b""
    assert (len(ledger), ledger.awaited) == (5, 2)
    assert ledger.released() == b""
    assert ledger.front() == "MAIL"
    assert ledger.settle() == "MAIL"
    assert ledger.released() == b"554 a\r\n554 b\r\n"
    assert (len(ledger), ledger.awaited) == (2, 1)
    assert ledger.settle() == "RSET"
    assert ledger.released() == b"252\r\n"
    assert ledger.released() == b""
    assert (len(ledger), ledger.awaited) == (0, 0)


def test_it_is_bounded() -> None:
    ledger: Ledger[str] = Ledger()
    for _ in range(BOUND):
        assert not ledger.full
        ledger.expect("NOOP")
    assert ledger.full
    ledger.settle()
    assert not ledger.full
    small: Ledger[str] = Ledger(2)
    small.expect("NOOP")
    small.inject(b"x")
    assert small.full
