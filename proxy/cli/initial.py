"""The first configuration: `popgate init` writes conf.d as it is shipped, and a file of its own with what was answered.

The shipped files are those of the repository's conf.d: every key with its default and a comment.  They are left as they
are; the answers go into 99-local.toml behind them, where an administrator goes on, and an upgrade may replace the rest.

Promises: no file is overwritten without `force`; what is written can be loaded, whatever was answered.
"""

from __future__ import annotations

import json
import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..config import places
from ..config.values import Wrong
from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

SHIPPED: Final = Path(__file__).parents[1] / "shipped"  # in the repository a link to conf.d, in a wheel its files
LOCAL: Final = "99-local.toml"
PORTS: Final = {"pop3": 110, "smtp": 25}


@dataclass(frozen=True, slots=True)
class Answers:
    """What has no default that could be right."""

    pop3: str
    """HOST:PORT, as `server` gives it."""
    smtp: str
    """As `pop3`."""
    domains: tuple[str, ...]
    """The mail server takes mail for these."""
    user: str = ""
    """What popgate becomes; "": no other."""


def server(text: str, protocol: str) -> str:
    """HOST or HOST:PORT as the configuration writes it; raise Wrong for what is none."""
    wrongs: list[Wrong] = []
    for given in (text, f"{text}:{PORTS[protocol]}", f"[{text}]:{PORTS[protocol]}"):
        try:
            return str(places.server(given))
        except Wrong as wrong:
            wrongs.append(wrong)
    with_port, without, as_ipv6 = wrongs  # which of them was meant?
    raise without if ":" not in text else as_ipv6 if text.count(":") > 1 and not text.startswith("[") else with_port


def folder_of(place: Path) -> Path:
    """conf.d in a folder, or the folder itself if that is its name."""
    return place if place.name == "conf.d" else place / "conf.d"


def write(place: Path, answers: Answers, *, force: bool = False) -> Path:
    """Write the files, and return their folder; raise ConfigError if some are there, or it can't be done."""
    folder = folder_of(place)
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(SHIPPED.glob("*.toml"))}
    texts[LOCAL] = _local(answers)
    present = sorted(path.name for path in folder.glob("*.toml")) if folder.is_dir() else []
    if present and not force:
        raise ConfigError([f"{folder}: has files already ({', '.join(present)}); --force replaces them"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{error.filename or folder}: can't be written: {error.strerror}"]) from error
    return folder


def state_of(user: str) -> str:
    """A folder that `user` may write: its home, if that is one; "" where there is none."""
    try:
        home = pwd.getpwnam(user).pw_dir
        owner = os.stat(home).st_uid
    except (KeyError, OSError):
        return ""
    return home if owner == pwd.getpwnam(user).pw_uid else ""


def _local(answers: Answers) -> str:
    state = state_of(answers.user) if answers.user else ""
    lines = ["# What is this machine's own; it sorts behind the other files and wins over them, key by key.", ""]
    if answers.user:
        lines += [f"user = {_text(answers.user)}", ""]
    lines += ["[gate]", f"local_domains = {_texts(answers.domains)}", ""]
    lines += ["[upstream.pop3]", f"servers = {_texts([answers.pop3])}", ""]
    lines += ["[upstream.smtp]", f"servers = {_texts([answers.smtp])}"]
    if state:
        lines += [
            "",
            "# In a folder that the user may write.",
            "[store]",
            f"url = {_text(f'sqlite:{state}/leases.db')}",
        ]
        lines += ["", "[admin]", f"control = {_text(f'{state}/popgate.sock')}"]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """As TOML; JSON's strings are TOML's basic strings, but for DEL, which TOML wants escaped."""
    return json.dumps(text).replace("\x7f", "\\u007f")


def _texts(texts: Sequence[str]) -> str:
    return f"[{', '.join([_text(text) for text in texts])}]"
