"""The command line.  Exit codes: 0 good, 1 it failed while running, 2 usage or configuration.

Errors are one line each on stderr.  What a command does is elsewhere; here are its words and its exit code: run.py,
gate.py, control.py, files.py, completion.py.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from typing import TYPE_CHECKING

from ..errors import ConfigError, PopgateError
from . import completion, files
from . import control as running
from . import leases as gate
from . import run as serving
from .parser import FAILED, GOOD, USAGE, Commands

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

__all__ = ["FAILED", "GOOD", "USAGE", "main", "parser_of_all"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    _hold_standard_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a login may hold what the terminal can't show
    options = parser_of_all().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        code = command(options)
        print(end="", flush=True)  # here, where a reader that has gone is no bug
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return USAGE
    except (PopgateError, OSError) as error:
        if not isinstance(error, BrokenPipeError):  # `popgate leases | head` is no error to tell
            print(f"popgate: {error}", file=sys.stderr)
        _let_go_of_output()
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    except Exception as bug:  # the last resort: what nobody has foreseen is one line, too
        place = traceback.extract_tb(bug.__traceback__)[-1]
        where = f"{os.path.basename(place.filename)}:{place.lineno}"
        print(f"popgate: this is a bug, please report it: {type(bug).__name__} at {where}: {bug}", file=sys.stderr)
        _let_go_of_output()
        return FAILED
    return code


def parser_of_all() -> argparse.ArgumentParser:
    """Every command, in the order in which --help tells them."""
    commands = Commands()
    for part in (serving, gate, running, files, completion):
        part.add(commands)
    return commands.parser


def _hold_standard_descriptors() -> None:
    """Where the caller has closed some of descriptors 0 to 2 (`2>&-`, old init scripts), put /dev/null there.

    Sockets would get these numbers, and then a client what a library writes to stderr.
    """
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(null, True)
    os.close(null)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _let_go_of_output() -> None:
    """Python flushes once more at its end, and would complain of the same again."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
