"""`popgate completion bash|zsh|fish`: what Tab knows, printed from the parser's own tables.

Each shell gets the same: a walk along the words so far to the command that they make, and what may stand there:
actions, options, choices.  Behind an option that takes a path, files.

argparse keeps its tables in attributes that are private by name.  They are read all the same: a second list of commands
would be wrong soon, and the tests see it when Python changes them.
"""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .parser import GOOD

if TYPE_CHECKING:
    from .parser import Commands

SHELLS: Final = ("bash", "zsh", "fish")
_PATHS: Final = frozenset(["-c", "--config", "--folder"])


@dataclass(slots=True)
class Place:
    """A command or action, and what may follow it."""

    path: str
    """The words that lead to it: "leases grant"."""
    words: list[str] = field(default_factory=list)
    """What may come next."""
    inner: list[str] = field(default_factory=list)
    """Of the words those that lead further."""


def add(to: Commands) -> None:
    words = 'print what the shell needs to complete our commands: eval "$(popgate completion bash)"'
    made = to.add("completion", lambda options: _print(options.shell, to.parser), words)
    made.add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS))


def _print(shell: str, parser: argparse.ArgumentParser) -> int:
    print(script(shell, places(parser)), end="")
    return GOOD


def places(parser: argparse.ArgumentParser, path: str = "") -> list[Place]:
    """All of them, the whole program ("") first."""
    here = Place(path)
    found = [here]
    for action in parser._actions:
        here.words += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                here.inner.append(name)
                found += places(inner, f"{path} {name}".lstrip())
        elif action.choices is not None:
            here.words += [str(choice) for choice in action.choices]
    here.words = sorted(here.inner) + sorted(here.words)
    return found


def script(shell: str, found: list[Place]) -> str:
    """For a shell's `eval` or start-up file."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](found)


def _walk(found: list[Place]) -> str:
    """Patterns of `case` for "PLACE WORD" that lead to another place; the same in bash and zsh."""
    steps = [shlex.quote(f"{place.path}/{name}") for place in found for name in place.inner]
    return "|".join(steps)


def _cases(found: list[Place]) -> str:
    cases = [(shlex.quote(place.path), shlex.quote(" ".join(place.words))) for place in found]
    return "\n".join([f"        {path}) list={words} ;;" for path, words in cases])


_BODY: Final = """    local at="" word list=""
    for word in {before}; do
        case "$at/$word" in
            {walk}) at="${{at:+$at }}$word" ;;
        esac
    done
    case "$at" in
{cases}
    esac
"""


def _bash(found: list[Place]) -> str:
    body = _BODY.format(before='"${COMP_WORDS[@]:1:COMP_CWORD-1}"', walk=_walk(found), cases=_cases(found))
    return f"""_popgate() {{
{body}    case "${{COMP_WORDS[COMP_CWORD-1]}}" in
        {"|".join(sorted(_PATHS))}) COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}")) ;;
        *) COMPREPLY=($(compgen -W "$list" -- "${{COMP_WORDS[COMP_CWORD]}}")) ;;
    esac
}}
complete -o bashdefault -F _popgate popgate
"""


def _zsh(found: list[Place]) -> str:
    body = _BODY.format(before='"${(@)words[2,CURRENT-1]}"', walk=_walk(found), cases=_cases(found))
    return f"""#compdef popgate
_popgate() {{
{body}    case "${{words[CURRENT-1]}}" in
        {"|".join(sorted(_PATHS))}) _files ;;
        *) compadd -- ${{=list}} ;;
    esac
}}
if (( $+functions[compdef] )); then compdef _popgate popgate; fi
"""


def _fish(found: list[Place]) -> str:
    steps = " ".join([shlex.quote(f"{place.path}/{name}") for place in found for name in place.inner])
    lines = [
        "function __popgate_at",
        "    set -l at ''",
        "    for word in (commandline -opc)[2..-1]",
        f'        contains -- "$at/$word" {steps}',
        '        and set at (string trim "$at $word")',
        "    end",
        '    test "$at" = "$argv[1]"',
        "end",
        "complete -c popgate -f",
    ]
    for place in found:
        at, words = shlex.quote(f"__popgate_at {shlex.quote(place.path)}"), shlex.quote(" ".join(place.words))
        lines.append(f"complete -c popgate -n {at} -a {words}")
    lines += ["complete -c popgate -s c -l config -r -F", "complete -c popgate -l folder -r -F"]
    return "\n".join(lines) + "\n"
