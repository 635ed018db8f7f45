"""What Postfix, Exim and Sendmail all take for a local mailbox, or for a sender, popgate takes, too.

The same generated arguments of MAIL and RCPT are said to the three servers and to a session before nobody.  Where all
three say yes, a refusal of popgate's would lose mail that any appliance takes.  The reverse is not asked: popgate may
take what one of them refuses, since it writes the command afresh.
"""

from __future__ import annotations

import random
import smtplib
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from ..support.driver import Driver, new_session
from ..support.exim import Exim
from ..support.house import HOSTED
from ..support.postfix import PostfixDoors
from ..support.sendmail import Sendmail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..support.house import House

SEED, COUNT = 21, 120
A_SESSION = 8  # arguments in one session: servers slow down and hang up where many are refused
ATEXT = "abcxyzABC019!#$&'*+-/=?^_`{|}~"
ROUTING = set('%!@:;,()<>[]\\"|/')  # what G16 has reasons for
WORDS = ["user", "try..this", ".user", "user.", "u.s.e.r", "bounces+1234-abcd=example.com", "SRS0=AbCd=XY=f.test=user"]
FORMS = ["<%s>", " <%s>", "  <%s>", "\t<%s>", "<%s> ", "<%s>\t", "< %s>", "<%s >", "< %s >", "<<%s>>", "%s"]
KEYWORDS = ["%s:", "%s :", "%s: ", " %s:", "%s\t:"]


def local_part(chance: random.Random) -> str:
    if chance.random() < 0.5:
        word = chance.choice(WORDS)
        return word + "0123456789" * chance.choice((0, 0, 6, 12, 20)) if chance.random() < 0.4 else word
    letters = [*(set(ATEXT) - ROUTING), "."]
    return "".join(chance.choice(sorted(letters)) for _ in range(chance.randrange(1, 30)))


def arguments(word: str, domain: str, seed: int) -> list[str]:
    """Arguments of MAIL or RCPT, each with its keyword."""
    chance = random.Random(seed)
    made = []
    for number in range(COUNT):
        form = FORMS[number % len(FORMS)]
        keyword = chance.choice(KEYWORDS) if chance.random() < 0.4 else "%s:"
        made.append(keyword % word + form % f"{local_part(chance)}@{domain}")
    return made


@pytest.fixture(scope="module")
def houses() -> Iterator[list[House]]:
    doors = PostfixDoors()
    others: list[House] = []
    try:
        others.append(Exim())
        others.append(Sendmail())
        yield [doors.doors[0], *others]
    finally:
        for house in (*others, doors):
            house.close()


def taken(house: House, verb: str, said: list[str]) -> set[str]:
    """Those that the server says yes to."""
    found = set()
    for at in range(0, len(said), A_SESSION):
        with smtplib.SMTP(*house.address, timeout=60) as server:
            server.ehlo("client.test")
            for argument in said[at : at + A_SESSION]:
                with suppress(smtplib.SMTPServerDisconnected):
                    if verb == "RCPT":
                        server.docmd("MAIL FROM:<a@s.test>")
                    if server.docmd(f"{verb} {argument}")[0] == 250:
                        found.add(argument)
                    server.docmd("RSET")
    return found


def popgate_takes(verb: str, argument: str) -> bool:
    """Whether it goes on to the upstream, without a question to the gate."""
    driver = Driver(new_session("smtp", [f"local={HOSTED}"]))
    driver.upstream(b"220 hi\r\n")
    driver.client(b"EHLO client.test\r\n")
    driver.upstream(b"250 hi\r\n")
    if verb == "RCPT":
        driver.client(b"MAIL FROM:<a@s.test>\r\n")
        driver.upstream(b"250 ok\r\n")
    driver.to_upstream = b""
    driver.client(f"{verb} {argument}\r\n".encode())
    return driver.to_upstream.startswith(verb.encode())


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("verb", "word", "domain"), [("RCPT", "TO", HOSTED), ("MAIL", "FROM", "sender.test")])
def test_S2_G16_what_every_server_takes_popgate_takes(houses: list[House], verb: str, word: str, domain: str) -> None:
    said = arguments(word, domain, SEED)
    by_server = [taken(house, verb, said) for house in houses]
    by_all = set.intersection(*by_server)
    assert len(by_all) > COUNT / 10, f"the servers agree: {[len(one) for one in by_server]}"
    assert sorted(argument for argument in by_all if not popgate_takes(verb, argument)) == []
