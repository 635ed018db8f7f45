"""gate/verdict.py: a verdict in words."""

from __future__ import annotations

import pytest

from proxy.gate.verdict import Outcome, Reason, Verdict


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict(Outcome.ALLOW, Reason.LEASE, "anna"), "lease of anna"),
        (Verdict(Outcome.ALLOW, Reason.LEASE, "anna", unmatched=True), "lease of anna, sender does not match"),
        (Verdict(Outcome.ALLOW, Reason.LEASE, "{}{login}"), "lease of {}{login}"),
        (Verdict(Outcome.ALLOW, Reason.PEER, "udp:192.0.2.1:9876: anna"), "whoson udp:192.0.2.1:9876: anna"),
        (Verdict(Outcome.DEFER, Reason.PEER_DOWN, "no answer"), "whoson: no answer"),
        (Verdict(Outcome.DEFER, Reason.STORE_DOWN, "disk I/O error"), "store down: disk I/O error"),
        (Verdict(Outcome.REFUSE, Reason.NO_LEASE), "no lease"),
        (Verdict(Outcome.ALLOW, Reason.NO_LEASE, shadowed=True), "shadow: no lease"),
        (Verdict(Outcome.ALLOW, Reason.STORE_DOWN, "busy", shadowed=True), "shadow: store down: busy"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_N11_the_words_of_a_verdict(verdict: Verdict, words: str) -> None:
    assert verdict.why == words
