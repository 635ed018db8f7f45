"""Ends of data: what servers were seen, or told, to take for one, against the session (rule S8; threats A1 to A24)."""

from __future__ import annotations

import pytest

from proxy.session.events import Finished, UpstreamAborted

from ..support.smtp import REFUSE, asked, in_body, recipients
from ..support.smuggling import ENDS, NO_ENDS, SMUGGLED, TRUE_ENDS

ROWS = ENDS | NO_ENDS
LAX_END = (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\n.\r", b"\r.\n", b"\r\n.\r\r\n")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100000])
@pytest.mark.parametrize("row", ROWS)
def test_S8_no_smuggling_normalize(row: str, size: int) -> None:
    """The message goes on to its CRLF.CRLF, and no lax server finds another end in what went up."""
    driver = in_body()
    text = b"Subject: outer\r\n\r\nbody" + ROWS[row] + SMUGGLED
    driver.client(*[text[at : at + size] for at in range(0, len(text), size)])
    sent = driver.to_upstream
    assert sent.endswith(b"\r\n.\r\n")
    body = sent.removesuffix(b".\r\n")
    assert not any(end in body for end in LAX_END)
    assert b"\r" not in sent.replace(b"\r\n", b"")
    assert b"\n" not in sent.replace(b"\r\n", b"")
    assert driver.to_client == b""
    assert not driver.events
    driver.upstream(b"250 queued\r\n")
    assert driver.to_client == b"250 queued\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100000])
@pytest.mark.parametrize("row", ROWS)
def test_S8_no_smuggling_reject(row: str, size: int) -> None:
    """With a stray CR or LF: one 550 behind CRLF.CRLF and no end of data upstream; without: passed on as it is.

    But for a dot beside a NUL at the beginning of a line, which gets another dot in either mode.
    """
    driver = in_body("bare_newline=reject")
    text = b"Subject: outer\r\n\r\nbody" + ROWS[row] + SMUGGLED
    stray = text.replace(b"\r\n", b"")
    driver.client(*[text[at : at + size] for at in range(0, len(text), size)])
    if b"\r" not in stray and b"\n" not in stray:
        assert driver.to_upstream == text.replace(b"\r\n\0.", b"\r\n\0..").replace(b"\r\n.\0", b"\r\n..\0")
        assert not driver.events
        return
    assert b"\r\n.\r\n" not in driver.to_upstream
    assert not any(end in driver.to_upstream for end in LAX_END)
    assert driver.to_client == b"550 5.5.2 The message has a bare CR or LF\r\n"
    assert [type(event) for event in driver.events] == [UpstreamAborted, Finished]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100000])
@pytest.mark.parametrize("row", TRUE_ENDS)
def test_S8_a_literal_end_is_an_end(row: str, size: int) -> None:
    """Not to end there would be the difference: what follows are the client's own commands, and judged as such."""
    driver = in_body()
    text = b"Subject: outer\r\n\r\nbody" + TRUE_ENDS[row] + SMUGGLED[: SMUGGLED.index(b"DATA")]
    driver.client(*[text[at : at + size] for at in range(0, len(text), size)])
    body, _, behind = driver.to_upstream.partition(b"\r\n.\r\n")
    assert body.startswith(b"Subject: outer")
    if row == "A18":  # the next command begins with NUL
        assert behind == b""
        assert asked(driver) is None
    else:
        assert behind == b"MAIL FROM:<e@s.test>\r\n"
        assert asked(driver) is not None
        driver.answer(REFUSE)
    assert not recipients(behind)


@pytest.mark.parametrize("size", [509, 998, 999, 1000, 2048, 4096, 8192, 65536])
def test_S8_a_dot_at_the_edge_of_a_buffer(size: int) -> None:
    for length in (size - 1, size, size + 1):
        driver = in_body()
        text = b"a" * length + b"\r\n.\r\n"
        driver.client(*[text[at : at + size] for at in range(0, len(text), size)])
        assert driver.to_upstream == text
        assert not driver.session.streaming


def test_S8_a_line_without_end_is_not_kept() -> None:
    driver = in_body()
    for _ in range(64):
        driver.client(b"a" * 16384)
    assert len(driver.to_upstream) == 64 * 16384
