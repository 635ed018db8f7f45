"""From files to a `Config`, or to every reason why not.

`load` promises: what it returns is complete, consistent, and every key in the files has an effect; what it can't accept
it tells all at once, one line a problem, "FILE: KEY: what is wrong; what to do".  It opens the configuration files and
those that `local_domains_file` names, nothing else.

Relative paths are relative to the parent of conf.d, or to the folder of a single file; for the store and the control
socket $STATE_DIRECTORY and $RUNTIME_DIRECTORY (systemd.exec(5)) come first.  Not here: certificates and users, which
`popgate check` looks at.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from ..errors import ConfigError
from . import places
from .check import impossible
from .files import Table, find, read, readable
from .keys import Folders
from .schema import SINGLE, TABLES, Admin, Config, Gate, Listener, SenderMap, Store, Upstream
from .section import Problems, Section
from .values import Wrong, quoted


def load(path: Path | None) -> Config:
    """Read a folder or a file; None: ./conf.d, then /etc/popgate/conf.d.  Raises ConfigError with all problems."""
    source = find(path)
    root = read(source)
    problems = Problems()
    config = _password_upstreams(_config(Section(root, problems), source.base, source.files))
    for keys, text in impossible(config):
        if problems.bad.isdisjoint(keys):
            problems.add(root.origin(keys[0]), keys[0], text)
    if problems.lines:
        raise ConfigError(problems.lines)
    return config


def control_socket(path: Path | None) -> tuple[Path, list[str]]:
    """Where the running popgate is asked, and what is wrong with the files: it may serve by what they said before.

    Raises ConfigError where they don't tell it: `admin.control` is wrong, or may stand in a file that is no TOML.
    """
    try:
        return load(path).admin.control, []
    except ConfigError as error:
        source = find(path)
        root, unread = readable(source)
        problems = Problems()
        section = Section(Section(root, problems).inner("admin"), problems)
        admin = section.build(Admin, Folders(runtime=_directory("RUNTIME_DIRECTORY", source.base)))
        is_told = "control" in section.table.entries or not unread
        if not is_told or not problems.bad.isdisjoint(("admin", "admin.control")):
            raise
        return admin.control, error.problems


def _password_upstreams(config: Config) -> Config:
    """Where `auth = "pop3"` names no upstream, the only one for POP3 is meant."""
    [only, *others] = sorted({one.upstream for one in config.listeners.values() if one.protocol == "pop3"}) or [""]
    if others or not only:
        return config

    def completed(gate: Gate) -> Gate:
        wanted = gate.auth == "pop3" and not gate.auth_upstream
        return replace(gate, auth_upstream=only) if wanted else gate

    listeners = {name: replace(one, gate=completed(one.gate)) for name, one in config.listeners.items()}
    return replace(config, gate=completed(config.gate), listeners=listeners)


def _config(root: Section, base: Path, files: tuple[Path, ...]) -> Config:
    folders = Folders(base, _directory("STATE_DIRECTORY", base), _directory("RUNTIME_DIRECTORY", base))
    gate = root.inner("gate")
    config = Config(
        **root.values(Config, folders),
        gate=_gate(root.section(gate), folders),
        store=root.section(root.inner("store")).build(Store, folders),
        listeners=_listeners(root, gate, folders),
        upstreams={
            name: root.section(table).build(Upstream, folders, name=name)
            for name, table in _named(root, "upstream").items()
        },
        **{name: root.section(root.inner(name)).build(TABLES[name], folders) for name in SINGLE},
        base=base,
        files=files,
    )
    root.done()
    return config


def _directory(variable: str, base: Path) -> Path:
    """The folder that systemd gave us; it may list several, of which the first is ours."""
    first = os.environ.get(variable, "").partition(":")[0]
    return Path(first) if first else base


def _gate(section: Section, folders: Folders) -> Gate:
    """[gate], or a listener's own; with what the files say that it names."""
    gate = section.build(Gate, folders)
    if gate.local_domains_file is not None:
        domains = gate.local_domains + _domains_of(gate.local_domains_file, section)
        gate = replace(gate, local_domains=domains)
    if gate.sender_map is not None:
        gate = replace(gate, sender_map=_sender_map(gate.sender_map.path, section))
    return replace(gate, local_domains=tuple(dict.fromkeys(gate.local_domains)))


def _lines_of(file: Path, key: str, section: Section) -> list[tuple[int, str]]:
    """The lines of the file that `key` names, with their numbers; # begins a comment."""
    entry = section.table.entries[key]
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        section.problems.add(entry.file, entry.key, f"{file} can't be read ({reason}); mend it, or the path")
        return []
    return list(enumerate((one.partition("#")[0].strip() for one in lines), 1))


def _sender_map(file: Path, section: Section) -> SenderMap:
    """The lines of a sender_map: a login, then the addresses it may use."""
    logins: dict[str, tuple[str, ...]] = {}
    for number, text in _lines_of(file, "sender_map", section):
        login, *addresses = text.split() or [""]
        if login and not (addresses and all(re.fullmatch("[^<>]*@[^<>@]+", one) for one in addresses)):
            problem = "a login, then the addresses it may use (anna@example.com, or @example.com for all of a domain)"
            section.problems.add(str(file), f"line {number}", f"{quoted(text)} is not: {problem}")
        elif login:
            logins[login] = (*logins.get(login, ()), *addresses)
    return SenderMap(file, logins)


def _domains_of(file: Path, section: Section) -> tuple[str, ...]:
    """The domains in a local_domains_file, one a line."""
    found: list[str] = []
    for number, text in _lines_of(file, "local_domains_file", section):
        try:
            found += [places.domain(text)] if text else []
        except Wrong as error:
            section.problems.add(str(file), f"line {number}", str(error))
    return tuple(found)


def _named(root: Section, sort: str) -> dict[str, Table]:
    """The tables [listener.NAME] or [upstream.NAME], by name."""
    found: dict[str, Table] = {}
    for name, entry in root.inner(sort).entries.items():
        if not isinstance(entry, Table):
            root.problems.add(entry.file, entry.key, f"{sort}s have names; write it under [{sort}.NAME]")
        elif not re.fullmatch("[A-Za-z0-9_-]{1,40}", name):
            root.problems.add(entry.file, sort, f"{quoted(name)} is no name; take up to 40 letters, digits, - and _")
        else:
            found[name] = entry
    return found


def _listeners(root: Section, gate: Table, folders: Folders) -> dict[str, Listener]:
    tables = _named(root, "listener")
    if not tables and "listener" not in root.problems.bad:
        text = 'there is none, so nothing would be served; write [listener.smtp] with protocol = "smtp" and bind'
        root.problems.add(root.table.file, "listener", text)
    return {name: _listener(root.section(table), name, gate, folders) for name, table in tables.items()}


def _listener(section: Section, name: str, gate: Table, folders: Folders) -> Listener:
    own = _gate(section.section(section.inner("gate").over(gate)), folders)
    listener = section.build(Listener, folders, name=name, gate=own)
    return replace(listener, upstream=listener.upstream or listener.protocol)
