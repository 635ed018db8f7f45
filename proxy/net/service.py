"""What links share: all of one listener (`Service`), all of one worker (`Shared`).  Values; nothing here acts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from .tracing import Traces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..gate.policy import RelayPolicy
    from ..leases.base import Key
    from ..leases.usage_report import UsageRecorder
    from ..log import Log
    from ..metrics import Figures
    from ..session.begin import Settings
    from ..session.contract import Wait
    from ..shared_memory.connections import ConnectionCounters
    from ..shared_memory.failed_logins import FailedLogins
    from ..shared_memory.recent_refusals import RefusalRow
    from ..wire.address import Networks
    from .sockets.poller import Poller
    from .timers import Deadlines
    from .tls.contexts import ServerTls
    from .upstream.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Service:
    """What all links of one listener share.  Every reload makes new ones; living links keep theirs."""

    name: str
    """The listener's."""
    protocol: str
    """"smtp" or "pop3"."""
    settings: Settings
    """Of its sessions."""
    policy: RelayPolicy
    """Who may relay, and who gets a lease."""
    upstream: Upstream
    """Where its sessions go."""
    tls: ServerTls | None
    """None: clients speak in the clear."""
    implicit_tls: bool
    """TLS comes before the greeting."""
    transparent: bool
    """Whether clients wanted to reach somebody else (net/upstream/transparent.py)."""
    waits: dict[Wait, float]
    """Seconds for each kind of wait."""
    accept_proxy_from: Networks
    """Load balancers, which send a PROXY header first."""
    proxy_timeout: float
    """Seconds for it."""
    handshake_timeout: float
    """Seconds for a TLS handshake."""
    session_timeout: float
    """Seconds for a whole SMTP session; for a POP session until its login, however many commands it says."""
    max_age: float
    """Seconds after the login that an open POP session keeps its lease alive."""
    failed_logins_per_address: int = 0
    """In ten minutes, then failures are slowed; 0: no limit."""
    password_upstream: Upstream | None = None
    """Which servers tell whether a password of AUTH is right (`auth = "pop3"`)."""


class Connection(Protocol):
    """A connection that was accepted, as far as the worker keeps account of it: a link, or a balancer's check."""

    def __hash__(self) -> int: ...

    @property
    def id(self) -> str:
        """What the log calls it."""

    @property
    def address(self) -> bytes:
        """The client's, or the balancer's (wire/address.py)."""

    @property
    def service(self) -> Service:
        """Of the listener that it came by."""


@dataclass(slots=True)
class Shared:
    """What all links of one worker share."""

    poller: Poller
    """Their sockets."""
    deadlines: Deadlines
    """Their limits."""
    log: Log
    """Another one after a reload."""
    clock: Callable[[], float]
    """Seconds that go on in suspend and never go back (leases/clock.py)."""
    closed: Callable[[Connection], None]
    """Called once at the end of every connection."""
    leased: Callable[[Connection, Key], None]
    """Called when a POP session with a lease opens: it keeps the lease alive (rule G4)."""
    left: Callable[[Connection], None]
    """Called when the client of an open mailbox has said its last: it keeps nothing alive any more."""
    notes: UsageRecorder
    """What clients need, for `popgate report`."""
    counters: ConnectionCounters
    """The node's connections, and the logins with an open mailbox."""
    failures: FailedLogins
    """The node's failed logins, by address."""
    figures: Mapping[str, Figures]
    """This worker's metrics, by listener (metrics.py)."""
    refusals: RefusalRow
    """The last refusals, for the status page."""
    worker: int
    """Our number in the node's counters."""
    traces: Traces = field(default_factory=Traces)
    """Whose sessions are traced."""
