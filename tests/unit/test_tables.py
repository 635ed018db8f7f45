"""proxy/cli/tables.py: tables for a terminal."""

from __future__ import annotations

from typing import Any

from proxy.cli import tables

NOON = 1_800_000_000.0


def tenancy(**other: Any) -> dict[str, Any]:
    row = {"address": "192.0.2.7", "login": "al", "source": "pop3", "began": NOON, "ended": NOON + 60, "how": "ended"}
    return row | other


def need(kind: str, login: str = "al", address: str = "192.0.2.7", last: float = NOON) -> dict[str, Any]:
    return {
        "address": address, "login": login, "protocol": "smtp", "need": kind, "times": 3, "first": NOON, "last": last,
    }  # fmt: skip


def test_columns_stand_below_each_other() -> None:
    lines = tables.history([tenancy(), tenancy(address="2001:db8::1", login="somebody.long")]).splitlines()
    assert {line.index(word) for line, word in zip(lines, ("LOGIN", "al", "somebody"), strict=True)} == {13}
    assert lines[1].split() == [
        "192.0.2.7", "al", "pop3", *tables.moment(NOON).split(), *tables.moment(NOON + 60).split(), "ended",
    ]  # fmt: skip


def test_what_a_peer_chose_steers_no_terminal() -> None:
    for text in (tables.history([tenancy(login="a\x1b[31m\n")]), tables.report([need("clear", "a\x1b[31m\n")], 0)):
        assert "a?[31m?" in text


def test_a_report_goes_by_need_and_the_last_seen_come_first() -> None:
    text = tables.report(
        [need("TLSv1"), need("clear", "al"), need("clear", "bo", last=NOON + 9), need("lease", "cy"), need("TLSv1.1")],
        NOON,
    )
    rows = [line.split("  ")[0] + " " + line.split()[-6] for line in text.splitlines()[1:6]]
    assert rows == ["POP before SMTP cy", "clear text bo", "clear text al", "TLSv1 al", "TLSv1.1 al"]


def test_a_report_counts_clients_and_says_nobody_where_there_is_none() -> None:
    """One login from two addresses is two clients: each of them has to be changed."""
    rows = [need("clear"), need("clear", address="192.0.2.8"), need("clear") | {"protocol": "pop3"}, need("TLSv1")]
    day = tables.moment(NOON)[:10]
    assert tables.report(rows, NOON).splitlines()[-1] == (
        f"Clients (address and login) since {day}: POP before SMTP 0, clear text 2, TLSv1 1"
    )
    assert tables.report([], NOON).splitlines()[-1].endswith(": POP before SMTP 0, clear text 0")
