"""The fixed replies of the SMTP session.  Peers get these and nothing else of ours; facts go to the log.

Codes by RFC 5321 4.2, enhanced codes by RFC 3463.  Each fits RFC 5321's 512 octets.
"""

from __future__ import annotations

from typing import Final

from ...gate.verdict import Reason

UNAVAILABLE: Final = b"421 4.3.2 The mail server is not available, try again later\r\n"
LOST: Final = b"421 4.4.2 The connection to the mail server was lost\r\n"
MESSAGE_LOST: Final = b"451 4.4.2 The connection to the mail server was lost, send the message again\r\n"
UPSTREAM_PROTOCOL: Final = b"421 4.3.0 The mail server does not follow the protocol\r\n"
CLIENT_TIMEOUT: Final = b"421 4.4.2 Waited too long for a command\r\n"
UPSTREAM_TIMEOUT: Final = b"421 4.4.1 The mail server does not answer\r\n"
MESSAGE_TIMEOUT: Final = b"451 4.4.2 Waited too long for the message: it must end with <CRLF>.<CRLF>\r\n"
DRAINING: Final = b"421 4.3.2 Service is closing, try again later\r\n"
KICKED: Final = b"421 4.3.2 The administrator has ended this session\r\n"
SESSION_TIMEOUT: Final = b"421 4.4.2 This session has lasted too long, connect again\r\n"
PROBES_ONLY: Final = b"421 4.7.0 No client's address came with this connection: only health checks are answered\r\n"
TOO_MANY_ERRORS: Final = b"421 4.7.0 Too many errors\r\n"
TOO_MANY_REFUSALS: Final = b"421 4.7.0 Too many refused recipients\r\n"
SYNCHRONISATION: Final = b"554 5.5.0 SMTP protocol synchronization: sent more before reading the reply\r\n"

BAD_OCTETS: Final = b"500 5.5.2 A bare CR or NUL in a command\r\n"
BARE_LF: Final = b"500 5.5.2 Lines end in CRLF, not in LF\r\n"
LINE_TOO_LONG: Final = b"500 5.5.6 Line too long\r\n"
EMPTY_LINE: Final = b"500 5.5.2 An empty command\r\n"
UNKNOWN_COMMAND: Final = b"502 5.5.1 Command not implemented\r\n"
NO_ARGUMENT: Final = b"501 5.5.4 No argument is allowed\r\n"
SYNTAX_MAIL: Final = b"501 5.5.4 Syntax: MAIL FROM:<address>\r\n"
SYNTAX_RCPT: Final = b"501 5.5.4 Syntax: RCPT TO:<address>\r\n"
SYNTAX_AUTH: Final = b"501 5.5.4 Syntax: AUTH mechanism [initial-response]\r\n"
BAD_SENDER: Final = b"501 5.1.7 Bad sender address syntax\r\n"
BAD_RECIPIENT: Final = b"501 5.1.3 Bad recipient address syntax\r\n"
BAD_PARAMETER: Final = b"555 5.5.4 A parameter is not supported or is malformed\r\n"
NEEDS_SMTPUTF8: Final = b"553 5.6.7 An address with octets above 127 must be UTF-8, with SMTPUTF8\r\n"
EHLO_FIRST: Final = b"503 5.5.1 Send EHLO first\r\n"
NESTED_MAIL: Final = b"503 5.5.1 Sender was given already\r\n"
MAIL_FIRST: Final = b"503 5.5.1 MAIL comes first\r\n"
TOO_MANY_RECIPIENTS: Final = b"452 4.5.3 Too many recipients, send the rest in another message\r\n"
NO_RECIPIENTS: Final = b"554 5.5.1 No valid recipients\r\n"
BUDGET_SPENT: Final = b"452 4.7.1 You have sent as much as you may for now, try again later\r\n"
DEFERRED: Final = b"451 4.3.0 Can't tell now whether you may relay, try again later\r\n"
NOT_BESIDE_OTHERS: Final = b"451 4.7.1 Can't take this recipient beside the others now, send it again\r\n"
NOT_MOVED: Final = b"451 4.4.1 The mail server can't be reached anew, try again later\r\n"
BARE_NEWLINE: Final = b"550 5.5.2 The message has a bare CR or LF\r\n"

OK: Final = b"250 2.0.0 Ok\r\n"
BYE: Final = b"221 2.0.0 Bye\r\n"
VRFY: Final = b"252 2.5.2 Send the message and see\r\n"
HELP: Final = b"214 2.0.0 See RFC 5321\r\n"
TLS_REQUIRED: Final = b"530 5.7.0 Must issue a STARTTLS command first\r\n"
TLS_READY: Final = b"220 2.0.0 Ready to start TLS\r\n"
TLS_NOT_OFFERED: Final = b"502 5.5.1 TLS is not offered\r\n"
TLS_ACTIVE: Final = b"503 5.5.1 TLS is active already\r\n"
TLS_TOO_LATE: Final = b"503 5.5.1 STARTTLS is not allowed in a transaction or after AUTH\r\n"
AUTH_NOT_OFFERED: Final = b"502 5.5.1 AUTH is not offered\r\n"
AUTH_UNKNOWN: Final = b"504 5.5.4 Unrecognized authentication mechanism\r\n"
AUTH_NEEDS_TLS: Final = b"538 5.7.11 Encryption required for requested authentication mechanism\r\n"  # RFC 4954 6
AUTH_CANCELLED: Final = b"501 5.7.0 Authentication cancelled\r\n"
AUTH_USERNAME: Final = b"334 VXNlcm5hbWU6\r\n"
AUTH_PASSWORD: Final = b"334 UGFzc3dvcmQ6\r\n"
AUTH_EMPTY: Final = b"334 \r\n"
AUTH_GOOD: Final = b"235 2.7.0 Authentication successful\r\n"
AUTH_BAD: Final = b"535 5.7.8 Authentication credentials invalid\r\n"
AUTH_UNKNOWN_NOW: Final = b"454 4.7.0 Can't check the password now, try again later\r\n"
TOO_MANY_LOGINS: Final = b"421 4.7.0 Too many failed logins\r\n"
AUTH_TWICE: Final = b"503 5.5.1 Authenticated already, or in a transaction\r\n"


_OTHER_REFUSAL: Final = "554 5.7.1 <{recipient}>: Relay access denied: {why}"


def refusal(template: str, recipient: bytes, client: str, reason: Reason = Reason.NO_LEASE) -> bytes:
    """The refusal of one recipient; what is not printable ASCII in the address is shown as `?`.

    `template` says that there is no lease; any other reason has a text of our own.
    """
    shown = recipient.decode("ascii", "replace").replace("\ufffd", "?")[:256]
    text = template if reason is Reason.NO_LEASE else _OTHER_REFUSAL.replace("{why}", reason.value)
    text = text.replace("{client}", client).replace("{recipient}", shown)  # in this order: a recipient may have braces
    return text.encode("ascii", "replace")[:510] + b"\r\n"
