"""The command line (DESIGN 7).  Exit codes: 0 good, 1 it failed while running, 2 usage or configuration.

Errors are one line each on stderr.  What a command does is elsewhere; here are its words and its exit code.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import __version__, certificates, control, tables
from .config import dump, load, showing
from .config.values import Wrong, duration
from .errors import ConfigError, PopgateError
from .leases.base import MAX_LOGIN, login_octets
from .leases.clock import Clock
from .lookup import ask
from .net.own import listens_there
from .privileges import known
from .runtime import build_services, make_tls, open_store
from .why import explain, places
from .wire.address import cut, packed, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .config import Config

GOOD: Final = 0
FAILED: Final = 1
USAGE: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a login may hold what the terminal can't show
    options = _parser().parse_args(arguments)
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
    return code


def _let_go_of_output() -> None:
    """Python flushes once more at its end, and would complain of the same again."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(options: argparse.Namespace) -> int:
    from .supervisor import Supervisor

    config = load(options.config)
    return Supervisor(config, options.config).run()


def _check(options: argparse.Namespace) -> int:
    config = load(options.config)
    bound = frozenset(
        [(end.host, end.port) for listener in config.listeners.values() for end in listener.bind if end.port]
    )
    problems: list[str] = []
    tls = {}
    try:
        if config.user:
            known(config.user)
    except ConfigError as error:
        problems += error.problems
    try:
        tls = make_tls(config)
    except ConfigError as error:
        problems += error.problems
    try:
        build_services(config, open_store(config, Clock()), tls, bound)
    except ConfigError as error:
        problems += error.problems
    problems += [
        f"upstream.{name}: {server} is popgate itself: a loop; give the mail server's own address"
        for name, upstream in config.upstreams.items()
        for server in upstream.servers
        if not server.path and listens_there(server.host, server.port, bound)
    ]
    if problems:
        raise ConfigError(problems)
    print(dump(config), end="")
    for side in tls.values():
        for certificate in side.certificates:
            if certificate.expired(time.time()):
                print(f"warning: {certificate.path}: the certificate has expired", file=sys.stderr)
    if config.tls.min_version in ("TLSv1", "TLSv1.1") and tls:
        print(f"warning: tls.min_version = {config.tls.min_version!r} lets everyone use broken TLS", file=sys.stderr)
    for warning in showing.warnings(config):
        print(f"warning: {warning}", file=sys.stderr)
    return GOOD


def _selftest(options: argparse.Namespace) -> int:
    from .selftest import run

    return run(load(options.config), sys.stdout)


def _demo(options: argparse.Namespace) -> int:
    from .demo import play

    return play(not options.once, sys.stdout)


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
    question = {"do": "grant", "address": _place(config, options.address), "login": options.login, "window": window}
    answer = ask(config, question)
    print(f"{answer['granted']} may relay for {window:.0f} s")
    return GOOD


def _revoke(options: argparse.Namespace) -> int:
    config = load(options.config)
    question: dict[str, Any] = {"do": "revoke"}
    try:
        question["address"] = _place(config, options.whom)
    except ValueError:
        question["login"] = options.whom
    answer = ask(config, question)
    print(f"{answer['revoked']} {'lease' if answer['revoked'] == 1 else 'leases'} ended")
    return GOOD if answer["revoked"] else FAILED


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


def _make_certificate(options: argparse.Namespace) -> int:
    path = certificates.make(options.names, Path(options.folder), file=options.file, force=options.force)
    print(f'{path}: a self-signed certificate for {", ".join(options.names)}; in conf.d: certificates = ["{path}"]')
    return GOOD


def _place(config: Config, address: str) -> str:
    """What a lease of the address is for, by [gate] (RULES G2); raise ValueError for what is no address."""
    return shown(cut(packed(address), config.gate.ipv6_prefix))


