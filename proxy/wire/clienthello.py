"""The first message of TLS, read before OpenSSL reads it: which protocols and which host does the client ask for?

Why: the standard library's `ssl` goes on with a client whose ALPN names something else altogether (`http/1.1`), and
does not tell what was offered; a browser could so be turned against the mail server (ALPACA).  The offer stands in
the clear in the ClientHello, and the leg sees those octets first.

Promises: strict.  The octets begin with records of type handshake that hold a ClientHello from the first octet on, or
they are refused; so nothing in front of it can hide it from here while OpenSSL reads on, as it does over an empty
record.  At most LIMIT octets are wanted.  One exception: the hello in SSLv2's form, which has no extensions and so no
ALPN, and which the OpenSSL 0.9.8 of old printers sends; it is for OpenSSL to judge.

Not here: the verdict and the alert (net/tls/client_hello.py); anything that depends on the version or the ciphers.

RFC 8446 4.1.2 and 5.1 (the same layout since RFC 2246), RFC 6066 3 (server_name), RFC 7301 3.1 (ALPN); rule S11.
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import ProtocolError

LIMIT = 16384  # octets of the message; a hello with a post-quantum key share and a ticket has some 2,000
RECORDS = 16  # that it may be spread over; one is usual.  Bounds the work for a client that sends octet by octet

_HANDSHAKE = 22  # record type, RFC 8446 5.1
TLS_RECORD = bytes([_HANDSHAKE])  # how a client that speaks TLS begins; no command of a mail protocol does
_CLIENT_HELLO = 1  # handshake type, RFC 8446 4
_SERVER_NAME = 0  # extension types, RFC 8446 4.2
_ALPN = 16
_RECORD_HEADER = 5  # type, version (2), length (2)
_MESSAGE_HEADER = 4  # type, length (3)
_RANDOM = 2 + 32  # version and random, in front of the session id


class ClientHello(NamedTuple):
    """What the client asks for."""

    server_name: bytes | None  # the host name of SNI as sent; None: no SNI
    protocols: tuple[bytes, ...] | None  # ALPN names in the client's order; None: no ALPN


_IN_SSLV2_FORM = ClientHello(None, None)


def read(data: bytes | bytearray) -> ClientHello | None:
    """The ClientHello at the head of `data` (all octets received so far); None: it is not complete yet.

    Raises ProtocolError: this is not the beginning of TLS, or the message is malformed or too long.
    """
    if data and data[0] & 0x80:  # SSLv2's two-octet length; no TLS record type is that large
        return _IN_SSLV2_FORM
    message = _message(data)
    if message is None:
        return None
    try:
        return _parsed(message)
    except IndexError:
        raise ProtocolError("malformed ClientHello") from None


def _message(data: bytes | bytearray) -> bytes | None:
    """The body of the first handshake message, put together from its records; None: more is wanted."""
    message = bytearray()
    at = 0
    for _ in range(RECORDS):
        header = data[at : at + _RECORD_HEADER]
        # Octet by octet, so that a client that speaks something else is told at once and not waited for.
        if (header and header[0] != _HANDSHAKE) or (len(header) > 1 and header[1] != 3):
            raise ProtocolError("not a TLS ClientHello")
        if len(header) < _RECORD_HEADER:
            return None
        length = int.from_bytes(header[3:])
        if not 0 < length <= LIMIT:
            raise ProtocolError("bad length of a TLS record")
        at += _RECORD_HEADER
        message += data[at : at + length]
        if message and message[0] != _CLIENT_HELLO:
            raise ProtocolError("not a TLS ClientHello")
        if len(message) >= _MESSAGE_HEADER:
            wanted = _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER])
            if wanted > LIMIT:
                raise ProtocolError("ClientHello too long")
            if len(message) >= wanted:
                return bytes(message[_MESSAGE_HEADER:wanted])
        if len(data) < at + length:
            return None
        at += length
    raise ProtocolError("ClientHello in too many records")


def _parsed(hello: bytes) -> ClientHello:
    """IndexError: a length does not fit.  Offsets, not an object that reads: this is in the way of every handshake."""
    at = _RANDOM
    at += 1 + hello[at]  # session id
    at += 2 + int.from_bytes(hello[at : at + 2])  # cipher suites
    at += 1 + hello[at]  # compression methods
    if at == len(hello):  # TLS 1.0 knew no extensions
        return ClientHello(None, None)
    seen = set()
    server_name = protocols = None
    extensions = _only_vector(hello[at:])
    at, over = 0, len(extensions)
    while at < over:
        kind = extensions[at] << 8 | extensions[at + 1]
        end = at + 4 + (extensions[at + 2] << 8 | extensions[at + 3])
        if kind in seen:  # RFC 8446 4.2: at most one of a type; two could be read differently
            raise ProtocolError("an extension twice in the ClientHello")
        seen.add(kind)
        if kind == _SERVER_NAME:
            server_name = _server_name(_only_vector(extensions[at + 4 : end]))
        elif kind == _ALPN:
            protocols = _protocols(_only_vector(extensions[at + 4 : end]))
        at = end
    if at != over:
        raise IndexError
    return ClientHello(server_name, protocols)


def _only_vector(data: bytes) -> bytes:
    """What is behind two octets of length, if that is all there is."""
    if int.from_bytes(data[:2]) != len(data) - 2:
        raise IndexError
    return data[2:]


def _server_name(names: bytes) -> bytes:
    # host_name (0) is the only type there ever was, and a list holds one of a type
    if names[0] != 0:
        raise IndexError
    return _only_vector(names[1:])


def _protocols(names: bytes) -> tuple[bytes, ...]:
    found = []
    at = 0
    while at < len(names):
        end = at + 1 + names[at]
        found.append(names[at + 1 : end])
        at = end
    if at != len(names) or not found:
        raise IndexError
    return tuple(found)
