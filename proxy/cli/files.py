"""What makes files: `popgate init`, `popgate certs make`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .. import certificates
from ..config import load, places
from ..config.values import Wrong
from ..errors import ConfigError
from . import initial, parser
from .parser import GOOD
from .run import checked

if TYPE_CHECKING:
    import argparse

    from .parser import Commands


def add(to: Commands) -> None:
    init = to.add("init", _init, "write a first configuration, and say what comes next")
    init.add_argument("folder", type=parser.place, metavar="DIR", help="for DIR/conf.d, say /etc/popgate")
    init.add_argument("--pop3", metavar="HOST[:PORT]", help="the mail server's POP3 side")
    init.add_argument("--smtp", metavar="HOST[:PORT]", help="the mail server's SMTP side; without it the same host")
    init.add_argument("--domain", action="append", metavar="D", help="it takes mail for these; once for each")
    init.add_argument("--user", default="", metavar="USER", help="whom popgate becomes once it has its ports")
    init.add_argument("--force", action="store_true", help="replace what is there")
    certs = to.group("certs", "certificates")
    make = certs.add_parser("make", help="make a self-signed certificate for these names")
    make.add_argument("names", nargs="+", metavar="NAME")
    make.add_argument("--folder", default="certs", help="where to; default ./certs")
    make.add_argument("--file", default="", help="file name; default NAME.pem")
    make.add_argument("--force", action="store_true", help="replace what is there")
    make.add_argument("--rsa", action="store_true", help="an RSA key, for clients that know no elliptic curves")
    make.add_argument("--csr", action="store_true", help="a signing request, too: NAME.csr, for an authority")
    make.set_defaults(command=_make_certificate)


def _init(options: argparse.Namespace) -> int:
    answers = _answers(options)
    folder = initial.write(options.folder, answers, force=options.force)
    print(f"{folder}: written; what is yours is in {folder / initial.LOCAL}")
    config = load(folder)
    try:
        checked(config)
    except ConfigError as error:
        print("Still to do:")
        for problem in error.problems:
            print(f"  {problem}")
    names = [domain for domain in answers.domains if domain.isascii() and not domain.startswith(".")]
    name, certificate = next(iter(names), "mail.example.com"), config.tls.certificates[0]
    print("Next:")
    if not certificate.exists():
        print(f"  popgate certs make {name} --folder {certificate.parent} --file {certificate.name}   (the name that "
              "clients use)")  # fmt: skip
        if options.user:
            print(f"  chown {options.user} {certificate}")
    for words in ("check", "selftest", "run"):
        print(f"  popgate {words} -c {folder}")
    return GOOD


def _answers(options: argparse.Namespace) -> initial.Answers:
    """From the options, and from a person where there is one; raise ConfigError for what is missing or wrong."""
    problems: list[str] = []

    def asked(given: str | None, question: str, default: str) -> str:
        if given is None and sys.stdin.isatty():
            with contextlib.suppress(EOFError):  # Ctrl-D: no answer
                given = input(f"{question}{f' [{default}]' if default else ''}: ").strip()
        return given or default

    def server(given: str | None, option: str, question: str, default: str) -> str:
        text = asked(given, question, default)
        try:
            if text:
                return initial.server(text, option)
            problems.append(f"--{option} is missing: {question}")
        except Wrong as wrong:
            problems.extend(f"--{option}: {problem}" for problem in wrong.texts)
        return ""

    pop3 = server(options.pop3, "pop3", "The mail server's POP3 side, HOST or HOST:PORT", "")
    host = pop3.rpartition(":")[0]
    smtp = server(options.smtp, "smtp", "Its SMTP side, HOST or HOST:PORT", f"{host}:25" if host else "")
    domains = options.domain
    if domains is None:
        domains = asked(None, "The domains that it takes mail for, with spaces between", "").split()
    try:
        found = tuple([places.domain(domain) for domain in domains])
    except Wrong as wrong:
        problems.extend(f"--domain: {problem}" for problem in wrong.texts)
    if problems:
        raise ConfigError(problems)
    return initial.Answers(pop3, smtp, found, options.user)


def _make_certificate(options: argparse.Namespace) -> int:
    path = certificates.make(
        options.names,
        Path(options.folder),
        file=options.file,
        force=options.force,
        for_old=options.rsa,
        request=options.csr,
    )
    print(f'{path}: a self-signed certificate for {", ".join(options.names)}; in conf.d: certificates = ["{path}"]')
    if options.csr:
        print(f"{certificates.request_path(path)}: a request for an authority; put what it signs into {path}, "
              "before the key")  # fmt: skip
    return GOOD
