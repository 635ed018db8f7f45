"""A private Dovecot that speaks POP3 and nothing else: the real thing in the appliance's place.

Users alice, bob and carol, password "secret"; USER/PASS, APOP, and AUTH PLAIN, LOGIN, CRAM-MD5 in the clear; STLS if
it is given a certificate.  Everything lives in one temporary folder.  Runs as root (then under Debian's dovecot
users) or as the tests' own user.  Delivery is not its business: `deliver` puts a file into a Maildir.
"""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from .dialogue import Dialogue
from .folder import Folder
from .needs import need
from .ports import free, server_host
from .process import Process

if TYPE_CHECKING:
    from collections.abc import Sequence

USERS = ("alice", "bob", "carol")
PASSWORD = "secret"
NOBODY = 65534  # owner of the mail when Dovecot runs as root: it refuses to read mail as root

_CONFIG = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = /dev/stderr
auth_debug = no
protocols = pop3
listen = {host}
ssl = {ssl}
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 apop
auth_failure_delay = 0
mail_location = maildir:{folder}/mail/%u
mail_max_userip_connections = 1000
first_valid_uid = 1
first_valid_gid = 1
haproxy_trusted_networks = 127.0.0.0/8
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail/%u
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
  inet_listener pop3_proxied {{
    port = {proxied}
    haproxy = yes
  }}
  service_count = 0
  {unchrooted}
}}
service anvil {{
  {unchrooted}
  # No penalty for an address that failed before: all tests come from one.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  {unchrooted}
}}
"""


class Dovecot:
    """A running Dovecot; `address` is (host, port), `endpoint` the same as the configuration writes it."""

    def __init__(self, certificate: Path | None = None, users: Sequence[str] = USERS, host: str = "") -> None:
        (program,) = need("dovecot")
        self._folder = Folder("dovecot")
        folder = self._folder.path
        self._names = itertools.count(1)
        root = os.geteuid() == 0
        self._owner = (NOBODY, NOBODY) if root else (os.getuid(), os.getgid())
        host = host or server_host()
        self.address = (host, free(host))
        self.endpoint = f"[{host}]:{self.address[1]}" if ":" in host else f"{host}:{self.address[1]}"
        port = free(host)
        self.proxied = f"{host}:{port}"
        """Where it expects a PROXY header first."""
        (folder / "users").write_text("".join(f"{user}:{PASSWORD}\n" for user in users))
        for user in users:
            self._make(folder / "mail" / user / "new")
            self._make(folder / "mail" / user / "cur")
            self._make(folder / "mail" / user / "tmp")
        text = _CONFIG.format(
            folder=folder,
            host=host,
            port=self.address[1],
            proxied=port,
            uid=self._owner[0],
            gid=self._owner[1],
            ssl="yes" if certificate else "no",
            unchrooted="" if root else "chroot =",
        )
        if certificate:
            text += f"ssl_cert = <{certificate}\nssl_key = <{certificate}\n"
        if not root:
            me = Path.home().owner()
            text += f"default_login_user = {me}\ndefault_internal_user = {me}\n"
            text += f"default_internal_group = {self._owner[1]}\n"
        config = folder / "dovecot.conf"
        config.write_text(text)
        self.process = Process([program, "-F", "-c", str(config)])
        try:
            self.process.expect("starting up")
            with Dialogue(self.address) as first:  # the port is bound before that line; this waits for the service
                first.expect(b"+OK")
        except BaseException:
            self.close()
            raise

    def deliver(self, user: str, message: bytes) -> None:
        """Puts `message` into the mailbox."""
        box = self._folder.path / "mail" / user
        name = f"{next(self._names)}.test"
        draft = box / "tmp" / name
        draft.write_bytes(message)
        os.chown(draft, *self._owner)
        draft.rename(box / "new" / name)

    def empty(self, user: str) -> None:
        """Takes all messages out of the mailbox."""
        for part in ("new", "cur"):
            for message in (self._folder.path / "mail" / user / part).iterdir():
                message.unlink()

    def close(self) -> None:
        self.process.stop()
        shutil.rmtree(self._folder.path / "run", ignore_errors=True)
        self._folder.cleanup()

    def _make(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for part in (folder, folder.parent, folder.parent.parent):
            os.chown(part, *self._owner)
