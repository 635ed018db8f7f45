"""What commands are made of: their exit codes, the options that several have, and the types of their arguments.

`Commands` collects them; each file beside this one adds its own.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from .. import __version__
from ..config.values import Wrong, duration, printable
from ..leases.base import MAX_LOGIN, login_octets
from ..wire.address import packed

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD: Final = 0
FAILED: Final = 1
USAGE: Final = 2


class Parser(argparse.ArgumentParser):
    """An error is one line: argparse would print several, the usage first."""

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split())
        self.exit(USAGE, f"{self.prog}: {printable(message)} ({usage})\n")


class Commands:
    """The parser of the whole command line, and what a command needs to join it."""

    def __init__(self) -> None:
        self.parser = Parser(
            prog="popgate", description="POP before SMTP in front of a mail server that can't be changed."
        )
        self.parser.add_argument("--version", action="version", version=version())
        self._commands = self.parser.add_subparsers(metavar="COMMAND", required=True)
        # Defaults of options stand here alone: those of a parser below would overwrite what was given to one above
        # (`popgate leases -c X list`).
        self.parser.set_defaults(config=None, json=False)
        self.configured = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
        self.configured.add_argument(
            "-c", "--config", type=place, help="a folder or file; without it ./conf.d, then /etc/popgate/conf.d"
        )
        self.as_json = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
        self.as_json.add_argument("--json", action="store_const", const=True, help="for programs")

    def add(self, name: str, run: Callable[[argparse.Namespace], int], words: str, *parents: Any) -> Any:
        """A command; `parents`: `configured`, `as_json`.  Returns its parser."""
        made = self._commands.add_parser(name, help=words, description=words, parents=list(parents))
        made.set_defaults(command=run)
        return made

    def group(self, name: str, words: str) -> Any:
        """A command that is nothing without an action; returns where actions are added."""
        return self._commands.add_parser(name, help=words).add_subparsers(metavar="ACTION", required=True)


def place(text: str) -> Path:
    """Not "": a script's empty variable would be the folder that it happens to stand in."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; name a folder or a file")
    return Path(text)


def address(text: str) -> str:
    try:
        packed(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP address") from None
    return text


def client(text: str) -> str:
    """An address that a client can have; 0.0.0.0 is no word for all of them."""
    found = ip_address(address(text))
    if found.is_unspecified or found.is_multicast:
        raise argparse.ArgumentTypeError(f"{text!r} is no client's address; networks belong in gate.trusted_networks")
    return text


def login(text: str) -> str:
    if not text or len(login_octets(text)) > MAX_LOGIN:
        raise argparse.ArgumentTypeError(f"a login has 1 to {MAX_LOGIN} octets")
    return text


def mailbox(text: str) -> str:
    """As people copy it, "<" and ">" around it or not."""
    return text.removeprefix("<").removesuffix(">")


def seconds(text: str) -> float:
    try:
        return duration(1)(int(text) if text.isdigit() else text)
    except Wrong as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from None


def moment(text: str) -> tuple[float, float]:
    """Epoch seconds, from and until: a second, a minute or a day of local time, as precisely as it was given."""
    today = time.strftime("%Y-%m-%d ")
    for form, length in (("%Y-%m-%d %H:%M:%S", 1), ("%Y-%m-%d %H:%M", 60), ("%Y-%m-%d", 86400)):
        for given in (text.replace("T", " "), today + text):
            with contextlib.suppress(ValueError, OverflowError):
                begin = time.mktime(time.strptime(given, form))
                return begin, begin + length
    raise argparse.ArgumentTypeError(f'{text!r} is no time; write "2026-11-23 14:05", or "14:05" for today')


def version() -> str:
    import ssl
    from importlib import metadata

    try:
        loop = "uvloop " + metadata.version("uvloop")
    except metadata.PackageNotFoundError:
        loop = "asyncio's own loop"
    python = ".".join([str(part) for part in sys.version_info[:3]])
    return f"popgate {__version__} (Python {python}, {ssl.OPENSSL_VERSION}, {loop})"
