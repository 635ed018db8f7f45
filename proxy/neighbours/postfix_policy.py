"""popgate as a policy service of Postfix: a Postfix beside the appliance relays for those whom popgate lets relay.

`check_policy_service` in `smtpd_relay_restrictions`, before `reject_unauth_destination`: a client is judged as one that
sends to the outside here, by [gate].  Yes is `OK`; no is `DUNNO`, so that Postfix's own restrictions have the last
word; "can't tell" is `DEFER_IF_REJECT`, which changes nothing for Postfix's own domains (rule G7: never refused for
good).  `local_domains` count for nothing: which domains a Postfix receives mail for is its own knowledge.

Does not: hold an answer for patience, or charge budgets, since what became of a message is not told.  A request that
follows no grammar is not answered, as Postfix's documentation asks for: it hangs up and tries again later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ProtocolError
from ..gate.policy import FOREVER
from ..gate.verdict import Outcome, RelayAsked
from ..wire import postfix
from ..wire.address import packed
from .query_server import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..gate.policy import RelayPolicy
    from ..gate.verdict import Verdict
    from ..log import Log
    from .query_server import Peer

_ANSWERS = {
    Outcome.ALLOW: Answer(postfix.OK),
    Outcome.REFUSE: Answer(postfix.DUNNO),
    Outcome.DEFER: Answer(postfix.DEFER),
    Outcome.OVER_QUOTA: Answer(postfix.DEFER),
}


class PolicyService:
    """An QueryHandler (neighbours/query_server.py); who reaches its socket may ask."""

    name = "postfix"
    limit = postfix.MAX_REQUEST
    denial = overlong = marks = b""

    def __init__(self, policy: RelayPolicy, log: Log) -> None:
        self._policy, self._log = policy, log

    def welcomes(self, peer: Peer) -> bool:
        return True

    def answer(self, lines: Sequence[bytes], peer: Peer, then: Callable[[Answer], None]) -> None:
        try:
            attributes = postfix.parse(lines)
        except ProtocolError as error:
            if self._log.first_this_hour((self.name, str(error))):
                self._log.line("warning", self.name, "bad-request", ("why", str(error)))
            then(Answer(b"", last=True))
            return
        try:
            client = packed(attributes.get("client_address", ""))
        except ValueError:  # Postfix says "unknown" of a local submission
            then(_ANSWERS[Outcome.REFUSE])
            return
        question = RelayAsked(attributes.get("sender", ""), attributes.get("recipient", ""))

        def judged(verdict: Verdict, seconds: float) -> None:
            # What is allowed only because we watch (rule G12) is nothing that another server may rely on.
            outcome = Outcome.REFUSE if verdict.shadowed else verdict.outcome
            what = ("client", attributes["client_address"]), ("sender", question.sender)
            words = (*what, ("recipient", question.recipient), ("verdict", outcome.value), ("why", verdict.why))
            # Mail from the world is asked about, too.
            self._log.line("info" if outcome is Outcome.ALLOW else "debug", self.name, "judged", *words)
            then(_ANSWERS[outcome])

        if preauthorised := self._policy.preauthorised(client):
            judged(preauthorised, FOREVER)
        else:
            self._policy.judge(client, question, judged, waits=False)
