"""Gate and server agree where commands, recipients and messages end, however lax the server (DESIGN promise 1).

The gate stands before a server that takes anything for a line's end, an end of data, or an address, and refuses every
foreign recipient (tests/support/lax.py).  Whatever the client sends: no foreign recipient is accepted there, no message
boundary exists there that the gate did not see, and no verb gets there that moves the server out of the gate's sight.

A suite that does not fail against a careless proxy proves nothing: `Naive` is one, and the same checks must catch it.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, example, find, given, settings
from hypothesis import strategies as st

from proxy.session.events import RelayAsked
from proxy.session.smtp import SmtpSession

from ..support.driver import Driver, new_session
from ..support.lax import LOCAL, PERSONALITIES, LaxServer, Personality, is_foreign
from ..support.smtp import REFUSE

HEAD = b"EHLO c.test\r\n"
ENVELOPE = b"MAIL FROM:<a@s.test>\r\nRCPT TO:<user@local.test>\r\nDATA\r\n"
SMUGGLED = b"MAIL FROM:<e@s.test>\r\nRCPT TO:<v@far.test>\r\nDATA\r\nx\r\n.\r\n"

Script = list[bytes]
"""Packets of a client, which waits for the replies to each before it sends the next."""


def breach_of_gate(script: Script, how: Personality, mode: str = "normalize") -> str:
    """Play against the gate; return what went wrong, or nothing."""
    driver = Driver(new_session("smtp", [f"bare_newline={mode}", "local=" + ",".join(LOCAL), "max_errors=1000"]))
    assert isinstance(driver.session, SmtpSession)
    server = LaxServer(how)
    driver.upstream(b"220 lax\r\n")
    aborted = False
    for packet in script:
        driver.client(packet)
        while True:
            asked = [event for event in driver.events if isinstance(event, RelayAsked)]
            aborted = aborted or any(type(event).__name__ in ("Finished", "UpstreamAborted") for event in driver.events)
            driver.events.clear()
            sent, driver.to_upstream = driver.to_upstream, b""
            replies = server.feed(sent)
            if asked:
                driver.answer(REFUSE)
            if replies and not aborted:
                driver.upstream(replies)
            if not (asked or sent or replies):
                break
    if not aborted and server.messages != driver.session.messages:
        return f"{server.messages} messages there, {driver.session.messages} here"
    if server.messages > driver.session.messages + 1:
        return f"{server.messages} messages there, {driver.session.messages} here, and a farewell"
    return wrong(server)


def breach_of_naive(script: Script, how: Personality) -> str:
    """The same against a proxy that passes on what it has looked at."""
    naive, server = Naive(), LaxServer(how)
    for packet in script:
        server.feed(naive.client_bytes(packet))
    if server.messages > naive.messages:
        return f"{server.messages} messages there, {naive.messages} here"
    return wrong(server)


def wrong(server: LaxServer) -> str:
    if server.foreign:
        return f"foreign: {server.foreign!r}"
    return f"dangerous: {server.dangerous!r}" if server.dangerous else ""


class Naive:
    """How one would write it in an afternoon: look at each line, drop a RCPT that is not local, pass the rest on."""

    def __init__(self) -> None:
        self.messages = 0
        self._rest = b""
        self._in_message = False

    def client_bytes(self, data: bytes) -> bytes:
        out = b""
        self._rest += data
        while b"\r\n" in self._rest:
            line, _, self._rest = self._rest.partition(b"\r\n")
            if self._in_message:
                self._in_message = line != b"."
                self.messages += not self._in_message
            elif line.upper().startswith(b"RCPT"):
                address = re.search(rb"<([^>]*)>", line)
                domain = address[1].rpartition(b"@")[2] if address else b""
                if domain.decode("latin-1").lower() not in LOCAL:
                    continue
            elif line.upper().startswith(b"DATA"):
                self._in_message = True
            out += line + b"\r\n"
        return out


def confusions() -> list[tuple[str, Script]]:
    """Attacks by name: C1 to C9 on lines, C39 to C61 on addresses, A1 to A22 on ends of data."""
    lines = {
        "C1": b"RCPT TO:<a@local.test>\nRCPT TO:<b@far.test>\r\n",
        "C2": b"NOOP\rRCPT TO:<b@far.test>\r\n",
        "C4": b"RCPT TO:<b@far.test\x00@local.test>\r\n",
        "C5": b"RCPT TO:<a@local.test>\x00\nRCPT TO:<b@far.test>\r\n",
        "C7": b"NOOP\x0bRCPT TO:<b@far.test>\r\n",
        "C8": b"NOOP " + b"x" * 595 + b"RCPT TO:<b@far.test>\r\n",
        "C40": b"RCPT TO:<b@far.test<a@local.test>>\r\n",
        "C50": b"RCPT TO:<b%far.test@local.test>\r\n",
        "C52": b"RCPT TO:<far.test!b@local.test>\r\n",
        "C53": b"RCPT TO:<@far.test:b@local.test>\r\n",
        "C55": b'RCPT TO:<"b@far.test"@local.test>\r\n',
        "C57": b"RCPT TO:<b@far.test@local.test>\r\n",
        "C58": b"RCPT TO:<b\\@far.test@local.test>\r\n",
        "C43": b"RCPT TO:<a@local.test><b@far.test>\r\n",
        "C38": b'RCPT TO:<"|id"@local.test>\r\n',
        "C76": b"XCLIENT ADDR=10.0.0.1\r\n",
        "D1": b"BDAT 6 LAST\r\n",
        "B14": b"STARTTLS\r\n",
    }
    attacks = [(name, [HEAD, b"MAIL FROM:<a@s.test>\r\n", line]) for name, line in lines.items()]
    utf8 = '"a\u2028RCPT TO:<b@far.test>"@s.test'.encode()
    attacks.append(("C14", [HEAD, b"MAIL FROM:<a@s.test>\r\n", b"MAIL FROM:<%b> SMTPUTF8\r\n" % utf8]))
    ends = {
        "A1": b"\n.\n",
        "A2": b"\n.\r\n",
        "A3": b"\r\n.\n",
        "A5": b"\r.\r",
        "A6": b"\r.\n",
        "A7": b"\r.\r\n",
        "A8": b"\r\n.\r",
        "A9": b"\r\r\n.\r\r\n",
        "A10": b"\r\n.\r\r\n",
        "A12": b"\r\0\n.\r\n",
        "A16": b"\n\n.\n\n",
    }
    for name, end in ends.items():
        attacks.append((name, [HEAD, ENVELOPE, b"x" + end + SMUGGLED, b".\r\n"]))
    return attacks


ATTACKS = confusions()


@pytest.mark.parametrize("script", [script for _, script in ATTACKS], ids=[name for name, _ in ATTACKS])
def test_the_naive_proxy_is_caught(script: Script) -> None:
    """The positive control: each known attack works against it, with one personality at least."""
    assert any(breach_of_naive(script, how) for how in PERSONALITIES)


@pytest.mark.parametrize("mode", ["normalize", "reject"])
@pytest.mark.parametrize("how", PERSONALITIES, ids=lambda how: how.name)
@pytest.mark.parametrize("script", [script for _, script in ATTACKS], ids=[name for name, _ in ATTACKS])
def test_S1_S2_S3_S8_known_attacks_fail(script: Script, how: Personality, mode: str) -> None:
    for cut in (script, [octet.to_bytes(1, "big") for packet in script for octet in packet]):
        assert not breach_of_gate(cut, how, mode)


# Grammar-made sessions

texts = st.sampled_from(
    [
        *[
            "a",
            "user",
            "@",
            "local.test",
            "far.test",
            "local.test.",
            "LOCAL.test",
            "b\u00fcro.test",
            "<",
            ">",
            "%",
            "!",
        ],
        *[
            ":",
            ",",
            ";",
            "(",
            ")",
            '"',
            "\\",
            "[",
            "]",
            "[127.0.0.1]",
            " ",
            ".",
            "..",
            "\0",
            "\n",
            "\r",
            "\t",
            "\x0b",
            "\x7f",
        ],
        *[
            "\u0085",
            "\u2028",
            "\uff20",
            "\uff05",
            "\u3002",
            "|",
            "/",
            "=",
            "+",
            "{recipient}",
            "@far.test",
            "%far.test",
        ],
        *[
            "far.test!",
            "@local.test",
            "user@local.test",
            "v@far.test",
            "RCPT TO:<v@far.test>",
            " NOTIFY=NEVER",
            " SMTPUTF8",
        ],
    ]
)
addresses = st.lists(texts, max_size=8).map("".join).map(str.encode)
known_addresses = st.sampled_from([b"user@local.test", b"v@far.test", b"a@s.test", b"", "user@b\u00fcro.test".encode()])
line_ends = st.sampled_from([b"\r\n"] * 20 + [b"\n", b"\r", b"\r\r\n", b"\0\n", b"\0\r\n", b"\n\r", b"\x0b", b""])
commands = st.one_of(
    st.builds(lambda address, end: b"RCPT TO:<" + address + b">" + end, addresses | known_addresses, line_ends),
    st.builds(lambda address, end: b"RCPT TO:" + address + end, addresses, line_ends),
    st.builds(
        lambda address, more, end: b"MAIL FROM:<" + address + b">" + more + end,
        known_addresses | addresses,
        st.sampled_from([b"", b"", b" SMTPUTF8", b" SIZE=1", b" BODY=8BITMIME", b" ENVID=x+0D+0A"]),
        line_ends,
    ),
    st.builds(
        lambda verb, end: verb + end,
        st.sampled_from(
            [b"DATA", b"RSET", b"NOOP", b"QUIT", b"EHLO x", b"HELO x", b"VRFY a", b"AUTH PLAIN =", b"", b" NOOP"]
        )
        | st.sampled_from(
            [b"BDAT 5 LAST", b"XCLIENT ADDR=1.2.3.4", b"ETRN x", b"STARTTLS", b"GET / HTTP/1.1", b"NOOP " + b"x" * 700]
        ),
        line_ends,
    ),
)
newlines = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\r\0\n", b"\n\n", b".", b"..", b"x", b"\0", b"\r\n.\r\n"]
)
bodies = st.lists(newlines | st.just(SMUGGLED) | st.just(b"RCPT TO:<v@far.test>\r\n"), max_size=10).map(b"".join)
transactions = st.builds(lambda body: [ENVELOPE, body + b"\r\n.\r\n"], bodies)
sessions = st.lists(
    transactions | st.lists(commands, min_size=1, max_size=4).map(lambda group: [b"".join(group)]), max_size=6
).map(lambda groups: [HEAD, *[packet for group in groups for packet in group]])


@st.composite
def mutated(draw: st.DrawFn) -> Script:
    """A known attack with octets changed, dropped, doubled or put in, cut anew."""
    script = list(draw(st.sampled_from([script for _, script in ATTACKS])))
    for _ in range(draw(st.integers(0, 4))):
        number = draw(st.integers(1, len(script) - 1))
        packet = script[number]
        at = draw(st.integers(0, len(packet)))
        drop = draw(st.integers(0, 3))
        put = draw(
            st.sampled_from(
                [b"", b"\r", b"\n", b"\0", b".", b"\r\n", b"<", b">", b"@", b'"', b" ", b"\xff", packet[at : at + 4]]
            )
        )
        script[number] = packet[:at] + put + packet[at + drop :]
    return script


scripts = sessions | mutated()
personalities = st.sampled_from(PERSONALITIES)
thorough = settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(scripts, personalities, st.sampled_from(["normalize", "reject"]))
@example([HEAD, b"MAIL FROM:<> SMTPUTF8\r\nRCPT TO:<a\xef\xbc\xa0far.test>\r\n"], PERSONALITIES[0], "normalize")
@thorough
def test_S1_S2_S8_gate_and_lax_server_agree(script: Script, how: Personality, mode: str) -> None:
    assert not breach_of_gate(script, how, mode)


@pytest.mark.parametrize("strategy", [sessions, mutated()], ids=["made", "mutated"])
def test_the_property_catches_the_naive_proxy(strategy: st.SearchStrategy[Script]) -> None:
    """The second positive control: the generator itself finds breaches of a careless proxy."""
    found = find(
        st.tuples(strategy, personalities),
        lambda case: bool(breach_of_naive(*case)),
        settings=settings(max_examples=2000, deadline=None, database=None),
    )
    assert found


@pytest.mark.parametrize(
    ("argument", "foreign"),
    [
        (b"RCPT TO:<user@local.test>", False),
        (b"RCPT TO:<postmaster>", False),
        (b'RCPT TO:<"us er"@LOCAL.test.>', False),
        (b"RCPT TO:<user@local.test> ORCPT=rfc822;v@far.test", False),
        (b"RCPT TO:<v@far.test>", True),
        (b"RCPT TO:<a@local.test><b@far.test>", True),
        (b'RCPT TO:<"b@far.test"@local.test>', True),
        (b"RCPT TO:<b%far.test@local.test>", True),
        (b"RCPT TO:<far.test!b@local.test>", True),
        (b"RCPT TO:<@far.test:user@local.test>", True),
        (b"RCPT TO:<a@local.test(b@far.test)>", True),
        (b'RCPT TO:<"|id"@local.test>', True),
        (b"RCPT TO:</etc/x@local.test>", True),
    ],
)
def test_the_lax_reading_itself(argument: bytes, foreign: bool) -> None:
    assert is_foreign(argument) == foreign
