"""Replies owed, in order."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.session.ledger import BOUND, Ledger


@dataclass
class Entry:
    verb: str
    count: int = 1


MAIL, RSET, NOOP = Entry("MAIL"), Entry("RSET"), Entry("NOOP")


def test_what_is_not_waited_for_goes_out_at_once() -> None:
    ledger: Ledger[Entry] = Ledger()
    assert ledger.inject(b"554\r\n") == b"554\r\n"
    assert (len(ledger), ledger.injected) == (0, 0)


def test_an_injected_reply_takes_its_turn() -> None:
    ledger: Ledger[Entry] = Ledger()
    ledger.expect(MAIL)
    assert ledger.inject(b"554 a\r\n") == b""
    assert ledger.inject(b"554 b\r\n") == b""
    ledger.expect(RSET)
    assert ledger.inject(b"252\r\n") == b""
    assert (len(ledger), ledger.awaited, ledger.injected) == (5, 2, 3)
    assert ledger.released() == b""
    assert ledger.front() is MAIL
    assert ledger.pop() is MAIL
    assert ledger.released() == b"554 a\r\n554 b\r\n"
    assert (len(ledger), ledger.awaited, ledger.injected) == (2, 1, 1)
    assert ledger.pop() is RSET
    assert ledger.released() == b"252\r\n"
    assert ledger.released() == b""
    assert (len(ledger), ledger.awaited, ledger.injected) == (0, 0, 0)


def test_it_is_bounded() -> None:
    ledger: Ledger[Entry] = Ledger()
    for number in range(BOUND):
        assert not ledger.full
        assert ledger.room == BOUND - number
        ledger.expect(NOOP)
    assert ledger.full
    assert ledger.room == 0
    ledger.pop()
    assert not ledger.full
    small: Ledger[Entry] = Ledger(2)
    small.expect(NOOP)
    small.inject(b"x")
    assert small.full


def test_a_run_is_one_entry_and_counts_as_its_replies() -> None:
    ledger: Ledger[Entry] = Ledger(5)
    run = Entry("RCPT", 3)
    ledger.expect(run)
    ledger.inject(b"250 ours\r\n")
    assert (len(ledger), ledger.awaited, ledger.room, ledger.full) == (4, 3, 1, False)
    ledger.expect(NOOP)
    assert ledger.full
    assert ledger.pop() is run
    assert (run.count, len(ledger), ledger.released(), ledger.full) == (2, 4, b"", False)
    assert ledger.pop(2) is run
    assert ledger.released() == b"250 ours\r\n"
    assert ledger.pop() is NOOP
    assert (NOOP.count, len(ledger)) == (1, 0)
