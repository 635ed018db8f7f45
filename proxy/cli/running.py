"""What is asked of the running popgate through its control socket: `popgate status`, `drain`, `reload`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from .. import control, tables
from ..config import load
from .parser import FAILED, GOOD

if TYPE_CHECKING:
    import argparse

    from .parser import Commands


def add(to: Commands) -> None:
    to.add("status", _status, "is it serving", to.configured, to.as_json)
    for name, words in (("drain", "finish what is under way and stop"), ("reload", "read the configuration again")):
        to.add(name, _order, words, to.configured).set_defaults(order=name)


def _status(options: argparse.Namespace) -> int:
    answer = control.ask(load(options.config).admin.control, {"do": "status"})
    if options.json:
        print(json.dumps(answer))
        return GOOD
    ready = sum([worker["ready"] for worker in answer["workers"]])
    state = "draining" if answer["draining"] else "serving"
    print(f"{state}: pid {answer['pid']}, {ready} of {len(answer['workers'])} workers ready, "
          f"{answer['connections']} connections")  # fmt: skip
    for server in answer["upstreams"]:
        why = f": {tables.printable(server['why'])}" if server["why"] else ""
        print(f"upstream.{server['upstream']} {server['server']}: {server['state']}{why}, "
              f"{server['connections']} connections")  # fmt: skip
    return GOOD


def _order(options: argparse.Namespace) -> int:
    answer = control.ask(load(options.config).admin.control, {"do": options.order})
    if "error" in answer:
        print(answer["error"], file=sys.stderr)
        return FAILED
    print(answer["done"])
    return GOOD
