"""What a test needs of the machine, by name: skipped where it is missing, failed under `scripts/test --all`.

`need("dovecot", "curl")` returns the paths.  POPGATE_TEST_ALL=1 (set by `scripts/test --all`, which CI runs) turns a
skip into a failure, so that a green run there means that everything ran.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"  # Debian keeps dovecot and postfix out of a user's path

LAB = Path(__file__).parents[2] / ".venv" / "lab"  # where scripts/setup --test puts what must not be installed
_UNPACKED = {
    "exim4": "debian/usr/sbin/exim4",
    "sendmail8": "debian/usr/libexec/sendmail/sendmail",  # `sendmail` on the path is whose MTA is installed
    "opensmtpd": "debian/usr/sbin/smtpd",
    "promtool": "debian/usr/bin/promtool",
    "aiosmtpd-1.4.4": "aiosmtpd-1.4.4",
    "aiosmtpd-1.4.6": "aiosmtpd-1.4.6",
    "command-injection-tester": "command-injection-tester-0.0.2/bin/command-injection-tester",
}

_OPENSSL = Path("/usr/include/openssl/ssl.h")
_PERL = {"perl": ("Net::POP3", "Net::SMTP"), "ssleay": ("Net::SSLeay",)}


def need(*tools: str) -> list[str]:
    """The paths of `tools`; skips or fails the calling test, naming what is missing.

    "root" stands for the right to start Postfix, to make devices and to change the root folder, "namespaces" for that
    to make networks (a container may be root without it); "perl" for Perl with Net::POP3 and Net::SMTP, "ssleay" for
    its TLS, without which swaks has none; "libssl-dev" for OpenSSL's headers.
    """
    found = {tool: path_of(tool) for tool in tools}
    missing = [tool for tool, path in found.items() if not path]
    if missing:
        reason = f"not on this machine: {', '.join(missing)} (scripts/setup --test installs what it may)"
        if os.environ.get("POPGATE_TEST_ALL") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return list(found.values())


def path_of(tool: str) -> str:
    """The path of a tool, as `need` names them; "" where it is not on this machine."""
    if tool == "root":
        return "/" if os.geteuid() == 0 else ""
    if tool == "libssl-dev":
        return str(_OPENSSL) if _OPENSSL.exists() else ""
    if tool == "namespaces":
        made = os.geteuid() == 0 and subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
        return "/" if made and made.returncode == 0 else ""
    if tool in _UNPACKED:
        place = LAB / _UNPACKED[tool]
        return str(place) if place.exists() else ""
    path = shutil.which(tool, path=PATH) or ""
    if tool == "dovecot" and not any(Path(f"/usr/{lib}/dovecot/pop3").exists() for lib in ("lib", "libexec")):
        return ""
    if tool in _PERL:
        path = shutil.which("perl", path=PATH) or ""
        probe = [path, *(f"-M{module}" for module in _PERL[tool]), "-e1"]
        return path if path and subprocess.run(probe, capture_output=True, check=False).returncode == 0 else ""
    return path
