"""What `popgate run` says first to a person at a terminal: what it serves, where it leads, what is off and why.

Lines of text, by the configuration alone.  Where stderr is no terminal nobody reads them, and there are log lines only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import __version__
from ..config.showing import ways
from ..config.values import duration_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config import Config

_TLS = {"off": "no TLS", "starttls": "TLS if the client asks", "implicit": "TLS"}


def greeting(config: Config) -> str:
    """Some ten lines."""
    lines = [f"popgate {__version__}"]
    for listener in config.listeners.values():
        places, tls = ", ".join([str(one) for one in listener.bind]), _TLS[listener.tls]
        lines.append(_line("listens", f"{listener.name} at {places} ({tls}) for upstream.{listener.upstream}"))
    for name, upstream in config.upstreams.items():
        servers = ", ".join([str(server) for server in upstream.servers]) or "whom the client wanted"
        lines.append(_line("forwards", f"upstream.{name} to {servers}"))
    window = duration_text(config.gate.window)
    lines.append(_line("relays", f"for {window} after a POP3 login; from anyone to {_domains(config)}"))
    lines += [_line("off", text) for text in _off(config)]
    lines.append(_line("now", "`popgate status`, `popgate sessions`; Ctrl-C ends it, once in order, twice at once"))
    return "\n".join(lines)


def _line(word: str, text: str) -> str:
    return f"  {word:<9} {text}"


def _domains(config: Config) -> str:
    shown = config.gate.local_domains[:5]
    more = len(config.gate.local_domains) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "") if shown else "nobody (gate.local_domains is empty)"


def _off(config: Config) -> Iterator[str]:
    if config.gate.mode == "shadow":
        yield 'the gate: gate.mode = "shadow" only watches'
    if not config.user:
        yield "another user: user is empty, so it stays who started it"
    if config.gate.auth == "upstream":
        yield 'AUTH of its own: gate.auth = "upstream" leaves it to the server behind'
    if not config.gate.patience:
        yield 'patience: gate.patience = "0s" refuses at once'
    if config.store.redis is None:
        yield "a pool: leases are this machine's alone (store.url is no redis://)"
    if config.admin.http is None:
        yield "metrics and the status page: admin.http is empty"
    if not config.log.file and config.log.format == "text":
        yield "a log file: log.file is empty, so it goes here"
    if not any(ways(upstream) for upstream in config.upstreams.values()):
        yield "showing clients' addresses to the server behind: send_proxy, xclient, source"
