"""A folder that servers under other users may enter.

pytest's tmp_path is closed to everyone but the tests' user; Dovecot and Postfix drop to users of their own.
"""

from __future__ import annotations

import tempfile
from pathlib import Path


class Folder(tempfile.TemporaryDirectory[str]):
    """A temporary folder, mode 0755, short enough for unix sockets in it; `path` is its Path."""

    def __init__(self, name: str) -> None:
        super().__init__(prefix=f"popgate-{name}-", dir="/tmp", ignore_cleanup_errors=True)
        self.path = Path(self.name)
        self.path.chmod(0o755)
