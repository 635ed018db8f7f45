"""README.md, docs/*.md and CHANGELOG.md name only what exists: commands, files, keys, log lines, replies, links.

What each sentence claims is held by other tests; here, that no name in it has gone stale, that each page begins as a
page does, and that it can be found.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from loguru import logger

from proxy import __version__
from proxy.cli import parser_of_all
from proxy.config import load, schema
from proxy.gate.verdict import Reason
from proxy.log import LEVELS, Log
from proxy.session.pop3 import texts as pop3_texts
from proxy.session.smtp import texts as smtp_texts

from ..support.configuration import loaded

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FOR_ENGINEERS = {"rules.md", "threats.md", "races.md", "architecture.md", "glossary.md"}
"""They name tests, classes and old programs, so only their links, their beginning and their place are checked."""
PAGES = sorted(DOCS.glob("*.md"))
LINKING = sorted([*ROOT.glob("*.md"), *PAGES])
"""Whatever has links."""
TEXTS = {
    str(file.relative_to(ROOT)): file.read_text("utf-8")
    for file in (ROOT / "README.md", *PAGES)
    if file.name not in FOR_ENGINEERS
}
ALL = "\n".join(TEXTS.values())


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


CODE = sorted(set(re.findall(r"`([^`\n]+)`", prose(ALL))))
PLACEHOLDERS = {"ADDRESS": "192.0.2.7", "LOGIN": "alice", "NAME": "mail.example.com"}
POP3 = """
[listener.pop3]
protocol = "pop3"
bind = ["127.0.0.1:0"]
[upstream.pop3]
servers = ["192.0.2.10:110"]
"""
EXAMPLES = {"conf.d/99-local.toml", "conf.d/99-pool.toml"}  # the administrator's own, not shipped
TABLES = {
    "gate": schema.Gate,
    "store": schema.Store,
    "listener.NAME": schema.Listener,
    "upstream.NAME": schema.Upstream,
    "tls": schema.Tls,
    "limits": schema.Limits,
    "whoson": schema.Whoson,
    "postfix": schema.Postfix,
    "admin": schema.Admin,
    "log": schema.Log,
}
KEY = re.compile(rf"({'|'.join(map(re.escape, TABLES))})\.([a-z_]+)( = .+)?")
LOG_LINE = re.compile(
    r"(\S+ \S+\.)(\d{3}) ([A-Z]+) ([a-z0-9]+) ([a-z-]+)((?: [a-z]+=(?:\"(?:[^\"\\]|\\.)*\"|[^ \"]+))*)"
)
LOG_WORD = re.compile(r" ([a-z]+)=(\"(?:[^\"\\]|\\.)*\"|[^ \"]+)")


def blocks(language: str) -> list[str]:
    """Of all pages, each once."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", ALL, re.MULTILINE | re.DOTALL)
    return list(dict.fromkeys(found))


SHELL = [shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()]
COMMANDS = [shlex.join(words[1:]) for words in SHELL if words[:1] == ["popgate"]]
COMMANDS += [code.removeprefix("popgate ") for code in CODE if code.startswith("popgate ")]
LOG_LINES = "".join(blocks("log")).splitlines()


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_every_command_line_is_one(command: str) -> None:
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)]
    assert callable(parser_of_all().parse_args(words).command)


def test_every_command_is_told() -> None:
    table = TEXTS["docs/commands.md"].partition("## Commands")[2].partition("## Exit codes")[0]
    for action in ("run", "check", "selftest", "demo", "leases", "why", "status", "drain", "reload", "certs make",
                   "sessions", "kick", "trace", "log-level"):  # fmt: skip
        assert f"`popgate {action}" in table


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\bscripts/[a-z0-9]+", ALL))))
def test_every_script_is_there_and_can_be_run(name: str) -> None:
    assert (ROOT / name).stat().st_mode & 0o111


def test_every_option_of_a_script_is_known_to_it() -> None:
    used = [words for words in SHELL if words[:1] and words[0].startswith("scripts/")]
    used += [code.split() for code in CODE if code.startswith("scripts/")]
    assert used
    for script, *options in used:
        known = (ROOT / script).read_text()
        assert all(option in known for option in options)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\bconf\.d/[\w-]+\.toml", ALL)) - EXAMPLES))
def test_every_configuration_file_is_there(name: str) -> None:
    assert (ROOT / name).is_file()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\btests/[\w/]+\.py", ALL))))
def test_every_test_file_is_there(name: str) -> None:
    assert (ROOT / name).is_file()


def anchors(file: Path) -> set[str]:
    """What a link to a heading of this page says behind its #."""
    headings = re.findall(r"^#+ (.+)$", prose(file.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page.read_text("utf-8"))):
        if re.match(r"https?://|mailto:", target):
            continue
        name, _, heading = target.partition("#")
        file = page.parent / name if name else page
        assert file.is_file(), target
        assert not heading or heading in anchors(file), target


def test_the_readme_is_short() -> None:
    text = TEXTS["README.md"]
    assert len(text.splitlines()) <= 200
    assert len(text.encode()) <= 10_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_begins_with_a_heading_and_a_sentence(page: Path) -> None:
    heading, sentence, _ = page.read_text("utf-8").split("\n\n", 2)
    assert re.fullmatch(r"# \S.*", heading)
    assert re.match(r"[A-Za-z`]", sentence)
    assert re.search(r"\.(\s|$)", sentence)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_in_the_index(page: Path) -> None:
    if page.name != "README.md":
        assert f"]({page.name})" in TEXTS["docs/README.md"]


