"""What links share: all of one listener (`Service`), all of one worker (`Shared`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .tracing import Traces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..gate.policy import RelayPolicy
    from ..leases.base import Key
    from ..leases.usage_report import UsageRecorder
    from ..log import Log
    from ..metrics import Figures
    from ..session.contract import Wait
    from ..session.pop3.session import PopSettings
    from ..session.smtp.session import SmtpSettings
    from ..shared_memory.connections import ConnectionCounters
    from ..shared_memory.failed_logins import Failures
    from ..shared_memory.recent_refusals import RefusalRow
    from ..wire.address import Networks
    from .accept.balancer_check import BalancerCheck
    from .link.link import Link
    from .sockets.poller import Poller
    from .timers import Deadlines
    from .tls.contexts import ServerTls
    from .upstream.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Service:
    """What all links of one listener share; made anew by every reload, living links keep theirs."""

    name: str
    protocol: str
    settings: SmtpSettings | PopSettings
    policy: RelayPolicy
    upstream: Upstream
    tls: ServerTls | None
    implicit_tls: bool
    transparent: bool
    """Whether clients wanted to reach somebody else (net/upstream/transparent.py)."""
    waits: dict[Wait, float]
    """Seconds for each kind of wait."""
    accept_proxy_from: Networks
    """Load balancers, which say a PROXY header first."""
    proxy_timeout: float
    """Seconds for it."""
    handshake_timeout: float
    session_timeout: float
    """Seconds for a whole SMTP session; for a POP session until its login, however many commands it says."""
    max_age: float
    """Seconds after the login that an open POP session keeps its lease alive."""
    failed_logins_per_address: int = 0
    """In ten minutes, then failures are slowed; 0: no limit."""
    password_upstream: Upstream | None = None
    """Who tells whether a password of AUTH is right (`auth = "pop3"`)."""


@dataclass(slots=True)
class Shared:
    """What all links of one worker share."""

    poller: Poller
    deadlines: Deadlines
    log: Log
    clock: Callable[[], float]
    """Seconds that go on in suspend and never go back (leases/clock.py)."""
    closed: Callable[[Link | BalancerCheck], None]
    """Called once at the end of every link and probe."""
    leased: Callable[[Link, Key], None]
    """Called when a POP session with a lease opens: it keeps the lease alive (rule G4)."""
    left: Callable[[Link], None]
    """Called when the client of an open mailbox has said its last: it keeps nothing alive any more."""
    notes: UsageRecorder
    """What clients need, for `popgate report`."""
    counters: ConnectionCounters
    failures: Failures
    figures: Mapping[str, Figures]
    """This worker's, by listener (metrics.py)."""
    refusals: RefusalRow
    worker: int
    """Our number in both."""
    traces: Traces = field(default_factory=Traces)
