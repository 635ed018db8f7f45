"""wire/dots.py: the DATA body (rule S8), row by row of the threat list A1 to A29."""

from __future__ import annotations

import pytest

from proxy.wire.dots import LINE_LIMIT, Body

HEAD = b"Subject: outer\r\n\r\nbody"
BEHIND = b"MAIL FROM:<smuggled@s.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx"
END = b"\r\n.\r\n"


def feed(body: Body, *chunks: bytes) -> tuple[bytes, int | None]:
    """Feed all chunks; what was forwarded, and what the last one answered."""
    out, used = b"", None
    for chunk in chunks:
        assert used is None
        forward, used = body.feed(chunk)
        out += b"".join(forward)
    return out, used


# What the client sends; what goes to the upstream in mode normalize (None: it holds CRLF.CRLF and ends there).
SEQUENCES = [
    ("A1", b"\n.\n", b"\r\n..\r\n"),
    ("A2", b"\n.\r\n", b"\r\n..\r\n"),
    ("A3", b"\r\n.\n", b"\r\n..\r\n"),
    ("A4", b"\n.\r", b"\r\n..\r\n"),
    ("A5", b"\r.\r", b"\r\n..\r\n"),
    ("A6", b"\r.\n", b"\r\n..\r\n"),
    ("A7", b"\r.\r\n", b"\r\n..\r\n"),
    ("A8", b"\r\n.\r", b"\r\n..\r\n"),
    ("A9", b"\r\r\n.\r\r\n", b"\r\n\r\n..\r\n\r\n"),
    ("A10", b"\r\n.\r\r\n", b"\r\n..\r\n\r\n"),
    ("A11", b"\r\r\n.\r\n", None),
    ("A12", b"\r\x00\n.\r\n", b"\r\n\x00\r\n..\r\n"),
    ("A13", b"\r\n\x00.\r\n", b"\r\n\x00..\r\n"),
    ("A14", b"\r\n.\x00\r\n", b"\r\n..\x00\r\n"),
    ("A14 three", b"\r\n.\x00\x00\x00\r\n", b"\r\n..\x00\x00\x00\r\n"),
    ("A15", b"\r\n.\r\x00\n", b"\r\n..\r\n\x00\r\n"),
    ("A16", b"\n\n.\n\n", b"\r\n\r\n..\r\n\r\n"),
    ("A17", b"\x00\r\n.\r\n", None),
    ("A18", b"\r\n.\r\n\x00", None),
    ("A19 space behind", b"\r\n. \r\n", b"\r\n. \r\n"),
    ("A19 tab before", b"\r\n\t.\r\n", b"\r\n\t.\r\n"),
    ("A19 VT", b"\r\n.\x0b\r\n", b"\r\n.\x0b\r\n"),
    ("A19 SUB", b"\r\n.\x1a\r\n", b"\r\n.\x1a\r\n"),
    ("A20 NEL", b"\xc2\x85.\xc2\x85", b"\xc2\x85.\xc2\x85"),
    ("A20 VT", b"\x0b.\x0b", b"\x0b.\x0b"),
    ("A20 FF", b"\x0c.\x0c", b"\x0c.\x0c"),
    ("A20 FS", b"\x1c.\x1c", b"\x1c.\x1c"),
    ("A20 LS", b"\xe2\x80\xa8.\xe2\x80\xa8", b"\xe2\x80\xa8.\xe2\x80\xa8"),
    ("A21", b"\r\n..\r\n", b"\r\n..\r\n"),
]
ROWS = pytest.mark.parametrize(("sequence", "sent"), [pytest.param(*row[1:], id=row[0]) for row in SEQUENCES])


def cuts(text: bytes) -> list[list[bytes]]:
    """Whole, octet by octet, and cut in two at each place."""
    return [[text], [text[i : i + 1] for i in range(len(text))], *([text[:i], text[i:]] for i in range(1, len(text)))]


