"""What makes files: `popgate certs make`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .. import certificates
from .parser import GOOD

if TYPE_CHECKING:
    import argparse

    from .parser import Commands


def add(to: Commands) -> None:
    certs = to.group("certs", "certificates")
    make = certs.add_parser("make", help="make a self-signed certificate for these names")
    make.add_argument("names", nargs="+", metavar="NAME")
    make.add_argument("--folder", default="certs", help="where to; default ./certs")
    make.add_argument("--file", default="", help="file name; default NAME.pem")
    make.add_argument("--force", action="store_true", help="replace what is there")
    make.add_argument("--rsa", action="store_true", help="an RSA key, for clients that know no elliptic curves")
    make.add_argument("--csr", action="store_true", help="a signing request, too: NAME.csr, for an authority")
    make.set_defaults(command=_make_certificate)


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
