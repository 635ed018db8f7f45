"""What wire/dots.py forwards in mode normalize, octet by octet: a reference, slow and plain (rule S8)."""

from __future__ import annotations

from proxy.wire.dots import LINE_LIMIT


def reference(text: bytes) -> tuple[bytes, int, bool]:
    """What is forwarded, where the end of data lies, and whether a stray newline was seen; slow and plain.

    `text` must have an end of data.
    """
    out, line, began_stray, stray, at = bytearray(), bytearray(), False, False, 0
    while True:
        octet = text[at : at + 1]
        if octet not in (b"\r", b"\n"):
            assert octet, "the text has no end of data"
            line += octet
            at += 1
            continue
        proper = text[at : at + 2] == b"\r\n"
        at += 2 if proper else 1
        stray = stray or not proper
        one_dot = line[:1] == b"." and line[:2] != b".."
        if line == b"." and proper and not began_stray:
            return bytes(out + b".\r\n"), at, stray
        nuls = len(line) - len(line.lstrip(b"\0"))
        if nuls and line[nuls : nuls + 1] == b".":
            line.insert(nuls, ord("."))
        elif one_dot and (began_stray or line[1:2] == b"\0" or (not proper and len(line) <= LINE_LIMIT)):
            line.insert(0, ord("."))
        out += line + b"\r\n"
        line.clear()
        began_stray = not proper
