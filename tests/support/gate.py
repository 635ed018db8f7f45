"""A link on the bench: a client's end and a server's end that a test moves by hand, a lease store that it answers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from proxy.config.schema import Gate as Rules
from proxy.gate.policy import RelayPolicy
from proxy.leases.memory import MemoryStore
from proxy.leases.usage_report import UsageRecorder
from proxy.net.link.link import Link
from proxy.net.service import Service, Shared
from proxy.net.tracing import Traces
from proxy.net.upstream.upstream import UNANNOUNCED, Server, Upstream
from proxy.session.contract import Wait
from proxy.session.pop3.session import PopSettings
from proxy.session.smtp.session import SmtpSession, SmtpSettings
from proxy.shared_memory.connections import ConnectionCounters
from proxy.shared_memory.failed_logins import FailedLogins
from proxy.shared_memory.figures import NodeFigures
from proxy.wire.address import Networks, packed, shown
from proxy.wire.esmtp import EhloEditor
from proxy.wire.recipients import LocalDomains
from proxy.wire.sasl import PasswordExchange

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from proxy.errors import StoreUnavailable
    from proxy.gate.patience import Patience
    from proxy.leases.base import Lease
    from proxy.net.service import Connection
    from proxy.net.tls.contexts import ServerTls, UpstreamTls

    from .workshop import Peer, Workshop

CLIENT = "192.0.2.7"
WAITS = {
    Wait.GREETING: 10.0,
    Wait.COMMAND: 300.0,
    Wait.LOGIN: 180.0,
    Wait.MESSAGE: 181.0,
    Wait.MESSAGE_REPLY: 600.0,
    Wait.MAILBOX: 601.0,
}


class SlowStore:
    """A store that answers when the test does: `grants` and `questions` are what it was asked and has not answered."""

    def __init__(self) -> None:
        self.grants: list[tuple[bytes, str, str, float, Callable[[int | StoreUnavailable], None]]] = []
        self.questions: list[tuple[bytes, Callable[[Sequence[Lease] | StoreUnavailable], None]]] = []
        self.charges: list[tuple[bytes, str, str, int, int, float]] = []
        self.renewals: list[tuple[bytes, str, str, float]] = []
        self.watcher: Callable[[bytes | None], None] | None = None

    def find(self, address: bytes, then: Callable[[Sequence[Lease] | StoreUnavailable], None]) -> None:
        self.questions.append((address, then))

    def grant(
        self,
        address: bytes,
        login: str,
        source: str,
        window: float,
        then: Callable[[int | StoreUnavailable], None],
        limit: int = 0,
    ) -> None:
        self.grants.append((address, login, source, window, then))

    def charge(self, address: bytes, login: str, source: str, messages: int, recipients: int, span: float) -> None:
        self.charges.append((address, login, source, messages, recipients, span))

    def renew(self, batch: Sequence[tuple[bytes, str, str, float]]) -> None:
        self.renewals += batch

    def watch(self, changed: Callable[[bytes | None], None] | None) -> None:
        self.watcher = changed


class Gate:
    """Everything a link needs; `open` makes one for a client that connects."""

    def __init__(self, workshop: Workshop, protocol: str, *, store: Any = None) -> None:
        self.workshop = workshop
        self.protocol = protocol
        self.store = store if store is not None else MemoryStore(workshop.clock)
        self.server = workshop.server()
        self.servers: list[Server] = [Server("127.0.0.1", self.server.getsockname()[1])]
        self.trusted: Sequence[str] = ()
        self.never: Sequence[str] = ()
        self.balancers: Sequence[str] = ()
        self.own: Callable[[bytes], bool] = lambda address: False
        self.tls: ServerTls | None = None
        self.implicit = False
        self.upstream_tls: UpstreamTls | None = None
        self.upstream_implicit = False
        self.stls = False
        self.announcing = UNANNOUNCED
        self.transparent = False
        self.window = 1800.0
        self.session_timeout = 7200.0
        self.rules: dict[str, Any] = {}
        """Keys of [gate], beside those above."""
        self.patience: Patience | None = None
        self.failed_logins_per_address = 0
        self.auth: Literal["upstream", "pop3", "off"] = "upstream"
        self.password_upstream: Upstream | None = None
        self.counters = ConnectionCounters(1)
        self.failures = FailedLogins(1, workshop.clock.now)
        self.board = NodeFigures(1, {"door": protocol})
        self.row = self.board.row(0)
        self.refusals = self.counters.refusals.row(0)
        self.closed: list[Connection] = []
        self.leased: list[str] = []
        self.left: list[str] = []
        """Links whose leases are kept alive no more."""
        self.notes = UsageRecorder(workshop.clock.wall)
        self.traces = Traces()
        self.client: Peer
        self.link: Link

    def settings(self) -> SmtpSettings | PopSettings:
        if self.protocol == "pop3":
            return PopSettings(stls=self.stls)
        refusal = "554 5.7.1 <{recipient}>: Relay access denied"
        own = PasswordExchange.MECHANISMS if self.auth == "pop3" else frozenset[bytes]()
        return SmtpSettings(
            LocalDomains(["local.test"]),
            EhloEditor(self.auth != "off", own),
            refusal,
            auth=self.auth,
            doubts_authenticated=bool(self.rules.get("shared_networks") or self.rules.get("no_relay_logins"))
            or self.rules.get("sender", "any") != "any",
            starttls=self.stls,
        )

    def service(self) -> Service:
        upstream = Upstream(
            "up",
            self.protocol,
            self.servers,
            tls=self.upstream_tls,
            implicit=self.upstream_implicit,
            connect_timeout=WAITS[Wait.GREETING],
            is_ours=lambda host, port: False,
            announcing=self.announcing,
        )
        rules = Rules(
            window=self.window,
            trusted_networks=tuple(self.trusted),
            never_lease=tuple(self.never),
            local_domains=("local.test",),
            **self.rules,
        )
        policy = RelayPolicy(
            rules, self.store, is_own=self.own, balancers=Networks(self.balancers), patience=self.patience
        )
        return Service(
            name="door",
            protocol=self.protocol,
            settings=self.settings(),
            policy=policy,
            upstream=upstream,
            tls=self.tls,
            implicit_tls=self.implicit,
            transparent=self.transparent,
            waits=WAITS,
            accept_proxy_from=Networks(self.balancers),
            proxy_timeout=5.0,
            handshake_timeout=30.0,
            session_timeout=self.session_timeout,
            max_age=43200.0,
            failed_logins_per_address=self.failed_logins_per_address,
            password_upstream=self.password_upstream,
        )

    def shared(self) -> Shared:
        workshop = self.workshop
        return Shared(
            poller=workshop.poller,
            deadlines=workshop.deadlines,
            log=workshop.log,
            clock=workshop.clock.now,
            closed=self.closed.append,
            leased=lambda _, key: self.leased.append(key[1]),
            left=lambda link: self.left.append(link.id),
            notes=self.notes,
            counters=self.counters,
            failures=self.failures,
            figures=self.row.figures,
            refusals=self.refusals,
            worker=0,
            traces=self.traces,
        )

    def open(self, address: str = CLIENT) -> Peer:
        """A client connects; return its end."""
        workshop, shared = self.workshop, self.shared()
        ours, self.client = workshop.pair()
        binary = packed(address)
        service = self.service()

        self.link = Link(shared, service, ours, binary, shown(binary), "1-1")
        workshop.run(self.link.begin)
        workshop.at_end.append(partial(drop, self.link))
        return self.client

    def accepted(self, server: socket.socket | None = None) -> Peer:
        """The server's end of the link's next connection."""
        return self.workshop.accepted(server or self.server)

    def until(self, condition: Callable[[], object]) -> None:
        self.workshop.until(condition)

    def gets(self, peer: Any, text: bytes) -> None:
        """Wait until a peer has got all of `text` and nothing else since it was asked last."""
        seen = peer.told
        self.until(lambda: len(peer.look()) >= seen + len(text))
        assert peer.got[seen:] == text
        peer.told = len(peer.got)

    def talk(self, *steps: tuple[str, bytes]) -> None:
        """Steps of a dialogue, ("C", ...) and ("U", ...) say, (">C", ...) and (">U", ...) get."""
        for who, text in steps:
            peer = self.client if who.endswith("C") else self.up
            if who.startswith(">"):
                self.gets(peer, text)
            else:
                peer.send(text)

    def greet(self, greeting: bytes = b"") -> tuple[Peer, Peer]:
        """A client connects and is greeted; (client, server)."""
        self.open()
        self.up = self.accepted()
        greeting = greeting or (b"+OK hi <1@u>\r\n" if self.protocol == "pop3" else b"220 legacy\r\n")
        self.talk(("U", greeting), (">C", greeting))
        return self.client, self.up

    def pretend_tls(self) -> None:
        """From now on the session believes that its client speaks TLS."""
        assert isinstance(self.link.session, SmtpSession)
        self.link.session._tls = True

    def log_in(self, login: bytes = b"anna") -> None:
        """USER and PASS up to the upstream's +OK; whether the client gets it is the store's business."""
        self.talk(("C", b"USER %b\r\n" % login), (">U", b"USER %b\r\n" % login), ("U", b"+OK\r\n"), (">C", b"+OK\r\n"))
        self.talk(("C", b"PASS secret\r\n"), (">U", b"PASS secret\r\n"), ("U", b"+OK logged in\r\n"))

    def say_ehlo(self, extensions: bytes = b"250-PIPELINING\r\n") -> None:
        """EHLO and an upstream's reply to it."""
        self.talk(("C", b"EHLO c.test\r\n"), (">U", b"EHLO c.test\r\n"))
        self.up.send(b"250-legacy\r\n" + extensions + b"250 8BITMIME\r\n")
        self.until(lambda: b"8BITMIME" in self.client.look()[self.client.told :])
        self.workshop.turns(3)
        self.client.told = len(self.client.look())

    def start_mail(self) -> None:
        """MAIL, accepted."""
        self.talk(
            ("C", b"MAIL FROM:<a@s.test>\r\n"), (">U", b"MAIL FROM:<a@s.test>\r\n"),
            ("U", b"250 ok\r\n"), (">C", b"250 ok\r\n"),
        )  # fmt: skip

    def start_text(self) -> None:
        """A local recipient and DATA, accepted: what the client says now is the message."""
        local = b"RCPT TO:<u@local.test>\r\n"
        self.talk(("C", local), (">U", local), ("U", b"250 ok\r\n"), (">C", b"250 ok\r\n"))
        self.talk(("C", b"DATA\r\n"), (">U", b"DATA\r\n"), ("U", b"354 go\r\n"), (">C", b"354 go\r\n"))

    def end(self) -> dict[str, Any]:
        """Wait until the link is closed; the words of its last line in the log."""
        self.until(lambda: self.closed)
        assert self.closed == [self.link], "closed once"
        (words,) = self.workshop.log.of("end")
        return words


def drop(link: Link) -> None:
    """Close the sockets of a link that still lives."""
    link.requests.stop()
    link.upstream.stop()
    link.client.close()
