"""`popgate why`: may this address relay, and the chain of reasons.

One verdict for each SMTP listener whose gate differs, worked out from the configuration and from what is known about
the address (queries/address.py) by the very functions by which the gate decides.  A reason begins with the words that
stand behind `why=` in the log; what follows a colon is for the administrator, whom nobody has to keep in the dark.

Not told: what a session's own AUTH opens, and patience, which only delays a refusal.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ..errors import StoreUnavailable
from ..gate.local import is_local
from ..gate.verdict import Outcome, Reason, Verdict
from ..leases.base import Lease
from ..leases.clock import Clock
from ..leases.memory import MemoryStore
from ..runtime import policy_of
from ..wire.address import Networks, packed, shown
from ..wire.path import BadPath, parse
from ..wire.recipients import LocalDomains

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config import Config, Gate
    from ..gate.policy import RelayPolicy
    from .leases import Answer

_WORDS: Final = {Outcome.ALLOW: "allow", Outcome.REFUSE: "refuse", Outcome.DEFER: "defer", Outcome.OVER_QUOTA: "defer"}
_UNITS: Final = ((86400, "days"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Explanation:
    """For one listener: the verdict ("allow", "refuse", "defer"; "unknown": nobody could be asked) and why, step by
    step."""

    listener: str
    verdict: str
    reasons: tuple[str, ...]


def places(config: Config, address: bytes) -> list[str]:
    """What leases of this address are for, by any gate (rule G2)."""
    gates = {listener.gate for listener in config.listeners.values()} | {config.gate}
    return sorted({shown(_policy(config, gate).lease_key(address)) for gate in gates})


def no_lease_reason(config: Config, address: bytes) -> str:
    """Why, by some gate, no login from there makes a lease (rule G3); empty where it does."""
    gates = {listener.gate for listener in config.listeners.values()} | {config.gate}
    return next(
        iter(sorted(filter(None, [_policy(config, gate).unattributable_reason(address) for gate in gates]))), ""
    )


def explain(
    config: Config, address: bytes, sender: str | None, recipient: str, known: Answer | str
) -> list[Explanation]:
    """One explanation for each SMTP listener.

    `sender`: None asks for any, "" is the empty one; `recipient`: "" asks about relaying in general; `known`: what is
    known about the address (queries/address.py), or why nothing is: then the verdict may be "unknown".
    """
    found = []
    for listener in config.listeners.values():
        if listener.protocol == "smtp":
            verdict, reasons = _local(listener.gate, recipient, listener.local == "gate")
            if not verdict:
                verdict, more = _judged(config, listener.gate, address, sender, known)
                reasons += more
            found.append(Explanation(listener.name, verdict, tuple(reasons)))
    return found


def _local(gate: Gate, recipient: str, ask_local: bool) -> tuple[str, list[str]]:
    """The verdict, if the recipient alone decides, and what is to be said of it."""
    if not recipient:
        return "", []
    try:
        path, rest = parse(b"<%b>" % recipient.encode("utf-8", "surrogateescape"))
    except BadPath as bad:
        return "refuse", [f"{recipient!r}: {bad}"]
    if rest:
        return "refuse", [f"{recipient!r}: not one address"]
    if not is_local(path, True, LocalDomains(gate.local_domains)):
        return "", ["the recipient is not local"]
    if ask_local:
        return "", ["the recipient is local", "this listener asks for local recipients too"]
    return "allow", ["the recipient is local"]


def _judged(
    config: Config, gate: Gate, address: bytes, sender: str | None, known: Answer | str
) -> tuple[str, list[str]]:
    policy = _policy(config, gate)
    preauthorised = policy.preauthorised(address)
    if preauthorised is not None:
        return _WORDS[preauthorised.outcome], [f"{preauthorised.why}: the address is in trusted_networks"]
    if isinstance(known, str):
        return "unknown", [known]
    if sender is None:
        policy = _policy(config, replace(gate, sender="any", shared_networks=()))
    here = _leases(known, policy.lease_key(address))
    answer = StoreUnavailable(known["down"]) if "down" in known else here
    verdict, _ = policy.verdict(address, sender or "", answer)
    reasons = [_held(lease) for lease in here]
    if here and (sender is not None or verdict.outcome is Outcome.ALLOW):
        reasons += _binding(gate, address, sender)
    if verdict.outcome is Outcome.ALLOW:
        return "allow", [*reasons, f"{Reason.SENDER.value}, which is only logged"] if verdict.unmatched else reasons
    reasons.append(_said(gate, verdict, sender, here))
    if verdict.reason is Reason.NO_LEASE:
        reasons += _before(known) + _barred(policy, address, known)
        if config.whoson.ask:
            servers = ", ".join([str(server) for server in config.whoson.ask])
            reasons.append(f"before it is refused, the servers in whoson.ask are asked, not by this command: {servers}")
    if gate.mode == "shadow":
        reasons.append(f"shadow: {_WORDS[verdict.outcome]} only if enforced; but see no-shadow in the log")
        return "allow", reasons
    return _WORDS[verdict.outcome], reasons


def _policy(config: Config, gate: Gate) -> RelayPolicy:
    return policy_of(config, gate, MemoryStore(Clock()))  # it is not asked: the leases are given


def _leases(known: Answer, place: bytes) -> list[Lease]:
    """Those that this gate would find, most time left first."""
    found = [Lease(**lease | {"address": packed(lease["address"])}) for lease in known["leases"]]
    return sorted([lease for lease in found if lease.address == place], key=lambda lease: -lease.left)


def _held(lease: Lease) -> str:
    used = f", {lease.messages} messages to {lease.recipients} recipients sent" if lease.messages else ""
    return f"lease of {lease.login} ({lease.source}), {_left(lease.left)} left{used}"


def _binding(gate: Gate, address: bytes, sender: str | None) -> list[str]:
    """What the sender has to do with it."""
    shared = address in Networks(gate.shared_networks)
    if sender is not None:
        return ["shared network: the sender must match the login"] if shared else []
    if shared:
        return ["shared network: the sender must match the login; ask with --sender"]
    return ['sender = "match": the sender must match the login; ask with --sender'] if gate.sender == "match" else []


def _said(gate: Gate, verdict: Verdict, sender: str | None, here: Sequence[Lease]) -> str:
    """The gate's own words, and behind them what only the administrator is told."""
    why = verdict.why
    if verdict.reason is Reason.SENDER:
        logins = ", ".join(dict.fromkeys([lease.login for lease in here]))
        return f"{why}: {sender!r} is not {logins}, nor {logins} at a local domain, nor in sender_map"
    if verdict.reason is Reason.SPENT:
        limits = [f"{gate.max_messages} messages"] if gate.max_messages else []
        limits += [f"{gate.max_recipients} recipients"] if gate.max_recipients else []
        return f"{why}: at most {' and '.join(limits)} in {_left(gate.window)}"
    return why


