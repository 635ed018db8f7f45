"""Who popgate is: as many descriptors as it may have, and `become`, which leaves root for good.

As root are done: reading configuration and certificates, and then binding the ports (sockets.py).  Everything else
(log, store, control socket, reload, workers) comes after `become`, as `user`.  So whatever popgate makes belongs to
that user, and no file is opened or given away as root in a folder where `user` could have put a link.

One right of root's may be kept, CAP_NET_RAW: connections from the clients' own addresses need it one by one
(net/upstream/transparent.py).  Where systemd or somebody else gives it to `user` (AmbientCapabilities=CAP_NET_RAW),
popgate need not be root for that.

The command line becomes `user` too before it touches a store that no daemon has open (rule N8), and `check` and
`selftest` for a moment (`as_user`), since what root can open proves nothing.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import struct
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError
from ..net.upstream.transparent import is_permitted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


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


def become(user: str, *, keep_net_raw: bool = False) -> None:
    """Become `user` for good; nothing to do for "".  Raise ConfigError where that can't be done."""
    if not user:
        return
    entry = known(user)
    if os.geteuid() == entry.pw_uid:
        return
    if keep_net_raw and os.geteuid() == 0:
        _keep_over_the_change()
    try:
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except PermissionError:
        raise ConfigError([f"user: only root can become {user!r}; start popgate as root or as {user}"]) from None
    if keep_net_raw:
        _reduce_to_net_raw()


@contextlib.contextmanager
def as_user(user: str) -> Iterator[None]:
    """For root: be `user` for a while; any other user stays what it is.  The whole process changes, all its threads."""
    if not user or os.geteuid() != 0:
        yield
        return
    entry = known(user)
    groups, group = os.getgroups(), os.getegid()
    try:
        os.initgroups(user, entry.pw_gid)
        os.setegid(entry.pw_gid)
        os.seteuid(entry.pw_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def demand_net_raw(keys: Sequence[str]) -> None:
    """Raise ConfigError unless connections from foreign addresses can be made, which these keys ask for."""
    if keys and not is_permitted():
        cure = "start popgate as root, or give its user CAP_NET_RAW (systemd: AmbientCapabilities=CAP_NET_RAW)"
        raise ConfigError([f'{key}: "client" needs CAP_NET_RAW; {cure}' for key in keys])


# Capabilities: prctl(2) and capset(2), for which Python has no calls of its own.

_PR_SET_KEEPCAPS: Final = 8
_VERSION_3: Final = 0x20080522  # linux/capability.h
_CAP_NET_RAW: Final = 1 << 13


def _keep_over_the_change() -> None:
    """Let what is permitted stay so when the user changes; the flag itself ends with that."""
    _call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)


def _reduce_to_net_raw() -> None:
    """Of what was kept, keep one capability, and use it from now on."""
    sets = struct.pack(
        "=6I", _CAP_NET_RAW, _CAP_NET_RAW, 0, 0, 0, 0
    )  # effective, permitted, inheritable; twice 32 bits
    _call("capset", struct.pack("=Ii", _VERSION_3, 0), sets)


def _call(name: str, *arguments: int | bytes) -> None:
    """A function of the C library; OSError if it fails."""
    import ctypes  # only here: its import makes executable memory, which a hardened unit denies

    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
