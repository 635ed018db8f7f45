"""Invariant: one answer to each request, OK for the one address with a lease and for no other, and nothing is raised.

The input is what Postfix sends, several requests perhaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.schema import Gate
from proxy.errors import ProtocolError
from proxy.gate.policy import POP3, RelayPolicy
from proxy.leases.memory import MemoryStore
from proxy.neighbours.postfix_policy import PolicyService
from proxy.wire import postfix
from proxy.wire.address import Networks, packed
from proxy.wire.stanzas import Stanzas

from ..support.clocks import FakeClock
from ..support.workshop import KeptLog
from . import demand

if TYPE_CHECKING:
    from proxy.neighbours.query_server import Answer

TOKENS = [
    b"request=smtpd_access_policy\n",
    b"client_address=192.0.2.7\n",
    b"client_address=192.0.2.8\n",
    b"\n",
    b"\r\n",
]
TOKENS += [b"client_address=::ffff:192.0.2.7\n", b"client_address=unknown\n", b"sender=", b"recipient=", b"\xff", b"\0"]
TOKENS += [
    b"client_address=198.51.100.1\n",
    b"client_address=",
    b"192.0.2.7",
    b"2001:db8::7",
    b"sender=a@s.test\n",
    b"=",
]

_HOME, _BALANCER = packed("192.0.2.7"), "198.51.100.1"


def one_input(data: bytes) -> None:
    store, log = MemoryStore(FakeClock()), KeptLog()
    for address in (_HOME, packed(_BALANCER)):
        store.grant(address, "anna", POP3, 60.0, lambda _: None)
    policy = RelayPolicy(Gate(), store, is_own=lambda address: False, balancers=Networks((_BALANCER,)))
    service = PolicyService(policy, log)
    try:
        requests = Stanzas(service.limit).feed(data)
    except ProtocolError:
        return
    for lines in requests:
        answers: list[Answer] = []
        service.answer(lines, None, answers.append)
        demand(len(answers) == 1, "answers", lines, answers)
        [answer] = answers
        demand(answer.octets in (postfix.OK, postfix.DUNNO, b""), "answer", answer)
        if answer.octets == postfix.OK:
            said = [line.partition(b"=")[2] for line in lines if line.startswith(b"client_address=")]
            demand(said and packed(said[-1].decode()) == _HOME, "for whom?", lines)