def _before(known: Answer) -> list[str]:
    """What became of the address's logins."""
    told = [
        (one["ended"], f"{one['how']} {_ago(one['ended'])}: the lease of {one['login']} ({one['source']})")
        for one in known["past"]
    ]
    told += [
        (one["last"], f"{one['login']} logged in {_ago(one['last'])} and got {one['need']}")
        for one in known["unleased"]
    ]
    if told:
        return [text for _, text in sorted(told, reverse=True)]
    if known["remembered"]:
        return [f"never logged in: no lease within {_rough(known['remembered'])}, as far as store.history goes"]
    return ["no POP login from this address in the window, or its lease has ended"]


def _barred(policy: RelayPolicy, address: bytes, known: Answer) -> list[str]:
    """Why the next login would not help."""
    failures = known["failures"]
    barred = policy.no_lease_reason(address, "", failures)
    told = [f"a login from this address makes no lease: {barred}"] if barred else []
    return told + ([f"{failures} failed logins within ten minutes"] if failures else [])


def _ago(moment: float) -> str:
    return f"{_rough(max(0.0, time.time() - moment))} ago"


def _rough(seconds: float) -> str:
    """In the largest unit that holds two of it, or one of minutes and less."""
    for length, unit in _UNITS:
        if seconds >= (2 * length if length > 60 else length):
            return f"{int(seconds // length)} {unit}"
    return "0 s"


def _left(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    words = [
        f"{hours} h" if hours else "",
        f"{minutes} min" if minutes else "",
        f"{rest} s" if rest and not hours else "",
    ]
    return " ".join([word for word in words if word]) or "0 s"
