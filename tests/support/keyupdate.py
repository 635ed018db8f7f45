"""A TLS 1.3 client that can change its keys as often as it likes, which Python's ssl offers no way to do.

ssl makes the handshake; from then on records are made here, with the secret that ssl wrote down for debuggers (the NSS
key log).  RFC 8446 4.6.3 KeyUpdate, 5.2 records, 7.1 HKDF-Expand-Label, 7.2 next secret.

`Sender` only makes octets; `Updater` is one on a socket, which does not read what the server says: `over` waits for the
end of it.
"""

from __future__ import annotations

import contextlib
import hmac
import re
import ssl
import struct
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .attack import careless, connected
from .folder import Folder

CIPHER = "TLS_AES_256_GCM_SHA384"  # the first of OpenSSL's own list, and the only one that is known here
_SECRET = re.compile(r"^CLIENT_TRAFFIC_SECRET_0 [0-9a-f]+ ([0-9a-f]+)$", re.MULTILINE)
_HANDSHAKE, _TEXT = b"\x16", b"\x17"  # content types
_KEY_UPDATE = b"\x18\x00\x00\x01\x01"  # with update_requested: the server is to change its keys as well
_HASH, _SECRET_OCTETS, _KEY_OCTETS, _IV_OCTETS = "sha384", 48, 32, 12


def modern(log: Path) -> ssl.SSLContext:
    """A client's context for TLS 1.3, which writes its secrets into `log`."""
    context = careless()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.keylog_filename = str(log)
    return context


class Sender:
    """What a client sends behind its handshake."""

    def __init__(self, log: Path) -> None:
        """`log`: the key log of that handshake."""
        found = _SECRET.search(log.read_text())
        assert found is not None
        self._secret = bytes.fromhex(found[1])
        self._take_keys()

    def updates(self, count: int) -> bytes:
        """So many KeyUpdates, each under the keys that the one before it made."""
        records = []
        for _ in range(count):
            records.append(self._record(_KEY_UPDATE, _HANDSHAKE))
            self._secret = self._expanded(b"traffic upd", _SECRET_OCTETS)
            self._take_keys()
        return b"".join(records)

    def text(self, octets: bytes) -> bytes:
        return self._record(octets, _TEXT)

    def _take_keys(self) -> None:
        self._cipher = AESGCM(self._expanded(b"key", _KEY_OCTETS))
        self._iv = int.from_bytes(self._expanded(b"iv", _IV_OCTETS), "big")
        self._sent = 0

    def _expanded(self, label: bytes, octets: int) -> bytes:
        label = b"tls13 " + label
        info = struct.pack(">HB", octets, len(label)) + label + b"\0"
        return hmac.digest(self._secret, info + b"\1", _HASH)[:octets]

    def _record(self, octets: bytes, kind: bytes) -> bytes:
        inner = octets + kind
        header = b"\x17\x03\x03" + struct.pack(">H", len(inner) + 16)
        nonce = (self._iv ^ self._sent).to_bytes(_IV_OCTETS, "big")
        self._sent += 1
        return header + self._cipher.encrypt(nonce, inner, header)


class Updater:
    """A connection that has been greeted under TLS.  A context manager."""

    def __init__(self, address: tuple[str, int], number: int = 0) -> None:
        """`number`: which attacker it comes from (attack.py)."""
        self.socket = connected(address, number)
        with Folder("keys") as folder:
            log = Path(folder) / "log"
            self._shake(modern(log))
            self.sender = Sender(log)

    def __enter__(self) -> Updater:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def flood(self, octets: bytes) -> bool:
        """Send; return whether all of it went before the server had enough."""
        try:
            self.socket.sendall(octets)
        except ConnectionError:
            return False
        return True

    def over(self) -> bool:
        """Whether the server ends the connection before the socket's timeout."""
        with contextlib.suppress(ConnectionError):
            try:
                while self.socket.recv(65536):
                    pass
            except TimeoutError:
                return False
        return True

    def _shake(self, context: ssl.SSLContext) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing)
        greeting = b""
        while not greeting:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                greeting = tls.read()
            self.socket.sendall(outgoing.read())
            if not greeting:
                incoming.write(self.socket.recv(65536))
        cipher = tls.cipher()
        assert cipher is not None
        assert cipher[0] == CIPHER
