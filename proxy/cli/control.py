"""What is asked of the running popgate through its control socket.

`popgate status`, `drain`, `reload`, `sessions`, `kick`, `log-level`, `trace`.  Of the configuration they need the
control socket alone, so what is wrong with the rest is only warned of, but for `reload`: popgate serves by what the
files said before, and may have to be looked at or stopped just then.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from ..config import control_socket, load
from ..config.schema import LOG_LEVELS
from ..errors import ConfigError, PopgateError
from ..node import control
from . import parser, tables
from .parser import FAILED, GOOD

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from ..node.channel import Message
    from .parser import Commands


def add(to: Commands) -> None:
    status = to.add("status", _status, "is it serving", to.configured, to.as_json)
    status.add_argument(
        "--token", action="store_true", help="print what the status page wants for actions, and no more"
    )
    drain = to.add("drain", _order, "finish what is under way and stop", to.configured)
    drain.set_defaults(question=lambda _: {"do": "drain"})
    reload = to.add("reload", _reload, "read the configuration again", to.configured)
    reload.set_defaults(question=lambda _: {"do": "reload"})
    to.add("sessions", _sessions, "the sessions of now, the newest first", to.configured, to.as_json)
    kick = to.add("kick", _order, "end one session, whatever is under way in it", to.configured)
    kick.add_argument("id", metavar="ID", help="as `popgate sessions` and the log name it")
    kick.set_defaults(question=lambda options: {"do": "kick", "id": options.id})
    level = to.add("log-level", _order, "log more or less, until the next reload", to.configured)
    level.add_argument("level", choices=LOG_LEVELS, metavar="LEVEL", help=", ".join(LOG_LEVELS))
    level.set_defaults(question=lambda options: {"do": "log-level", "level": options.level})
    words = "watch the sessions that a client begins from now on; passwords are masked, Ctrl-C ends it"
    trace = to.add("trace", _trace, words, to.configured, to.as_json)
    trace.add_argument("--client", type=parser.address, metavar="ADDRESS", required=True)
    trace.add_argument("--for", dest="seconds", type=parser.seconds, metavar="5m", help="and then end; default a day")


@contextlib.contextmanager
def _running(options: argparse.Namespace) -> Iterator[Path]:
    """Where popgate is asked.  Files that are broken are warned of behind the answer, and told where nobody answers."""
    path, problems = control_socket(options.config)
    try:
        yield path
    except control.NotRunning:
        if problems:
            raise ConfigError(problems) from None
        raise
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)


def _ask(options: argparse.Namespace, question: Message) -> Message:
    with _running(options) as path:
        return control.ask(path, question)


def _status(options: argparse.Namespace) -> int:
    if options.token:
        answer = _ask(options, {"do": "token"})
        if "error" in answer:
            raise PopgateError(answer["error"])
        print(answer["token"])
        return GOOD
    answer = _ask(options, {"do": "status"})
    if options.json:
        print(json.dumps(answer))
        return GOOD
    ready = sum([worker["ready"] for worker in answer["workers"]])
    state = "draining" if answer["draining"] else "serving"
    print(f"{state}: pid {answer['pid']}, {ready} of {len(answer['workers'])} workers ready, "
          f"{answer['connections']} connections")  # fmt: skip
    if (store := answer.get("store")) is not None:  # None: an older popgate runs
        down = "DOWN: relaying waits (451), mail can be read; `store-down` in the log says why"
        print(f"store {tables.printable(store['url'])}: {down if store['state'] == 'down' else 'up'}")
    for server in answer["upstreams"]:
        why = f": {tables.printable(server['why'])}" if server["why"] else ""
        print(f"upstream.{server['upstream']} {server['server']}: {server['state']}{why}, "
              f"{server['connections']} connections")  # fmt: skip
    for one in answer["certificates"]:
        days = (one["expires"] - time.time()) / 86400
        end = f"ends in {days:.0f} days" if days > 0 else "HAS ENDED"
        print(f"certificate {one['path']}: {', '.join(one['names'])}: {end}, {tables.moment(one['expires'])}")
    return GOOD


def _reload(options: argparse.Namespace) -> int:
    load(options.config)  # what is wrong is told here, before it is refused there
    return _order(options)


def _order(options: argparse.Namespace) -> int:
    answer = _ask(options, options.question(options))
    if "error" in answer:
        print(answer["error"], file=sys.stderr)
        return FAILED
    print(answer["done"])
    return GOOD


def _sessions(options: argparse.Namespace) -> int:
    answer = _ask(options, {"do": "sessions"})
    if "error" in answer:
        raise PopgateError(answer["error"])
    if options.json:
        print(json.dumps(answer))
    else:
        print(tables.sessions(answer["sessions"], answer["count"]))
    if answer["silent"]:
        print(f"workers that did not answer: {answer['silent']}; their sessions are missing", file=sys.stderr)
    return GOOD


def _trace(options: argparse.Namespace) -> int:
    question = {"do": "trace", "client": options.client, "seconds": options.seconds}
    try:
        with _running(options) as path:
            for line in control.follow(path, question):
                if "error" in line:
                    raise PopgateError(line["error"])
                print(json.dumps(line) if options.json else _trace_line(line), flush=True)
    except KeyboardInterrupt:
        pass  # as it was meant
    return GOOD


def _trace_line(line: dict[str, Any]) -> str:
    if "tracing" in line:
        return f"sessions that {line['tracing']} begins from now on; Ctrl-C ends this"
    lost = f"({line['lost']} lines are lost)\n" if "lost" in line else ""
    moment = time.strftime("%H:%M:%S", time.localtime(line["time"])) + f".{int(line['time'] * 1000) % 1000:03d}"
    return f"{lost}{moment} {line['id']} {line['protocol']} {line['who']} {tables.printable(line['text'])}"