@ROWS
def test_S8_smuggling_sequences_normalized(sequence: bytes, sent: bytes | None) -> None:
    for chunks in cuts(HEAD + sequence + BEHIND + END):
        body, out, left = Body("normalize"), b"", b""
        for at, chunk in enumerate(chunks):
            forward, used = body.feed(chunk)
            out += b"".join(forward)
            if used is not None:
                left = chunk[used:] + b"".join(chunks[at + 1 :])
                break
        if sent is None:
            before = sequence[: sequence.index(END)]
            assert out == HEAD + before.replace(b"\r", b"\r\n") + END
            assert left == sequence.partition(END)[2] + BEHIND + END
        else:
            assert out == HEAD + sent + BEHIND + END
            assert left == b""


@ROWS
def test_S8_smuggling_sequences_rejected(sequence: bytes, sent: bytes | None) -> None:
    text = HEAD + sequence + BEHIND + END
    end = text.index(END) + len(END)
    stray = sequence.replace(b"\r\n", b"").strip(b"\0. \t\x0b\x1a") in (b"\r", b"\n", b"\r\r", b"\n\n") or any(
        octet in sequence.replace(b"\r\n", b"") for octet in b"\r\n"
    )
    for chunks in cuts(text):
        body, out, used, before = Body("reject"), b"", None, 0
        for chunk in chunks:
            forward, used = body.feed(chunk)
            out += b"".join(forward)
            if used is not None:
                break
            before += len(chunk)
        assert used is not None
        assert before + used == end
        assert body.rejected == body.stray == stray
        whole = text[:end] if sent is None else HEAD + sent + BEHIND + END
        assert out == whole if not stray else text.startswith(out) and END not in out


def test_S8_A22_a_header_in_bare_lf() -> None:
    out, used = feed(Body("normalize"), b"Subject: x\n\nbody\r\n.\nMAIL\r\n.\r\n")
    assert out == b"Subject: x\r\n\r\nbody\r\n..\r\nMAIL\r\n.\r\n"
    assert used is not None


def test_S8_A23_the_end_in_four_pieces() -> None:
    body = Body("normalize")
    assert feed(body, b"x", b"\r", b"\n.", b"\r", b"\n") == (b"x\r\n.\r\n", 1)


@pytest.mark.parametrize("size", [512, 998, 999, 1000, 2048, 4096, 8192, 16384, 65536, 1 << 20])
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_S8_A24_long_lines_and_dots_at_buffer_edges(size: int, off: int) -> None:
    line = b"a" * (size - 1 + off)
    for text in (line + END, line + b".\r\n" + line + END, line + b"\r\n.." + line + END):
        for chunk in (size, 4096, len(text)):
            body, out, used = Body("normalize"), b"", None
            for at in range(0, len(text), chunk):
                assert used is None
                forward, used = body.feed(text[at : at + chunk])
                out += b"".join(forward)
            assert out == text
            assert used is not None


def test_S8_A25_an_empty_message_ends_at_once() -> None:
    assert Body("normalize").feed(b".\r\n") == ([b".\r\n"], 3)
    assert feed(Body("normalize"), b".", b"\r", b"\n") == (b".\r\n", 1)
    assert Body("reject").feed(b".\r\nQUIT\r\n") == ([b".\r\n"], 3)


def test_S8_A26_a_command_in_the_chunk_that_completes_the_end() -> None:
    body = Body("normalize")
    assert body.feed(b".\r") == ([], None)
    assert body.feed(b"\nMAIL FROM:<x@r.test>\r\n") == ([b".\r\n"], 1)


