"""`popgate why`: may this address relay, and the chain of reasons.

The reasons are worked out from the configuration and the live leases, with the very functions by which the gate
decides, one verdict for each SMTP listener whose gate differs.  It knows no history: a lease that has ended is "no
lease".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .leases.clock import Clock
from .leases.memory import MemoryStore
from .runtime import policy_of
from .session.transaction import is_local
from .wire.address import shown
from .wire.path import BadPath, parse
from .wire.recipients import LocalDomains

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .config import Config, Gate


@dataclass(frozen=True, slots=True)
class Explanation:
    """For one listener: the verdict ("allow", "refuse", "defer") and why, step by step."""

    listener: str
    verdict: str
    reasons: tuple[str, ...]


def explain(
    config: Config, address: bytes, recipient: str, leases: Sequence[dict[str, Any]] | str
) -> list[Explanation]:
    """One explanation for each SMTP listener.

    `recipient`: "" asks about relaying in general; `leases`: all live ones (questions.listed), or why they are not
    known.
    """
    here = leases if isinstance(leases, str) else [lease for lease in leases if lease["address"] == shown(address)]
    found = []
    for listener in config.listeners.values():
        if listener.protocol == "smtp":
            ask_local = listener.local == "gate"
            verdict, reasons = _judge(config, listener.gate, address, recipient, here, ask_local)
            found.append(Explanation(listener.name, verdict, tuple(reasons)))
    return found


def _judge(
    config: Config,
    gate: Gate,
    address: bytes,
    recipient: str,
    leases: Sequence[dict[str, Any]] | str,
    ask_local: bool,
) -> tuple[str, list[str]]:
    reasons: list[str] = []
    if recipient:
        try:
            path, rest = parse(b"<%b>" % recipient.encode("utf-8", "surrogateescape"))
        except BadPath as bad:
            return "refuse", [f"{recipient!r}: {bad}"]
        if rest:
            return "refuse", [f"{recipient!r}: not one address"]
        if is_local(path, True, LocalDomains(gate.local_domains)):
            reasons.append("the recipient is local")
            if not ask_local:
                return "allow", reasons
            reasons.append("this listener asks for local recipients too")
        else:
            reasons.append("the recipient is not local")
    policy = policy_of(config, gate, MemoryStore(Clock()))  # it is not asked: the leases are given
    if policy.standing(address) is not None:
        return "allow", [*reasons, "the address is in trusted_networks"]
    if isinstance(leases, str):
        return "defer", [*reasons, leases]
    if leases:
        held = [f"lease of {lease['login']} ({lease['source']}), {_left(lease['left'])} left" for lease in leases]
        return "allow", reasons + held
    reasons.append("no lease: no POP login from this address in the window, or it has ended")
    if barred := policy.unleasable(address, "", 0):
        reasons.append(f"a login from this address makes no lease: {barred}")
    return "refuse", reasons


def _left(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    words = [
        f"{hours} h" if hours else "",
        f"{minutes} min" if minutes else "",
        f"{rest} s" if rest and not hours else "",
    ]
    return " ".join([word for word in words if word]) or "0 s"
