"""What popgate will open once it is `user`, tried beforehand as that user, for `popgate check`.

Warnings, and no errors: a folder that is not there yet may be made at the start (systemd's RuntimeDirectory=), and mail
can be read without a store.  Nothing is made or changed here.  Who is neither root nor `user` can't try, and hears
nothing.  What the running popgate says of the same: status.py; whether SQLite takes the store: selftest/machine.py.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

from ..sinks import SYSLOG, SYSLOG_BSD
from .privileges import as_user, known

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..config import Config


def warnings(config: Config, keys: Iterable[Path]) -> list[str]:
    """One line for each thing that `user` can't open; `keys`: files of private keys."""
    if config.user and os.geteuid() not in (0, known(config.user).pw_uid):
        return []
    who = config.user or _name(os.geteuid())
    with as_user(config.user):
        found = [_unmakeable("admin.control", config.admin.control, who)]
        if config.store.path is not None:
            found.append(_unwritable("store.url", config.store.path, who))
        if config.log.file not in ("", SYSLOG, SYSLOG_BSD):
            found.append(_unwritable("log.file", Path(config.log.file), who))
        found += [
            f"tls.certificates: {who} can't read {key}, so every reload will be refused; chown {who} {key}"
            for key in sorted(set(keys))
            if not _may(key, os.R_OK)
        ]
    return [problem for problem in found if problem]


def _name(uid: int) -> str:
    """A container may run us as somebody who is in no list of users."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _unwritable(key: str, path: Path, who: str) -> str:
    if path.is_dir():
        return f"{key}: {path} is a folder; name a file in it"
    if _may(path, os.F_OK) and not _may(path, os.W_OK):
        return f"{key}: {who} can't write {path}; chown {who} {path}"
    return _unmakeable(key, path, who)


def _unmakeable(key: str, path: Path, who: str) -> str:
    """Whether the file can't be made in its folder, nor SQLite's -wal or the next log beside it."""
    folder = path.parent
    if _may(folder, os.W_OK | os.X_OK):
        return ""
    if not os.path.isdir(folder):
        return f"{key}: {path} can't be made: {who} sees no folder {folder}; make it, for {who}, or name another"
    return f"{key}: {path} can't be made: {who} can't write in {folder}; give {who} that folder, or name another"


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True)
