"""Ends of data: what servers were seen, or told, to take for one, against the session (RULES S8; threats A1 to A24)."""

from __future__ import annotations

import pytest

from proxy.session.events import Finished, UpstreamAborted

from ..support.smtp import REFUSE, asked, in_body, recipients

ENDS = {  # the threat list's number: octets that some server was seen, or was told, to take for the end of data
    "A1": b"\n.\n",
    "A2": b"\n.\r\n",
    "A3": b"\r\n.\n",
    "A4": b"\n.\r",
    "A5": b"\r.\r",
    "A6": b"\r.\n",
    "A7": b"\r.\r\n",
    "A8": b"\r\n.\r",
    "A9": b"\r\r\n.\r\r\n",
    "A10": b"\r\n.\r\r\n",
    "A12": b"\r\0\n.\r\n",
    "A13": b"\r\n\0.\r\n",
    "A14": b"\r\n.\0\r\n",
    "A14b": b"\r\n.\0\0\0\r\n",
    "A15": b"\r\n.\r\0\n",
    "A16": b"\n\n.\n\n",
    "A19": b"\r\n. \r\n",
    "A19b": b"\r\n\t.\r\n",
    "A19c": b"\r\n.\x0b\r\n",
    "A19d": b"\r\n.\x1a\r\n",
    "A20": b"\xc2\x85.\xc2\x85",
    "A20b": b"\x0b.\x0b",
    "A20c": b"\x0c.\x0c",
    "A20d": b"\x1c.\x1c",
    "A20e": b"\xe2\x80\xa8.\xe2\x80\xa8",
    "A21": b"\r\n..\r\n",
}
TRUE_ENDS = {"A11": b"\r\r\n.\r\n", "A17": b"\0\r\n.\r\n", "A18": b"\r\n.\r\n\0"}  # they hold a literal CRLF.CRLF
SMUGGLED = b"MAIL FROM:<smuggled@s.test>\r\nRCPT TO:<victim@far.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
LAX_END = (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\n.\r", b"\r.\n", b"\r\n.\r\r\n")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100000])
@pytest.mark.parametrize("row", ENDS)
def test_S8_no_smuggling_normalize(row: str, size: int) -> None:
    """The message goes on to its CRLF.CRLF, and no lax server finds another end in what went up."""
    driver = in_body()
    text = b"Subject: outer\r\n\r\nbody" + ENDS[row] + SMUGGLED
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
@pytest.mark.parametrize("row", ENDS)
def test_S8_no_smuggling_reject(row: str, size: int) -> None:
    """With a stray CR or LF: one 550 behind CRLF.CRLF and no end of data upstream; without: passed on as it is.

    But for a dot beside a NUL at the beginning of a line, which gets another dot in either mode.
    """
    driver = in_body("bare_newline=reject")
    text = b"Subject: outer\r\n\r\nbody" + ENDS[row] + SMUGGLED
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
        assert behind == b"MAIL FROM:<smuggled@s.test>\r\n"
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