def _address(text: str) -> str:
    try:
        packed(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP address") from None
    return text


def _login(text: str) -> str:
    if not text or len(login_octets(text)) > MAX_LOGIN:
        raise argparse.ArgumentTypeError(f"a login has 1 to {MAX_LOGIN} octets")
    return text


def _sender(text: str) -> str:
    return text.removeprefix("<").removesuffix(">")


def _seconds(text: str) -> float:
    try:
        return duration(1)(int(text) if text.isdigit() else text)
    except Wrong as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from None


def _moment(text: str) -> tuple[float, float]:
    """Epoch seconds, from and until: a second, a minute or a day of local time, as precisely as it was given."""
    today = time.strftime("%Y-%m-%d ")
    for form, length in (("%Y-%m-%d %H:%M:%S", 1), ("%Y-%m-%d %H:%M", 60), ("%Y-%m-%d", 86400)):
        for given in (text.replace("T", " "), today + text):
            with contextlib.suppress(ValueError, OverflowError):
                begin = time.mktime(time.strptime(given, form))
                return begin, begin + length
    raise argparse.ArgumentTypeError(f'{text!r} is no time; write "2026-11-23 14:05", or "14:05" for today')


def _version() -> str:
    import ssl
    from importlib import metadata

    try:
        loop = "uvloop " + metadata.version("uvloop")
    except metadata.PackageNotFoundError:
        loop = "asyncio's own loop"
    python = ".".join([str(part) for part in sys.version_info[:3]])
    return f"popgate {__version__} (Python {python}, {ssl.OPENSSL_VERSION}, {loop})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="popgate", description="POP before SMTP in front of a mail server that can't be changed."
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    # Defaults of options stand here alone: those of a parser below would overwrite what was given to one above
    # (`popgate leases -c X list`).
    parser.set_defaults(config=None, json=False)
    configured = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    configured.add_argument(
        "-c", "--config", type=Path, help="a folder or file; without it ./conf.d, then /etc/popgate/conf.d"
    )
    as_json = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    as_json.add_argument("--json", action="store_const", const=True, help="for programs")

    def command(name: str, run: Callable[[argparse.Namespace], int], words: str, *parents: Any) -> Any:
        made = commands.add_parser(name, help=words, description=words, parents=list(parents))
        made.set_defaults(command=run)
        return made

    command("run", _run, "serve; SIGHUP reloads, SIGTERM drains and stops", configured)
    command("check", _check, "print the whole effective configuration, or every error in it", configured)
    command("selftest", _selftest, "find out what the mail servers are and whether they relay for us", configured)
    demo = command("demo", _demo, "play the story with a sample appliance on this machine")
    demo.add_argument("--once", action="store_true", help="end when the story is told")
    leases = command("leases", _leases, "list, grant and revoke leases", configured, as_json)
    actions = leases.add_subparsers(metavar="ACTION")
    actions.add_parser("list", help="all live leases (the default)", parents=[configured, as_json])
    grant = actions.add_parser("grant", help="let an address relay", parents=[configured])
    grant.add_argument("address", type=_address, metavar="ADDRESS")
    grant.add_argument("--login", type=_login, help="in whose name; default (admin)")
    grant.add_argument("--for", dest="window", type=_seconds, metavar="30m", help="how long; default gate.window")
    grant.set_defaults(command=_grant)
    history = actions.add_parser("history", help="who held an address, and when", parents=[configured, as_json])
    history.add_argument("address", type=_address, nargs="?", metavar="ADDRESS", help="without it: all")
    history.add_argument("--at", type=_moment, metavar='"2026-11-23 14:05"', help="who held it then; local time")
    history.set_defaults(command=_history)
    revoke = actions.add_parser("revoke", help="end all leases of an address or a login", parents=[configured])
    revoke.add_argument("whom", metavar="ADDRESS|LOGIN")
    revoke.set_defaults(command=_revoke)
    why = command("why", _why, "may an address relay, and why (exit 0 if it may, 1 if not)", configured, as_json)
    why.add_argument("address", type=_address, metavar="ADDRESS")
    why.add_argument("--sender", type=_sender, help='from whom ("<>" is the empty sender); without it: from anybody')
    why.add_argument("--recipient", default="", help="to whom; without it: to the world")
    report = command("report", _report, "who still needs POP before SMTP, clear text, old TLS", configured, as_json)
    report.add_argument("--since", type=_seconds, metavar="30d", help="seen within; default store.history")
    command("status", _status, "is it serving", configured, as_json)
    for name, words in (("drain", "finish what is under way and stop"), ("reload", "read the configuration again")):
        command(name, _order, words, configured).set_defaults(order=name)
    certs = commands.add_parser("certs", help="certificates").add_subparsers(metavar="ACTION", required=True)
    make = certs.add_parser("make", help="make a self-signed certificate for these names")
    make.add_argument("names", nargs="+", metavar="NAME")
    make.add_argument("--folder", default="certs", help="where to; default ./certs")
    make.add_argument("--file", default="", help="file name; default NAME.pem")
    make.add_argument("--force", action="store_true", help="replace what is there")
    make.set_defaults(command=_make_certificate)
    return parser


if __name__ == "__main__":
    sys.exit(main())
