"""proxy/config/values.py: what a single value may look like, and that each message says what to do."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import Gate
from proxy.config.values import (
    LONGEST,
    UNITS,
    Parser,
    Wrong,
    boolean,
    choice,
    count,
    duration,
    duration_text,
    each,
    line,
    printable,
    quoted,
    refusal,
)


def said(parse: Parser[Any], value: object) -> str:
    with pytest.raises(Wrong) as caught:
        parse(value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0, 0.0),
        (30, 30.0),
        ("500ms", 0.5),
        ("30s", 30.0),
        ("30m", 1800.0),
        ("12h", 43200.0),
        ("30d", 2592000.0),
        ("365d", 31536000.0),
    ],
)
def test_durations_become_seconds(written: object, seconds: float) -> None:
    assert duration(0)(written) == seconds
    assert isinstance(duration(0)(written), float)


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("30", 'write "30s"'),
        ("-30s", "negative"),
        (-1, "negative"),
        (True, "not true or false"),
        (1.5, "not a fraction"),
        ("1.5h", "is not a duration"),
        ("1h30m", '"90m"'),
        ("30 s", "is not a duration"),
        ("30S", "is not a duration"),
        ("", "is not a duration"),
        ("٣s", "is not a duration"),  # a digit, but not an ASCII one
        ([30], "not a list"),
        ({"s": 30}, "not a table"),
        (datetime.time(0, 30), "not a date or time"),
        ("366d", 'at most "365d"'),
        ("9" * 5000 + "s", "is not a duration"),
    ],
)
def test_what_is_no_duration_is_told_with_the_cure(written: object, hint: str) -> None:
    assert hint in said(duration(0), written)


def test_a_duration_has_a_minimum() -> None:
    assert duration(1)("1s") == 1.0
    assert said(duration(1), "999ms") == 'is too short; take at least "1s"'
    assert said(duration(0.001), 0) == 'is too short; take at least "1ms"'


@given(st.integers(0, LONGEST))
def test_a_duration_is_written_as_it_is_read(milliseconds: int) -> None:
    seconds = milliseconds / UNITS["s"]
    assert duration(0)(duration_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0s"), (0.5, "500ms"), (90.0, "90s"), (1800.0, "30m"), (86400, "1d")]
)
def test_a_duration_is_written_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_truth_value_is_no_number_and_no_text() -> None:
    assert boolean(True) is True
    assert boolean(False) is False
    assert "not a number" in said(boolean, 1)
    assert "not a string" in said(boolean, "true")


def test_a_count_is_a_whole_number_within_its_bounds() -> None:
    assert [count(1, 3)(number) for number in (1, 3)] == [1, 3]
    assert said(count(1, 3), 0) == "0 is out of range; take 1 to 3"
    assert said(count(1, 3), 4) == "4 is out of range; take 1 to 3"
    assert said(count(1, 3), 16**5000) == "it is out of range; take 1 to 3"
    assert "not true or false" in said(count(0, 3), True)
    assert "not a fraction" in said(count(0, 3), 2.0)
    assert "not a string" in said(count(0, 3), "2")


def test_a_line_is_one_line_of_text() -> None:
    assert line("") == ""
    assert line("grün") == "grün"
    assert "not a number" in said(line, 5)
    for text in ("a\nb", "a\r", "\0", "\x1b[2J", "\x7f", "\u202e"):
        assert "can't be shown" in said(line, text)


def test_a_choice_tells_what_there_is() -> None:
    parse = choice(("upstream", "off"))
    assert parse("off") == "off"
    assert said(parse, "OFF") == '"OFF" is not known here; take "upstream" or "off"'
    assert "not true or false" in said(parse, False)


def test_every_bad_item_of_a_list_is_told() -> None:
    parse = each(count(0, 9))
    assert parse([1, 2]) == (1, 2)
    assert parse([]) == ()
    with pytest.raises(Wrong) as caught:
        parse([10, 2, "x"])
    assert len(caught.value.texts) == 2
    assert said(each(line), "x") == 'must be a list, not a string; write ["x"]'
    assert said(each(line), 5) == "must be a list, not a number; write [] around it"
    assert said(each(line, at_least=1), []) == "must not be empty; name at least one"


@pytest.mark.parametrize(
    "text",
    [
        Gate().refusal,
        "550 no",
        "554 5.7.1 {recipient} from {client}: no",
        "554 5 apples are not a status code",
        "554 5.7.1",
        "554 " + "x" * 396,
    ],
)
def test_a_refusal_is_taken(text: str) -> None:
    assert refusal(text) == text
    assert text.format(recipient="r", client="c")  # what is taken can be filled in


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "5xx"),
        ("Relay denied", "5xx"),
        ("451 4.7.1 later", "try again for days"),
        ("250 2.0.0 fine", "5xx"),
        ("560 no such second digit", "5xx"),
        ("554-more", "5xx"),
        ("554", "5xx"),
        ("554  ", "5xx"),
        ("554 4.7.1 no", "contradicts"),
        ("554 2.7.1", "contradicts"),
        ("554 no\r\n250 yes", "can't be shown"),
        ("554 nö", "ASCII"),
        ("554 " + "x" * 397, "at most 400"),
        ("554 {sender}", "brace"),
        ("554 {recipient!r}", "brace"),
        ("554 {}", "brace"),
        ("554 {{recipient}}", "brace"),
        ("554 }", "brace"),
        (554, "must be a string"),
    ],
)
def test_a_refusal_is_refused(text: object, hint: str) -> None:
    assert hint in said(refusal, text)


def test_what_cannot_be_shown_is_escaped_and_what_is_long_is_cut() -> None:
    assert printable('a\r\n\x1b[2J\u202eü"') == 'a\\r\\n\\x1b[2J\\u202eü"'
    assert quoted("x" * 80) == f'"{"x" * 80}"'
    assert quoted("x" * 81) == f'"{"x" * 80}..."'