@pytest.mark.parametrize("line", [b".A\r\n", b"..\r\n", b"...\r\n", b"..A\r\n", b". \r\n"])
def test_S8_A27_what_a_client_stuffed_is_not_stuffed_again(line: bytes) -> None:
    text = b"a\r\n" + line + b"b\r\n.\r\n"
    assert feed(Body("normalize"), text) == (text, len(text))


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        (b".A\n", b"..A\r\n"),  # ended by a stray newline
        (b"..A\n", b"..A\r\n"),
        (b"\n.A\r\n", b"\r\n..A\r\n"),  # begun by one
        (b"\n..A\r\n", b"\r\n..A\r\n"),
        (b"\n..\n", b"\r\n..\r\n"),
        (b"\n...\n", b"\r\n...\r\n"),
        (b".\r\r\n", b"..\r\n\r\n"),
        (b".\n", b"..\r\n"),
        (b"\n.A\r\n.B\r\n", b"\r\n..A\r\n.B\r\n"),  # only the lines it touches
    ],
)
def test_S8_A27_lines_that_a_stray_newline_touches_get_their_dot(line: bytes, sent: bytes) -> None:
    for chunks in cuts(b"a\r\n" + line + b"b\r\n.\r\n"):
        assert feed(Body("normalize"), *chunks)[0] == b"a\r\n" + sent + b"b\r\n.\r\n"


def test_S8_A28_from_lines_are_text() -> None:
    text = b"From me\r\n>From you\r\n" + b"Received: x\r\n" * 1000 + b".\r\n"
    body = Body("normalize")
    assert feed(body, text) == (text, len(text))
    assert body.octets == len(text)


def test_S8_A29_no_end_before_its_last_octet() -> None:
    body = Body("normalize")
    out, used = feed(body, b"x\r\n.\r")
    assert used is None
    assert END not in out


def test_S8_a_client_of_bare_lf_is_understood() -> None:
    body = Body("normalize")
    text = b"Subject: scan\n\nOne\n.\n.Two\n..Three\n" + END
    assert feed(body, text)[0] == b"Subject: scan\r\n\r\nOne\r\n..\r\n..Two\r\n..Three\r\n" + END
    assert body.stray


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        (b".\0\r\n", b"..\0\r\n"),
        (b".\0x\r\n", b"..\0x\r\n"),  # a server that cuts at NUL
        (b"\0.\r\n", b"\0..\r\n"),
        (b"\0\0.\0\r\n", b"\0\0..\0\r\n"),
        (b"\n\0.\r\n", b"\r\n\0..\r\n"),
        (b"\r\0.\n", b"\r\n\0..\r\n"),
        (b".\0\n", b"..\0\r\n"),
        (b"..\0\r\n", b"..\0\r\n"),
        (b"x\0.\0\r\n", b"x\0.\0\r\n"),
        (b"\0x.\0\r\n", b"\0x.\0\r\n"),
    ],
)
def test_S8_no_end_for_a_server_that_drops_nuls_or_cuts_at_them(line: bytes, sent: bytes) -> None:
    for chunks in cuts(b"a\r\n" + line + b"b\r\n.\r\n"):
        assert feed(Body("normalize"), *chunks)[0] == b"a\r\n" + sent + b"b\r\n.\r\n"


@pytest.mark.parametrize(
    ("text", "alike"),
    [
        (b"x\n.\n", True),
        (b"x\r.\r", True),
        (b"x\n.\r\n", True),
        (b"x\r\n.\n", True),
        (b"x\r\r\n.\r\r\n", True),
        (b".\n", True),
        (b"x\r\n.\r", True),
        (b"x\r\n", False),
        (b"x.\r\n", False),
        (b"x\n.\nmore", False),
        (b"x\n..\n", False),
        (b"", False),
    ],
)
def test_S8_ends_that_an_old_client_may_have_meant(text: bytes, alike: bool) -> None:
    for chunks in [[text], [text[i : i + 1] for i in range(len(text))]]:
        body = Body("normalize")
        feed(body, *chunks)
        assert body.lookalike == alike


def test_S8_correct_chunks_are_handed_on_uncopied() -> None:
    body = Body("normalize")
    for chunk in (
        b"Subject: x\r\n\r\n",
        b"text" * 5000,
        b"and. more\r\n..\r\n",
        (b"A" * 76 + b"\r\n") * 100,
        b"\r\n.\r\n",
    ):
        (forwarded,), _ = body.feed(chunk)
        assert forwarded is chunk
    assert not body.stray


