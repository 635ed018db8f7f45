"""The fixed replies of the POP3 session.  Peers get these and nothing else of ours; facts go to the log.

Response codes by RFC 2449 8 and RFC 3206.
"""

from __future__ import annotations

from typing import Final

UNAVAILABLE: Final = b"-ERR [SYS/TEMP] The mail server is not available, try again later\r\n"
LOST: Final = b"-ERR [SYS/TEMP] The connection to the mail server was lost\r\n"
UPSTREAM_PROTOCOL: Final = b"-ERR [SYS/TEMP] The mail server does not follow the protocol\r\n"
DRAINING: Final = b"-ERR [SYS/TEMP] Service is closing, try again later\r\n"
KICKED: Final = b"-ERR [SYS/TEMP] The administrator has ended this session\r\n"
PROBES_ONLY: Final = (
    b"-ERR [SYS/PERM] No client's address came with this connection: only health checks are answered\r\n"
)
TIMEOUT: Final = b"-ERR Waited too long\r\n"
UNKNOWN: Final = b"-ERR Unknown command\r\n"
BARE_LF: Final = b"-ERR Lines end in CRLF, not in LF\r\n"
BAD_OCTETS: Final = b"-ERR A control octet in a command\r\n"
LINE_TOO_LONG: Final = b"-ERR Line too long\r\n"
SYNTAX: Final = b"-ERR Bad arguments\r\n"
USER_FIRST: Final = b"-ERR USER comes first\r\n"
TLS_REQUIRED: Final = b"-ERR Must issue STLS first\r\n"
TLS_READY: Final = b"+OK Begin TLS\r\n"
TLS_NOT_OFFERED: Final = b"-ERR TLS is not offered\r\n"
TLS_ACTIVE: Final = b"-ERR TLS is active already\r\n"
BAD_MECHANISM: Final = b"-ERR Unsupported authentication mechanism\r\n"
TOO_MANY_ERRORS: Final = b"-ERR Too many bad commands\r\n"
TOO_MANY_LOGINS: Final = b"-ERR [AUTH] Too many failed logins\r\n"
