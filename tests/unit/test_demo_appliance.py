"""The sample appliance, by the standard library's own clients: poplib and smtplib."""

from __future__ import annotations

import poplib
import smtplib
import socket
from typing import TYPE_CHECKING

import pytest

from ..support.dialogue import Dialogue, send

if TYPE_CHECKING:
    from ..support.appliance import SampleAppliance

BODY = b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nend\r\n"


def _pop(appliance: SampleAppliance) -> poplib.POP3:
    return poplib.POP3(*appliance.appliance.pop3)


def test_mail_for_its_users_can_be_fetched_octet_for_octet(appliance: SampleAppliance) -> None:
    assert send(appliance.appliance.smtp, [b"bob@example.com"], body=BODY).startswith(b"250 ")
    pop = _pop(appliance)
    pop.user("bob")
    pop.pass_("secret")
    assert pop.stat() == (1, len(BODY))
    assert b"\r\n".join(pop.retr(1)[1]) + b"\r\n" == BODY
    assert len(pop.uidl()[1]) == len(pop.list()[1]) == 1
    assert pop.top(1, 1)[1] == [b"Subject: dots", b"", b"."]
    pop.dele(1)
    pop.quit()
    assert appliance.appliance.mailboxes["bob"] == []
    assert appliance.relayed == []


def test_it_relays_for_everybody(appliance: SampleAppliance) -> None:
    with smtplib.SMTP(*appliance.appliance.smtp) as smtp:
        smtp.sendmail("anyone@example.net", ["a@example.org", "bob@example.com", "c@example.org"], BODY)
    (message,) = appliance.relayed
    assert message.octets == BODY
    assert message.sender == b"anyone@example.net"
    assert appliance.appliance.mailboxes["bob"] == [BODY]


def test_apop_by_its_stamp(appliance: SampleAppliance) -> None:
    pop = _pop(appliance)
    assert pop.apop("alice", "secret").startswith(b"+OK")
    pop.quit()


@pytest.mark.parametrize(("login", "password"), [("alice", "wrong"), ("nobody", "secret"), ("", "")])
def test_a_wrong_password_is_refused(appliance: SampleAppliance, login: str, password: str) -> None:
    pop = _pop(appliance)
    pop.user(login)
    with pytest.raises(poplib.error_proto, match="AUTH"):
        pop.pass_(password)
    with pytest.raises(poplib.error_proto, match="log in first"):
        pop.stat()
    pop.close()


def test_half_a_message_is_no_message(appliance: SampleAppliance) -> None:
    with Dialogue(appliance.appliance.smtp) as smtp:
        smtp.expect(b"220")
        smtp.ask(b"HELO x", b"250")
        smtp.ask(b"MAIL FROM:<a@example.com>", b"250")
        smtp.ask(b"RCPT TO:<b@example.org>", b"250")
        smtp.ask(b"DATA", b"354")
        smtp.say(b"half\r\na messa")
        smtp.socket.shutdown(socket.SHUT_WR)
        assert smtp.rest() == b""
    assert appliance.relayed == []


def test_commands_out_of_order(appliance: SampleAppliance) -> None:
    with Dialogue(appliance.appliance.smtp) as smtp:
        smtp.expect(b"220")
        smtp.ask(b"RCPT TO:<b@example.org>", b"503")
        smtp.ask(b"DATA", b"503")
        smtp.ask(b"FOO", b"500")
        smtp.ask(b"QUIT", b"221")
        assert smtp.closed()
