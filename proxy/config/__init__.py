"""The configuration: conf.d/*.toml to one frozen value, and back.

Read in this order: `schema` (what there is), `keys` (what a line of it says), `load` (how it is read), `values` and
`places` (what a text may look like), `check` (what can't go together), `files`, `section`, `dump`.
"""

from .dump import dump
from .endpoint import Endpoint
from .load import control_socket, load
from .schema import Admin, Config, Gate, Limits, Listener, Log, Postfix, Store, Tls, Upstream, Whoson

__all__ = [
    "Admin",
    "Config",
    "Endpoint",
    "Gate",
    "Limits",
    "Listener",
    "Log",
    "Postfix",
    "Store",
    "Tls",
    "Upstream",
    "Whoson",
    "control_socket",
    "dump",
    "load",
]
