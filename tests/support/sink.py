"""A strict SMTP recorder: the far end of a private Postfix, where "arrives byte for byte" is judged.

Takes every sender and recipient, offers 8BITMIME (without it Postfix would encode 8-bit text) and records each
message as the octets between DATA and CRLF.CRLF with the doubled dots undone (RFC 5321 4.5.2), nothing else changed.
A line end that is not CRLF in a command fails the test.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from .legacy import Call, Legacy

WAIT = 60.0  # seconds for a message: 20 MB go through cleanup, the queue and back out


@dataclass(frozen=True, slots=True)
class Message:
    """One message as received: envelope and octets, the end-of-data line taken off."""

    sender: bytes
    recipients: tuple[bytes, ...]
    octets: bytes

    @property
    def body(self) -> bytes:
        """What follows the header: the header grows on the way (Received), the body must not change."""
        return self.octets.partition(b"\r\n\r\n")[2]


class Sink:
    """Listens on an address of its own; `address` is (host, port)."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.messages: list[Message] = []
        self._news = threading.Condition()
        self._server = Legacy(self._play, host=host)
        self.address = self._server.address

    def close(self) -> None:
        self._server.close()

    def take(self, recipient: str) -> Message:
        """The first message for `recipient`, waited for; each test uses recipients of its own."""
        wanted = recipient.encode()

        def seek() -> Message | None:
            return next((message for message in self.messages if wanted in message.recipients), None)

        with self._news:
            found = self._news.wait_for(seek, WAIT)
        assert found, f"nothing came for {recipient}; there is mail for {[m.recipients for m in self.messages]}"
        return found

    def has(self, recipient: str) -> bool:
        """Whether a message for `recipient` is here now."""
        return any(recipient.encode() in message.recipients for message in self.messages)

    async def _play(self, call: Call) -> None:
        sender = b""
        recipients: list[bytes] = []
        line = await call.ask(b"220 sink.example.net ESMTP\r\n")
        while line:
            assert line.endswith(b"\r\n"), line
            verb, _, rest = line[:-2].partition(b" ")
            path = rest[rest.find(b"<") + 1 : rest.rfind(b">")]
            match verb.upper():
                case b"EHLO":
                    answer = b"250-sink.example.net\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 0\r\n"
                case b"MAIL":
                    sender, recipients, answer = path, [], b"250 2.1.0 ok\r\n"
                case b"RCPT":
                    recipients.append(path)
                    answer = b"250 2.1.5 ok\r\n"
                case b"DATA":
                    await call.say(b"354 go on\r\n")
                    body = await self._body(call)
                    self._keep(Message(sender, tuple(recipients), body))
                    answer = b"250 2.0.0 recorded\r\n"
                case b"QUIT":
                    await call.say(b"221 2.0.0 bye\r\n")
                    return
                case _:
                    answer = b"250 2.0.0 ok\r\n"
            line = await call.ask(answer)

    async def _body(self, call: Call) -> bytes:
        lines = []
        while (line := await call.line()) != b".\r\n":
            if not line.endswith(b"\r\n"):
                raise ConnectionError(f"not a message: {line[-80:]!r}")
            lines.append(line[1:] if line.startswith(b".") else line)
        call.received.clear()  # 20 MB bodies are kept once, as messages
        return b"".join(lines)

    def _keep(self, message: Message) -> None:
        with self._news:
            self.messages.append(message)
            self._news.notify_all()
