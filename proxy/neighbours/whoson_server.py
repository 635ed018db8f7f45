"""popgate as a whoson server: answers who is logged in, and is told of logins elsewhere.

QUERY is answered from the lease store, and from nowhere else: never from what other servers say (`[whoson] ask`), so
that two that ask each other go in no circle, and keep nothing alive between them.

LOGIN makes a lease of source "whoson" for `[gate] window` (rule G1), by the rules of any login (G3); it is told to no
other server.  LOGOUT ends every lease of the address, as it does everywhere in this protocol: it comes when an address
is given back (a dial-up line, a VPN) and may belong to somebody else the next moment.  Rejected: ending only what
whoson made, since a QUERY after it would still say yes.

Who may do what is decided by address (`allow` for QUERY, `allow_login` for LOGIN and LOGOUT); whoever can open the unix
socket may do all.  The grammar is wire/whoson.py's, the sockets neighbours/query_server.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import ProtocolError, StoreUnavailable
from ..wire import whoson
from ..wire.address import shown
from .query_server import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..gate.policy import RelayPolicy
    from ..leases.base import Lease
    from ..log import Log
    from ..wire.address import Networks
    from .query_server import Peer

WHOSON: Final = "whoson"
"""The source of a lease that a LOGIN made (rule G1)."""
NOBODY: Final = "(whoson)"
"""The login of such a lease where the LOGIN named none."""


class WhosonServer:
    """An QueryHandler (neighbours/query_server.py)."""

    name = "whoson"
    limit = whoson.MAX_REQUEST
    denial = whoson.DENIED
    overlong = whoson.OVERLONG
    marks = whoson.MARKS

    def __init__(self, policy: RelayPolicy, allow: Networks, allow_login: Networks, log: Log) -> None:
        self._store, self._policy, self._log = policy.store, policy, log
        self._allow, self._allow_login = allow, allow_login

    def welcomes(self, peer: Peer) -> bool:
        return peer is None or peer in self._allow or peer in self._allow_login

    def answer(self, lines: Sequence[bytes], peer: Peer, then: Callable[[Answer], None]) -> None:
        try:
            request = whoson.parse(lines[0])
        except ProtocolError as error:
            then(Answer(whoson.error(str(error))))
            return
        allowed = self._allow if request.verb == whoson.QUERY else self._allow_login
        if request.verb == whoson.QUIT:
            then(Answer(whoson.QUIT_DONE, last=True))
        elif peer is not None and peer not in allowed:
            then(Answer(whoson.DENIED))
        elif request.verb == whoson.QUERY:
            self._query(request.address, then)
        elif request.verb == whoson.LOGIN:
            self._login(request.address, request.name or NOBODY, peer, then)
        else:
            self._logout(request.address, peer, then)

    def _query(self, address: bytes, then: Callable[[Answer], None]) -> None:
        def found(answer: Sequence[Lease] | StoreUnavailable) -> None:
            if isinstance(answer, StoreUnavailable):
                then(Answer(whoson.UNAVAILABLE))
            else:
                then(Answer(whoson.found(answer[0].login) if answer else whoson.NOT_LOGGED_IN))

        self._store.find(self._policy.lease_key(address), found)

    def _login(self, address: bytes, login: str, peer: Peer, then: Callable[[Answer], None]) -> None:
        words = (("client", shown(address)), ("login", login), ("by", _shown(peer)))

        def refuse(why: str) -> None:
            level = "warning" if self._log.first_this_hour((address, why)) else "debug"
            self._log.line(level, self.name, "no-lease", *words, ("why", why))
            then(Answer(whoson.NEVER_LEASED))

        def granted(answer: int | StoreUnavailable) -> None:
            if isinstance(answer, StoreUnavailable):
                self._log.line("warning", self.name, "not-leased", *words, ("why", str(answer)))
                then(Answer(whoson.UNAVAILABLE))
            elif self._policy.is_crowded(answer):
                refuse("max_logins_per_address")
            else:
                self._log.line("info", self.name, "leased", *words, ("seconds", round(self._policy.window)))
                then(Answer(whoson.LOGIN_DONE))

        if why := self._policy.no_lease_reason(address, login, 0):
            refuse(why)
        else:
            self._policy.grant(address, login, granted, WHOSON)

    def _logout(self, address: bytes, peer: Peer, then: Callable[[Answer], None]) -> None:
        def revoked(count: int | StoreUnavailable) -> None:
            if isinstance(count, StoreUnavailable):
                then(Answer(whoson.UNAVAILABLE))
                return
            words = (("client", shown(address)), ("leases", count), ("by", _shown(peer)))
            self._log.line("info", self.name, "logged-out", *words)
            then(Answer(whoson.LOGOUT_DONE if count else whoson.LOGOUT_IDLE))

        self._store.revoke(self._policy.lease_key(address), None, revoked)


def _shown(peer: Peer) -> str:
    return "unix" if peer is None else shown(peer)
