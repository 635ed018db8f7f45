"""Who may relay: `popgate leases`, `why`, `report`."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from ..config import load
from ..errors import PopgateError
from ..queries.why import explain, no_lease_reason, places
from ..wire.address import packed
from . import parser, tables
from .lookup import ask
from .parser import FAILED, GOOD

if TYPE_CHECKING:
    import argparse

    from .parser import Commands


def add(to: Commands) -> None:
    leases = to.add("leases", _leases, "list, grant and revoke leases", to.configured, to.as_json)
    actions = leases.add_subparsers(metavar="ACTION")
    actions.add_parser("list", help="all live leases (the default)", parents=[to.configured, to.as_json])
    grant = actions.add_parser("grant", help="let an address relay", parents=[to.configured])
    grant.add_argument("address", type=parser.client, metavar="ADDRESS")
    grant.add_argument("--login", type=parser.login, help="in whose name; default (admin)")
    grant.add_argument("--for", dest="window", type=parser.seconds, metavar="30m", help="how long; default gate.window")
    grant.set_defaults(command=_grant)
    history = actions.add_parser("history", help="who held an address, and when", parents=[to.configured, to.as_json])
    history.add_argument("address", type=parser.address, nargs="?", metavar="ADDRESS", help="without it: all")
    history.add_argument("--at", type=parser.moment, metavar='"2026-11-23 14:05"', help="who held it then; local time")
    history.set_defaults(command=_history)
    revoke = actions.add_parser("revoke", help="end all leases of an address or a login", parents=[to.configured])
    revoke.add_argument("whom", type=parser.login, metavar="ADDRESS|LOGIN")
    revoke.set_defaults(command=_revoke)
    words = "may an address relay, and why (exit 0 if it may, 1 if not)"
    why = to.add("why", _why, words, to.configured, to.as_json)
    why.add_argument("address", type=parser.address, metavar="ADDRESS")
    why.add_argument("--sender", type=parser.mailbox, help='from whom ("<>" is the empty sender); without it: anybody')
    why.add_argument("--recipient", type=parser.mailbox, default="", help="to whom; without it: to the world")
    words = "who still needs POP before SMTP, clear text, old TLS"
    report = to.add("report", _report, words, to.configured, to.as_json)
    report.add_argument("--since", type=parser.seconds, metavar="30d", help="seen within; default store.history")


def _leases(options: argparse.Namespace) -> int:
    config = load(options.config)
    leases = ask(config, {"do": "leases"})["leases"]
    print(json.dumps(leases, indent=1) if options.json else tables.leases(leases))
    return GOOD


def _history(options: argparse.Namespace) -> int:
    config = load(options.config)
    since, until = options.at or (None, None)
    addresses = places(config, packed(options.address)) if options.address else []
    question = {"do": "history", "addresses": addresses, "since": since}
    found = ask(config, question | {"until": until})["history"]
    print(json.dumps(found, indent=1) if options.json else tables.history(found))
    return GOOD


def _report(options: argparse.Namespace) -> int:
    config = load(options.config)
    since = time.time() - (config.store.history if options.since is None else options.since)
    found = ask(config, {"do": "report", "since": since})["report"]
    print(json.dumps(found, indent=1) if options.json else tables.report(found, since))
    return GOOD


def _grant(options: argparse.Namespace) -> int:
    config = load(options.config)
    window = options.window if options.window is not None else config.gate.window
    for place in places(config, packed(options.address)):
        question = {"do": "grant", "address": place, "login": options.login, "window": window}
        print(f"{ask(config, question)['granted']} may relay for {window:.0f} s")
    if why := no_lease_reason(config, packed(options.address)):
        words = f"no login from {options.address} makes a lease ({why}); whoever comes from there may relay now"
        print(f"warning: {words}", file=sys.stderr)
    return GOOD


def _revoke(options: argparse.Namespace) -> int:
    config = load(options.config)
    try:
        whom = [{"address": place} for place in places(config, packed(options.whom))]
    except ValueError:
        whom = [{"login": options.whom}]
    ended = sum([ask(config, {"do": "revoke"} | one)["revoked"] for one in whom])
    print(f"{ended} {'lease' if ended == 1 else 'leases'} ended")
    return GOOD if ended else FAILED


def _why(options: argparse.Namespace) -> int:
    config = load(options.config)
    address = packed(options.address)
    try:
        about: dict[str, Any] | str = ask(
            config, {"do": "why", "address": options.address, "places": places(config, address)}
        )
    except PopgateError as error:
        about = str(error)
    explanations = explain(config, address, options.sender, options.recipient, about)
    if options.json:
        print(json.dumps([{"listener": e.listener, "verdict": e.verdict, "reasons": e.reasons} for e in explanations]))
    else:
        for explanation in explanations:
            reasons = tables.printable("; ".join(explanation.reasons))
            print(f"{options.address} at listener {explanation.listener}: {explanation.verdict}: {reasons}")
    if not explanations:
        raise PopgateError("there is no listener for SMTP, so nothing is relayed")
    return GOOD if all(explanation.verdict == "allow" for explanation in explanations) else FAILED
