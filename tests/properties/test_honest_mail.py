"""Honest mail is not harmed: what correct clients send arrives byte for byte, and what is local is taken (promise 5).

The other side of test_nobody_gets_through.py: a gate that refused everything would pass there.
"""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ..support.game import SmtpGame
from ..support.lax import PERSONALITIES, STRICT, LaxServer

unhurried = settings(deadline=None, max_examples=500)
cuts = st.sampled_from([0, 1, 2, 3, 7, 100, 4096])


def delivered(messages: list[bytes], *, reject: bool, cut: int, serial: bool, pipelined: bool) -> SmtpGame:
    """A correct client sends these messages, to a recipient here; the game, with what arrived in `server.bodies`."""
    game = SmtpGame(STRICT, reject=reject, cut=cut, pipelining=not serial)
    game.server.bodies = []
    steps = [("C", b"EHLO c.test\r\n")]
    envelope = [b"MAIL FROM:<a@s.test>\r\n", b"RCPT TO:<user@local.test>\r\n", b"DATA\r\n"]
    for number, message in enumerate(messages):
        stuffed = (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
        steps += [("C", b"".join(envelope))] if pipelined else [("C", line) for line in envelope]
        steps.append(("C", stuffed + b"RSET\r\n" * (pipelined and number % 2)))
    steps.append(("C", b"QUIT\r\n"))
    assert not game.play(steps)
    return game


line_texts = st.one_of(
    st.sampled_from(
        [b"", b".", b"..", b". ", b".x", b"...", b"Subject: x", b"From me", b"\x0c", b"\t", b"-- ", b"x" * 998]
    ),
    st.text(max_size=30).map(lambda text: text.replace("\r", "").replace("\n", "").replace("\0", "").encode()),
    st.binary(max_size=40).map(lambda octets: base64.b64encode(octets)),
    st.binary(max_size=20).map(lambda octets: octets.translate(None, b"\r\n\0")),
)
texts = st.lists(line_texts, max_size=30).map(lambda lines: b"".join(line + b"\r\n" for line in lines))


@given(st.lists(texts, min_size=1, max_size=3), st.booleans(), cuts, st.booleans(), st.booleans())
@example(["VOC\u00ca.\r\n".encode(), b"\x0c.\x0c\r\n\x0b.\r\n", b""], False, 0, False, True)
@unhurried
def test_S8_messages_of_correct_clients_arrive_octet_for_octet(
    messages: list[bytes], reject: bool, cut: int, serial: bool, pipelined: bool
) -> None:
    game = delivered(messages, reject=reject, cut=cut, serial=serial, pipelined=pipelined)
    assert game.server.bodies == messages
    assert game.over
    assert game.ends == len(messages)


@pytest.mark.parametrize("reject", [False, True])
def test_S8_large_messages_arrive_octet_for_octet(reject: bool) -> None:
    chance = random.Random(1)
    words = [b"a", b"word", b".", b"\xe4\xb8\x8a", b" ", b"--", b"..", b"=\x8d\x8a", b"\x0c"]
    lines = [b"".join(chance.choices(words, k=chance.randrange(20))) + b"\r\n" for _ in range(20000)]
    encoded = base64.encodebytes(chance.randbytes(1 << 18)).replace(b"\n", b"\r\n")
    message = b"".join(lines) + encoded
    for cut in (0, 1000, 1449, 16384, 65536):
        game = delivered([message], reject=reject, cut=cut, serial=False, pipelined=True)
        assert game.server.bodies == [message]


# Recipients that are local

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
atoms = st.text(LETTERS + "#$&'*+-/=?^_`{|}~", min_size=1, max_size=12).filter(lambda atom: atom[0] not in "/|")
dot_strings = st.lists(atoms, min_size=1, max_size=4).map(".".join)
quoted = st.text(LETTERS + " .#$&'*+-/=?^_`{|}~", min_size=1, max_size=30).filter(
    lambda text: text.lstrip()[:1] not in ("/", "|")
)
utf8_atoms = st.text("\u00fc\u00df\u00e9\u4e2d\u0416\u05d0\u03b1", min_size=1, max_size=8)
spellings = st.sampled_from(["local.test", "LOCAL.test", "Local.Test", "local.test."])
forms = st.sampled_from(
    ["RCPT TO:<%s>", "rcpt to:<%s>", "RCPT TO: <%s>", "Rcpt To:<%s> NOTIFY=NEVER", "RCPT TO:<%s>  "]
)


def accepted(recipient: str, form: str = "RCPT TO:<%s>", utf8: bool = False) -> bytes | None:
    """Send one message there: the recipient as it went up, or None if it was not taken."""
    game = SmtpGame(STRICT)
    mail = b"MAIL FROM:<a@s.test>" + b" SMTPUTF8" * utf8 + b"\r\n"
    steps = [("C", b"EHLO c.test\r\n"), ("C", mail), ("C", (form % recipient).encode() + b"\r\n")]
    assert not game.play([*steps, ("C", b"DATA\r\n"), ("C", b"x\r\n.\r\n")])
    if game.server.messages != 1:
        return None
    return (
        next(line for line in game.server.lines if line.startswith(b"RCPT"))
        .removeprefix(b"RCPT TO:<")
        .partition(b">")[0]
    )


@given(dot_strings, spellings, forms)
@example("user", "local.test", "RCPT TO:<%s>")
@example("user+tag", "local.test", "RCPT TO:<%s>")
@example("SRS0=hash=tt=far.test=bob", "local.test", "RCPT TO:<%s>")
@example("bob=far.test", "local.test", "RCPT TO:<%s>")
@unhurried
def test_G16_every_dot_string_without_routing_is_taken_at_a_local_domain(local: str, domain: str, form: str) -> None:
    if len(local) <= 64:
        assert accepted(f"{local}@{domain}", form) == f"{local}@{domain.removesuffix('.')}".encode()


@given(quoted, spellings)
@example("us er", "local.test")
@example("user", "local.test")
@example(".", "local.test")
@example("a..b", "local.test")
@unhurried
def test_G16_every_quoted_local_part_without_routing_is_taken(content: str, domain: str) -> None:
    assert accepted(f'"{content}"@{domain}') is not None
    assert accepted("".join(['"', *["\\" + char for char in content], '"@', domain])) is not None or len(content) > 31


@given(
    st.lists(utf8_atoms | atoms, min_size=1, max_size=3).map(".".join),
    st.sampled_from(["local.test", "b\u00fcro.test"]),
)
@unhurried
def test_G16_utf8_is_taken_under_smtputf8(local: str, domain: str) -> None:
    if len(local.encode()) <= 64:
        assert accepted(f"{local}@{domain}", utf8=True) == f"{local}@{domain}".encode()
        if not f"{local}{domain}".isascii():
            assert accepted(f"{local}@{domain}") is None


# RFC 5321: 4.5.1, appendix D (its domains made ours), 4.5.3.1; RFC 3696 3's examples that hold no routing.
@pytest.mark.parametrize(
    "recipient",
    [
        *[
            "postmaster",
            "Postmaster",
            "PoStMaStEr",
            "postmaster@local.test",
            "user",
            "Jones@local.test",
            "Green@local.test",
        ],
        *[
            "Brown@local.test",
            "user+mailbox@local.test",
            "customer/department=shipping@local.test",
            "$A12345@local.test",
        ],
        *[
            "_somename@local.test",
            '"Fred Bloggs"@local.test',
            '"Joe.Blow"@local.test',
            "jsmith@LOCAL.TEST",
            "x" * 64 + "@local.test",
        ],
        *[
            '"' + "x" * 62 + '"@local.test',
            "user@xn--bro-hoa.test",
            "o'neil@local.test",
            "a-b_c@local.test",
            "1@local.test",
        ],
    ],
)
def test_G16_examples_of_the_rfcs(recipient: str) -> None:
    assert accepted(recipient)


def test_G16_the_longest_address() -> None:
    """64 + 1 + 255 octets (RFC 5321 4.5.3.1.1 and 2), at a domain that is configured so."""
    from proxy.session.smtp.session import SmtpSession, SmtpSettings
    from proxy.wire.esmtp import EhloEditor
    from proxy.wire.recipients import LocalDomains

    domain = ".".join(["d" * 63, "d" * 63, "d" * 63, "d" * 58, "test"])
    assert len(domain) == 255
    session = SmtpSession(SmtpSettings(LocalDomains([domain]), EhloEditor(True), ""), "192.0.2.7")
    session.upstream_bytes(b"220 hi\r\n")
    session.client_bytes(b"EHLO c.test\r\n")
    session.upstream_bytes(b"250 hi\r\n")
    session.output.take_to_upstream()
    session.client_bytes(b"MAIL FROM:<a@s.test>\r\n")
    session.upstream_bytes(b"250 ok\r\n")
    session.output.take_to_upstream()
    session.client_bytes(b"RCPT TO:<%b@%b>\r\n" % (b"x" * 64, domain.encode()))
    assert session.output.to_upstream == b"RCPT TO:<%b@%b>\r\n" % (b"x" * 64, domain.encode())
    assert not session.output.events


@pytest.mark.parametrize("how", PERSONALITIES, ids=lambda how: how.name)
def test_the_lax_servers_take_honest_mail_for_what_it_is(how: object) -> None:
    """A control of the controls: on correct octets all of them agree."""
    server = LaxServer(how)  # type: ignore[arg-type]
    server.bodies = []
    sent = b"EHLO x\r\nMAIL FROM:<a@s.test>\r\nRCPT TO:<user@local.test>\r\nDATA\r\nx\r\n..\r\ny\r\n.\r\nQUIT\r\n"
    server.feed(sent)
    assert server.bodies == [b"x\r\n.\r\ny\r\n"]
    assert [line[:4] for line in server.lines] == [b"EHLO", b"MAIL", b"RCPT", b"DATA", b"QUIT"]