EVEN = (b"A" * 76 + b"\r\n") * 100
UNEVEN = b"".join(b"text. " * (at % 9) + b"\r\n" for at in range(400))


@pytest.mark.parametrize("text", [EVEN, EVEN + b"cut o", EVEN[1:-7], UNEVEN, b"..x" + UNEVEN + b"..", b"long" * 2000])
def test_S8_correct_text_passes_without_an_object_of_it(text: bytes) -> None:
    body = Body("normalize")
    assert body.passes(memoryview(text))
    assert body.passes(memoryview(EVEN))
    assert body.octets == len(text) + len(EVEN)
    assert body.feed(END) == ([END], len(END))


@pytest.mark.parametrize(
    "text",
    [
        *[b"", b"x\r\n", EVEN + b"\r", EVEN + END, EVEN + END + EVEN, UNEVEN + END, b".\r\n" + EVEN, UNEVEN + b"."],
        *[EVEN + b"\n", b"\n" + EVEN, EVEN + b"a\rb" + EVEN, UNEVEN + b"a\nb" + UNEVEN, EVEN + b"a\0" + EVEN],
        *[EVEN + b".text", EVEN[:40] + b"\n" + EVEN[41:], EVEN[:400] + b"\r" + EVEN[401:]],
    ],
)
def test_S8_what_is_not_proved_does_not_pass_and_nothing_has_changed(text: bytes) -> None:
    body, other = Body("normalize"), Body("normalize")
    assert not body.passes(memoryview(text))
    assert body.feed(text) == other.feed(text)
    assert body.octets == other.octets


def test_S8_nothing_passes_beside_what_is_held_or_behind_a_stray_newline() -> None:
    for before in (b"x\r", b"x\r\n.", b"x\n", b"x\n\0"):
        body = Body("normalize")
        body.feed(before)
        assert not body.passes(EVEN)
    body = Body("reject")
    body.feed(b"x\ny")
    assert not body.passes(EVEN)


def test_S8_more_than_the_work_buffer_holds() -> None:
    assert Body("normalize").passes(EVEN * 100)
    assert not Body("normalize").passes(EVEN * 100 + b"\n" + EVEN)


def test_S8_commands_behind_the_end_are_not_the_bodys() -> None:
    body = Body("reject")
    assert body.feed(b"x\r\n.\r\nQUIT\n.\r") == ([b"x\r\n.\r\n"], 6)
    assert not body.stray


def test_S8_only_the_first_end_is_the_end() -> None:
    assert Body("normalize").feed(b"x\r\n.\r\n.\r\n") == ([b"x\r\n.\r\n"], 6)


def test_S8_reject_forwards_nothing_from_the_first_stray_on() -> None:
    body = Body("reject")
    assert body.feed(b"fine\r\n") == ([b"fine\r\n"], None)
    assert body.feed(b"bare\nbad\r\n") == ([], None)
    assert body.rejected
    assert body.feed(b"fine again\r\n") == ([], None)
    assert body.feed(b".\r\nQUIT\r\n") == ([], 3)
    assert body.octets == 6


def test_S8_a_dot_line_is_held_back_up_to_the_line_limit() -> None:
    for length, dotted in ((LINE_LIMIT, b"."), (LINE_LIMIT + 1, b"")):
        body = Body("normalize")
        line = b"." + b"a" * (length - 1)
        assert feed(body, b"x\r\n" + line)[0] == b"x\r\n" + (b"" if dotted else line)
        assert feed(body, b"\n\r\n.\r\n")[0].endswith(END)
        assert body.octets == 3 + len(dotted) + length + 2 + len(END)


def test_a_dot_in_mid_line_is_not_held_back() -> None:
    assert feed(Body("normalize"), b"x", b".")[0] == b"x."


def test_empty_chunks_change_nothing() -> None:
    body = Body("normalize")
    assert body.feed(b"") == ([], None)
    assert feed(body, b"x\r", b"", b"\n.", b"", b"\r\n")[0] == b"x\r\n.\r\n"
