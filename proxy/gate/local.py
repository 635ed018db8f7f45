"""Which recipients are local: their mail stays on the appliance, so nobody needs a lease for it (rule G16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire.recipients import LocalDomains, is_routing

if TYPE_CHECKING:
    from ..wire.path import Path


def is_local(path: Path, smtputf8: bool, domains: LocalDomains) -> bool:
    """Whether mail to `path` stays on the appliance, however an old server may read it (rule G16).

    A bare user name without routing characters is local, `postmaster` among them (RFC 5321 4.5.1).
    """
    if path.routed or is_routing(path.local):
        return False
    return not path.domain or domains.covers(path.domain, smtputf8)
