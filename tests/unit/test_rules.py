"""docs/rules.md: every rule that anything here names has its heading there, and every rule there is in a test's name.

A rule is named as "rule G7", "rules S2 to S6" or "(rule S8, S9)", in proxy/ also by its number alone; tests and
transcripts carry it in their names.  Threats have letters of their own (docs/threats.md).
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from proxy.config import schema

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "rules.md").read_text("utf-8")
RULES = re.findall(r"^### ([GSPN]\d+)\. \S", PAGE, re.MULTILINE)
LAST = {"G": 16, "S": 12, "P": 6, "N": 11}
PARTS = dict(zip(RULES, re.split(r"^### .+$", PAGE, flags=re.MULTILINE)[1:], strict=True))

_NUMBER = r"[GSPN]\d{1,2}"
_NAMED = re.compile(rf"\b[Rr]ules?\s+({_NUMBER}(?:(?:,|;|\s+(?:and|or|to)|,\s+and)\s+{_NUMBER})*)\b")
_ALONE = re.compile(rf"(?<![\w.$+]){_NUMBER}(?![\w.*])")
_OF_TEST = re.compile(rf"_({_NUMBER})(?=_|\b)")
_OF_TRANSCRIPT = re.compile(rf"(?:^|-)({_NUMBER})(?=-|$)")
_DEFINED = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)
_TABLES = {
    "gate": schema.Gate, "store": schema.Store, "listener.NAME": schema.Listener, "upstream.NAME": schema.Upstream,
    "tls": schema.Tls, "limits": schema.Limits, "whoson": schema.Whoson, "admin": schema.Admin, "log": schema.Log,
}  # fmt: skip
_KEY = re.compile(rf"`({'|'.join(map(re.escape, _TABLES))})\.([a-z_]+)(?: = [^`]+)?`")


def texts() -> list[tuple[str, str]]:
    """Path and text of all that may name a rule, but for the page itself and the threats, whose letters differ."""
    paths = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
    for folder, endings in (("proxy", {".py"}), ("tests", {".py", ".txt"}), ("docs", {".md"}), ("conf.d", {".toml"})):
        paths += [path for path in (ROOT / folder).rglob("*") if path.suffix in endings]
    paths += [path for path in (ROOT / "scripts").rglob("*") if path.is_file() and path.suffix in {"", ".py", ".cfg"}]
    apart = {ROOT / "docs" / "rules.md", Path(__file__)}
    return [(str(path.relative_to(ROOT)), path.read_text("utf-8")) for path in sorted(paths) if path not in apart]


TEXTS = texts()
TESTS = [name for path, text in TEXTS if path.startswith("tests/") for name in _DEFINED.findall(text)]
TRANSCRIPTS = [path.stem for path in (ROOT / "tests" / "transcripts").rglob("*.txt")]


def test_the_page_has_every_number_once_and_in_order() -> None:
    assert [f"{letter}{number}" for letter, last in LAST.items() for number in range(1, last + 1)] == RULES


def test_every_rule_that_is_named_has_its_heading() -> None:
    named = [(path, number) for path, text in TEXTS for found in _NAMED.findall(text)
             for number in re.findall(_NUMBER, found)]  # fmt: skip
    named += [(path, number) for path, text in TEXTS if path.startswith("proxy/") for number in _ALONE.findall(text)]
    assert len(named) > 300
    assert [(path, number) for path, number in named if number not in PARTS] == []


def test_every_rule_in_a_test_s_or_transcript_s_name_has_its_heading() -> None:
    named = [(name, number) for name in TESTS for number in _OF_TEST.findall(name)]
    named += [(name, number) for name in TRANSCRIPTS for number in _OF_TRANSCRIPT.findall(name)]
    assert [(name, number) for name, number in named if number not in PARTS] == []


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_in_a_test_s_or_transcript_s_name(rule: str) -> None:
    assert any(rule in _OF_TEST.findall(name) for name in TESTS) or any(
        rule in _OF_TRANSCRIPT.findall(name) for name in TRANSCRIPTS
    )


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_says_why_which_threats_and_which_key(rule: str) -> None:
    part = re.split(r"^## ", PARTS[rule], flags=re.MULTILINE)[0]
    for what in (r"^\*Why:\* ", r"^\*Threats:\* [A-H]\d", r"\*Keys?:\* "):
        assert re.search(what, part, re.MULTILINE), what


def test_every_key_that_the_page_names_exists() -> None:
    named = _KEY.findall(PAGE)
    assert len(named) > 50
    for table, name in named:
        assert name in {field.name for field in fields(_TABLES[table])}, f"{table}.{name}"


def test_every_link_of_the_page_leads_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert (target[1:] in anchors) if target.startswith("#") else (ROOT / "docs" / target).is_file(), target


@pytest.mark.parametrize("page", ["architecture.md", "rules.md", "glossary.md", "../CONTRIBUTING.md", "../SECURITY.md"])
def test_every_test_and_link_of_a_page_is_there(page: str) -> None:
    path = ROOT / "docs" / page
    text = path.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert (path.parent / target).is_file(), target
    for name in re.findall(r"\b(test_\w+)(?![\w.])", text):
        assert name in TESTS, name


def test_every_promise_that_is_named_is_one_of_the_eight() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8").partition("## The processes")[0]
    assert re.findall(r"^(\d)\. \*\*", text, re.MULTILINE) == re.findall(r"^\| (\d) \|", text, re.MULTILINE)
    promises = re.compile(r"\b[Pp]romises?[ _](\d(?:(?:, | and | to )\d)*)")
    named = "".join(found for _, text in TEXTS for found in promises.findall(text))
    assert set(re.findall(r"\d", named)) <= set("12345678")


_FOLDERS = (
    "session|net|gate|wire|leases|node|admin|cli|queries|shared_memory|neighbours|config|selftest|upstream_client"
)
_FILE = re.compile(rf"\b((?:{_FOLDERS}|tests)/[\w/]+\.py)")


@pytest.mark.parametrize("page", ["architecture.md", "rules.md", "glossary.md", "../CONTRIBUTING.md"])
def test_the_files_that_a_page_names_are_there(page: str) -> None:
    for name in _FILE.findall((ROOT / "docs" / page).read_text("utf-8")):
        path = ROOT / name if name.startswith("tests/") else ROOT / "proxy" / name
        assert path.is_file(), name
