"""A program that was root and has become nobody, as popgate becomes `user`."""

from __future__ import annotations

import subprocess
import sys

from .needs import need

IMPORTS = """
import os
import socket
from proxy.config.schema import Config, Listener
from proxy.config.endpoint import Endpoint
from proxy.errors import ConfigError
from proxy.net.upstream.transparent import is_permitted, make_transparent
from proxy.node.privileges import become, demand_net_raw
from proxy.node.sockets import bind_all
"""  # before it becomes nobody, to whom the virtual environment may be closed


def as_nobody(code: str, becoming: str = "become('nobody')") -> str:
    """What a program says that became nobody and then runs `code`."""
    need("root")
    program = f"{IMPORTS}{becoming}\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout
