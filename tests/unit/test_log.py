"""log.py: the grammar of a line, escaping, batches, JSON."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from proxy.log import BATCH, MAX_VALUE, Log, WarningThrottle, node_log, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [A-Z]+ [a-z0-9]+ [a-z-]+( [a-z_]+=([^ \"]+|\"([^\"\\]|\\.)*\"))*"
)


def opened(level: str, form: str, file: str) -> Log:
    log = node_log()
    log.point(level, form, file)
    return log


@pytest.fixture
def written() -> Iterator[list[str]]:
    """What reaches loguru, one item a write."""
    batches: list[str] = []
    logger.remove()
    logger.add(lambda message: batches.append(str(message)), format="{message}", level=0)
    yield batches
    logger.remove()
    logger.add(sys.stderr)


def test_N11_a_line_s_grammar(written: list[str]) -> None:
    log = Log("debug", clock=lambda: 1_800_000_000.5)
    log.line("info", "smtp", "end", ("client", "192.0.2.7"), ("id", "1-4f"), ("in", 12), ("seconds", 0.5))
    log.flush()
    (line,) = "".join(written).splitlines()
    assert LINE.fullmatch(line)
    assert line.endswith(".500 INFO smtp end client=192.0.2.7 id=1-4f in=12 seconds=0.5")


def test_words_without_a_value_are_left_out_and_nought_is_a_value(written: list[str]) -> None:
    log = Log()
    log.line("info", "smtp", "end", ("login", ""), ("upstream", None), ("in", 0))
    log.flush()
    assert written[0].endswith(" smtp end in=0\n")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("a@b.test", "a@b.test"),
        ("two words", '"two words"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("line\r\nsmtp end client=1.2.3.4", '"line\\x0d\\x0asmtp end client=1.2.3.4"'),
        ("nul\0esc\x1b[31m", '"nul\\x00esc\\x1b[31m"'),
        ("\x85", '"\\xc2\\x85"'),
        ("\u2028", '"\\xe2\\x80\\xa8"'),
        ("\u202e", '"\\xe2\\x80\\xae"'),
        ("\u061c", '"\\xd8\\x9c"'),
        ("m\xfcller", '"m\xfcller"'),
        (b"\xff\xfe".decode("utf-8", "surrogateescape"), '"\\xff\\xfe"'),
        ("", '""'),
        ("x" * MAX_VALUE, "x" * MAX_VALUE),
        ("x" * (MAX_VALUE + 1), '"' + "x" * MAX_VALUE + '..."'),
    ],
)
def test_N11_values_are_escaped_and_cut(value: str, text: str) -> None:
    assert quoted(value) == text


@given(st.text(st.characters(exclude_categories=[]), max_size=300))
def test_N11_no_value_breaks_a_line_or_hides_in_one(value: str) -> None:
    """One event, one line, whatever a peer chose: no control, format, separator or surrogate goes through raw."""
    text = quoted(value)
    assert len(text.splitlines()) <= 1
    assert not {unicodedata.category(character) for character in text} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert re.fullmatch(r'[!#-~]+|"([^"\\]|\\.)*"', text)
    if text.startswith('"'):
        assert " " not in text or text.endswith('"')


def test_every_character_by_itself() -> None:
    for number in range(0x20000):
        character = chr(number)
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            assert character not in quoted(character), hex(number)


def test_N11_below_the_level_nothing_is_written(written: list[str]) -> None:
    log = Log("warning")
    for level in ("debug", "info"):
        log.line(level, "smtp", "end")
    log.flush()
    assert written == []


def test_N11_lines_go_in_batches_and_a_batch_is_one_write(written: list[str]) -> None:
    log = Log()
    for number in range(BATCH - 1):
        log.line("info", "smtp", "end", ("in", number))
    assert written == []
    log.line("info", "smtp", "end", ("in", BATCH))
    assert len(written) == 1
    assert written[0].count("\n") == BATCH
    assert written[0].endswith("\n")
    log.flush()
    assert len(written) == 1


@pytest.mark.parametrize("level", ["warning", "error"])
def test_N11_what_is_urgent_goes_at_once_and_in_order(written: list[str], level: str) -> None:
    log = Log()
    log.line("info", "smtp", "first")
    log.line(level, "smtp", "second")
    assert re.findall("first|second", "".join(written)) == ["first", "second"]


def test_braces_and_markup_of_a_peer_mean_nothing_to_loguru(written: list[str]) -> None:
    log = Log()
    log.line("info", "smtp", "end", ("why", "{0} {time} <red>x</red> %s"))
    log.flush()
    assert '"{0} {time} <red>x</red> %s"' in written[0]


def test_N11_json_one_object_a_line(written: list[str]) -> None:
    log = Log("info", "json", clock=lambda: 1_800_000_000.25)
    log.line("info", "smtp", "end", ("client", "::1"), ("why", 'a\r\n"b" \u2028\x00'), ("in", 5), ("login", ""))
    log.line("info", "smtp", "end")
    log.flush()
    first, second = written[0].splitlines()
    fact = json.loads(first)
    assert fact.pop("time").endswith(".250")
    assert fact == {
        "level": "info", "subject": "smtp", "event": "end", "client": "::1", "why": 'a\r\n"b" \u2028\x00', "in": 5,
    }  # fmt: skip
    assert json.loads(second)["event"] == "end"
    assert first.isascii()


def test_N11_json_values_are_cut_too_and_octets_that_are_no_utf_8_can_be_read_by_all(written: list[str]) -> None:
    log = Log("info", "json")
    log.line("info", "smtp", "end", ("why", "x" * 10000), ("login", b"a\xff".decode("utf-8", "surrogateescape")))
    log.flush()
    fact = json.loads(written[0])
    assert len(fact["why"]) == MAX_VALUE + len("...")
    assert fact["login"].encode("utf-8") == b"a\\xff"


def test_the_time_is_the_line_s_and_not_the_batch_s(written: list[str]) -> None:
    now = [1_800_000_000.999]
    log = Log(clock=lambda: now[0])
    log.line("info", "smtp", "one")
    now[0] += 0.002
    log.line("info", "smtp", "two")
    log.flush()
    one, two = written[0].splitlines()
    assert one[20:23] == "999"
    assert two[20:23] == "001"
    assert one[:19] < two[:19]


def test_N1_what_one_process_has_said_the_others_do_not_say_within_the_hour() -> None:
    now = [1_800_000_000.0]
    said = WarningThrottle()
    log, other = (Log(clock=lambda: now[0], said=said) for _ in range(2))
    assert log.first_this_hour(("192.0.2.50", "no PROXY header"))
    assert not other.first_this_hour(("192.0.2.50", "no PROXY header"))
    assert other.first_this_hour(("192.0.2.51", "no PROXY header"))
    now[0] += 3599.0
    assert not log.first_this_hour(("192.0.2.50", "no PROXY header"))
    now[0] += 1.0
    assert log.first_this_hour(("192.0.2.50", "no PROXY header"))
    assert not other.first_this_hour(("192.0.2.50", "no PROXY header"))


def test_N1_logs_of_one_node_share_what_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    """The supervisor has one, and each worker."""
    try:
        assert opened("info", "text", "").first_this_hour("test_N1_logs_of_one_node")
        assert not opened("info", "text", "").first_this_hour("test_N1_logs_of_one_node")
    finally:
        logger.remove()
        logger.add(sys.stderr)


def test_a_file_gets_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "popgate.log"
    log = opened("info", "text", str(path))
    try:
        log.line("info", "smtp", "end", ("why", "m\xfcller"))
        log.flush()
        assert path.read_text("utf-8").endswith('smtp end why="m\xfcller"\n')
    finally:
        logger.remove()
        logger.add(sys.stderr)


def test_a_file_that_can_t_be_opened_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "popgate.log"
    folder.mkdir()
    try:
        with pytest.raises(OSError):
            opened("info", "text", str(folder))
    finally:
        logger.remove()
        logger.add(sys.stderr)


def test_stderr_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    log = opened("info", "text", "")
    try:
        log.line("warning", "popgate", "hello")
        assert capsys.readouterr().err.endswith("WARNING popgate hello\n")
    finally:
        logger.remove()
        logger.add(sys.stderr)
