"""Our side of TLS with a client: it reads the ClientHello before OpenSSL does.

Promises: OpenSSL sees no octet of a client whose ALPN names another protocol than the listener's (rule S11; the alert
is `no_application_protocol`), whose first message is no ClientHello, or whose server name is not ASCII.  Any other is
switched to the certificate of the name that it asked for, in time for the first step.

Not here: the contexts and which name has which (net/tls/contexts.py), the parser (wire/clienthello.py).

RFC 8446 6.2 (alerts), RFC 6066 3 (server_name), RFC 7301 3.2 (ALPN).
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NoReturn

from ...errors import ProtocolError
from ...wire.clienthello import read as read_hello

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...wire.clienthello import ClientHello

# Alerts, RFC 8446 6.2
_UNEXPECTED_MESSAGE = 10
_UNRECOGNIZED_NAME = 112
_NO_APPLICATION_PROTOCOL = 120


class ClientSide(ssl.SSLObject):
    """An SSLObject whose first step is to judge what the client asks for.

    Contract: `do_handshake` is called until it returns, before anything is read or written.  After an SSLError the
    outgoing BIO holds the alert; send it and close.
    """

    def read_before(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        protocol: str,
        switch: Callable[[ssl.SSLObject, str], None],
    ) -> None:
        """Read what comes before OpenSSL does; an SSLObject can't be given this when it is made."""
        self._incoming = incoming
        self._outgoing = outgoing
        self._protocol = protocol.encode()
        """What ALPN must name, if there is any."""
        self._switch = switch
        """Called once, with this and the server name."""
        self._heard: bytes | None = b""
        """The ClientHello so far; None: it was accepted."""

    def do_handshake(self) -> None:
        """As SSLObject's; raises SSLError with `reason` set if the client's first message is refused."""
        if self._heard is not None:
            self._listen(self._heard)
        super().do_handshake()

    def _listen(self, heard: bytes) -> None:
        # What waits in the BIO is new.  All of it is taken: what stayed would reach OpenSSL with what was judged.
        data = self._incoming.read()
        self._heard = heard = heard + data if heard else data
        try:
            hello = read_hello(heard)
        except ProtocolError as error:
            self._refuse(_UNEXPECTED_MESSAGE, "UNEXPECTED_MESSAGE", str(error))
        if hello is not None:
            self._judge(hello)
            self._heard = None
        if data:
            self._incoming.write(data)

    def _judge(self, hello: ClientHello) -> None:
        if hello.protocols is not None and self._protocol not in hello.protocols:
            self._refuse(_NO_APPLICATION_PROTOCOL, "NO_APPLICATION_PROTOCOL", "ALPN names another protocol")
        name = hello.server_name or b""
        if not name.isascii():  # no host is called so: RFC 6066 3
            self._refuse(_UNRECOGNIZED_NAME, "UNRECOGNIZED_NAME", "SNI is not ASCII")
        self._switch(self, name.decode())

    def _refuse(self, alert: int, reason: str, text: str) -> NoReturn:
        # The octets are not put back: OpenSSL never sees them, and a second call ends here again.
        self._outgoing.write(bytes((21, 3, 3, 0, 2, 2, alert)))  # one record: alert, version, length; fatal
        error = ssl.SSLError(ssl.SSL_ERROR_SSL, text)
        error.reason = reason
        raise error