def test_every_page_for_administrators_is_on_the_readme_s_map() -> None:
    elsewhere = {"README.md", "bench.md", "growth.md"} | FOR_ENGINEERS  # the index, and what scripts/bench writes
    for page in PAGES:
        if page.name not in elsewhere:
            assert f"](docs/{page.name})" in TEXTS["README.md"]


def test_the_picture_is_whole_and_fetches_nothing() -> None:
    picture = ET.parse(ROOT / "docs" / "where-it-stands.svg").getroot()
    names = [element.tag.partition("}")[2] for element in picture.iter()]
    assert {"title", "desc"} <= set(names)
    assert not {"image", "script", "use", "foreignObject"} & set(names)


@pytest.mark.parametrize("code", [code for code in CODE if KEY.fullmatch(code)])
def test_every_key_exists_and_takes_what_is_written(code: str, tmp_path: Path) -> None:
    match = KEY.fullmatch(code)
    assert match is not None
    assert match[2] in {field.name for field in fields(TABLES[match[1]])}
    if match[3]:
        loaded(tmp_path, code.replace("NAME", "smtp") + POP3)


def shipped_with(folder: Path, *own: str) -> Path:
    """The shipped conf.d with the administrator's own files behind it."""
    place = folder / "conf.d"
    shutil.copytree(ROOT / "conf.d", place)
    for number, text in enumerate(own):
        (place / f"99-{number}.toml").write_text(text)
    return place


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_configuration_loads_on_top_of_the_shipped_one(text: str, tmp_path: Path) -> None:
    load(shipped_with(tmp_path, text))


def test_the_configurations_load_together(tmp_path: Path) -> None:
    config = load(shipped_with(tmp_path, *blocks("toml")))
    assert config.user == "popgate"
    gateway = {"gateway-pop3", "gateway-smtp"}
    assert set(config.listeners) == {"pop3", "pop3s", "smtp", "smtps", "submission"} | gateway


@pytest.fixture
def written() -> Iterator[list[str]]:
    """What reaches loguru."""
    batches: list[str] = []
    logger.remove()
    logger.add(lambda message: batches.append(str(message)), format="{message}", level=0)
    yield batches
    logger.remove()
    logger.add(sys.stderr)


@pytest.mark.parametrize("line", LOG_LINES)
def test_every_log_line_is_what_the_log_writes(line: str, written: list[str]) -> None:
    match = LOG_LINE.fullmatch(line)
    assert match is not None
    moment = time.mktime(time.strptime(match[1], "%Y-%m-%d %H:%M:%S.")) + (int(match[2]) + 0.5) / 1000
    words = [(key, re.sub(r"\\(.)", r"\1", value.strip('"'))) for key, value in LOG_WORD.findall(match[6])]
    log = Log("debug", clock=lambda: moment)
    log.line(match[3].lower(), match[4], match[5], *words)
    log.flush()
    assert written == [line + "\n"]


def nodes() -> Iterator[ast.AST]:
    """The program's source, all of it."""
    for file in (ROOT / "proxy").rglob("*.py"):
        yield from ast.walk(ast.parse(file.read_text("utf-8")))


def said() -> dict[str, set[str]]:
    """Each event that the source puts into the log, with its levels: Log.line(level, subject, event, ...) and the
    journal's own _line(level, event, ...)."""
    found: dict[str, set[str]] = {}
    places = {"line": 2, "_line": 1}
    for node in nodes():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in places:
            if len(node.args) <= places[node.func.attr]:
                continue  # another one's _line(line)
            level, event = node.args[0], node.args[places[node.func.attr]]
            for name in strings(event):
                found.setdefault(name, set()).update(strings(level) or LEVELS)  # a variable may be any level
    return found


def strings(expression: ast.expr) -> list[str]:
    """The texts that an argument may be: itself, or both sides of "a if ... else b"."""
    if isinstance(expression, ast.IfExp):
        return strings(expression.body) + strings(expression.orelse)
    return [expression.value] if isinstance(expression, ast.Constant) and isinstance(expression.value, str) else []


def pairs() -> set[object]:
    """The first halves of the pairs in the source: among them all keys of log lines."""
    return {
        node.elts[0].value
        for node in nodes()
        if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant)
    }


def test_every_event_is_explained_and_none_that_does_not_exist() -> None:
    table = TEXTS["docs/log.md"].partition("| event | meaning |")[2].partition("\n\n")[0]
    explained = re.findall(r"`([a-z-]+)`", "".join(row.split("|")[1] for row in table.splitlines()[2:]))
    assert sorted(explained) == sorted(said())


def test_the_levels_and_words_of_the_log_lines_are_the_program_s() -> None:
    levels, known = said(), pairs()
    for line in LOG_LINES:
        match = LOG_LINE.fullmatch(line)
        assert match is not None
        assert match[3].lower() in levels[match[5]], line
        assert {key for key, _ in LOG_WORD.findall(match[6])} <= known, line


REPLIES = [
    value.decode() for module in (smtp_texts, pop3_texts) for value in vars(module).values() if isinstance(value, bytes)
]
REPLIES += [smtp_texts.refusal(schema.Gate().refusal, b"friend@example.org", "").decode()]
REPLIES += [smtp_texts.refusal("", b"friend@example.org", "", Reason.SENDER).decode()]
REPLIES += ["421 4.7.0 Too many connections, try again later\r\n"]


@pytest.mark.parametrize("code", [code for code in CODE if re.match(r"[245]\d\d \d\.|-ERR", code)])
def test_every_reply_is_one_that_clients_get(code: str) -> None:
    pattern = ".*".join(map(re.escape, code.split(" ... ")))
    assert any(re.match(pattern, reply) for reply in REPLIES)


def test_the_changelog_knows_this_version() -> None:
    first = re.search(r"^## (\S+?),", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert first is not None
    assert first[1] == __version__
