"""Who popgate is: as many descriptors as it may have, and `become`, which leaves root for good.

As root are done: reading configuration and certificates, and then binding the ports (sockets.py).  Everything else
(log, store, control socket, reload, workers) comes after `become`, as `user`.  So whatever popgate makes belongs to
that user, and no file is opened or given away as root in a folder where `user` could have put a link.

The command line becomes `user` too before it touches a store that no daemon has open (RULES N8).
"""

from __future__ import annotations

import os
import pwd
import resource

from .errors import ConfigError


def raise_descriptors() -> None:
    """As many descriptors as we may have: each connection takes two (`popgate selftest` says whether they suffice)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def known(user: str) -> pwd.struct_passwd:
    """The entry of `user`; raise ConfigError when there is none."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise ConfigError([f"user: there is no user {user!r}; `adduser --system {user}` makes one"]) from None


def become(user: str) -> None:
    """Become `user` for good; nothing to do for "".  Raise ConfigError where that can't be done."""
    if not user:
        return
    entry = known(user)
    if os.geteuid() == entry.pw_uid:
        return
    try:
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except PermissionError:
        raise ConfigError([f"user: only root can become {user!r}; start popgate as root or as {user}"]) from None
