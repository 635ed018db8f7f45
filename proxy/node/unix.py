"""A unix socket to listen at: its mode, and what may be in its place already.

Made after `become` (privileges.py), so that it belongs to `user` and no file is touched as root in a folder where
`user` could have put a link.  The socket of a popgate that was killed, or has stopped, is replaced; any other file
stays.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def listen(key: str, path: Path, mode: int, backlog: int) -> socket.socket:
    """A non-blocking stream socket listening at `path`; `mode`: permissions of the file.

    Raise ConfigError, in the name of the configuration's `key`, when that can't be, or somebody answers there.
    """
    if _answers(path):
        raise ConfigError([f"{key}: a popgate is running already at {path}"])
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.lstat().st_mode):  # of one that was killed; any other file stays, and bind fails
                path.unlink()
        before = os.umask(0o777 & ~mode)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        why = "a file that is no socket is there" if path.is_file() else f"{error.strerror}; check the folder"
        raise ConfigError([f"{key}: can't make {path}: {why}"]) from error
    return sock


def _answers(path: Path) -> bool:
    """Whether somebody listens at `path`, and be it a process that is stopped."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(str(path))
        except BlockingIOError:  # its queue is full
            return True
        except OSError:
            return False
    return True
