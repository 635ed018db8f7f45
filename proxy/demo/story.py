"""The story that `popgate demo` plays: refused, log in, accepted, the lease and its end; then it stays up to be tried
by hand.

Nothing is faked: the gate is the real program, its certificate is verified, `leases` and `why` are the real commands.
A step that goes another way ends the demo with exit code 1, what was seen and the gate's log.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import time
from pathlib import Path
from typing import TextIO

from ..errors import PopgateError
from .appliance import Appliance
from .screen import Screen, Unexpected
from .stage import NAME, Stage
from .talk import Talk

WINDOW = 20  # seconds that a login opens the gate in the story: enough to read, short enough to wait for its end
FRIEND = "friend@example.org"
ME = "alice@example.com"
_LETTER = b"Subject: hello from the road\r\n\r\nBest wishes from the hotel.\r\n"


def play(keep: bool, out: TextIO, window: int = WINDOW) -> int:
    """Plays the story to `out`; 0 if every step went as told, else 1.

    keep: stay up afterwards, until Ctrl-C.  window: seconds that the story's lease lives.
    """
    screen = Screen(out)
    try:
        with tempfile.TemporaryDirectory(prefix="popgate-demo-") as folder:
            return asyncio.run(_play(screen, Path(folder), keep, window))
    except (KeyboardInterrupt, asyncio.CancelledError):
        with contextlib.suppress(OSError):  # the terminal may be gone
            screen.tell("")
        return 0


async def _play(screen: Screen, folder: Path, keep: bool, window: int) -> int:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):  # the gate must not outlive the demo, however it ends
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    appliance = Appliance({"alice": "secret", "bob": "secret"})
    await appliance.start()
    stage: Stage | None = None
    try:
        stage = Stage(folder, appliance)
        await _story(screen, stage, appliance, window)
        if keep:
            await _stay(screen, stage)
    except (PopgateError, Unexpected, OSError, TimeoutError) as failure:
        screen.title("The demo failed")
        screen.tell(str(failure) or type(failure).__name__)
        for line in stage.log[-40:] if stage else []:
            screen.quietly(f"  gate: {line}")
        return 1
    finally:
        if stage is not None:
            await stage.stop()
        await appliance.close()
    return 0


async def _story(screen: Screen, stage: Stage, appliance: Appliance, window: int) -> None:
    screen.title("popgate: the demo")
    screen.tell("An old mail appliance: POP3 in the clear, and SMTP that relays for everybody.")
    screen.quietly(f"  appliance: pop3 {_shown(appliance.pop3)}, smtp {_shown(appliance.smtp)}")
    await stage.start(f"{window}s")
    screen.tell("In front of it the gate, with a certificate of its own. Clients see only the gate.")
    screen.quietly(f"  gate: pop3 {_shown(stage.ports['pop3'])}, smtp {_shown(stage.ports['smtp'])}")

    screen.title("1. A stranger tries to relay")
    smtp = await _to_the_recipient(screen, stage, "554")
    await _leave(smtp, "221")

    screen.title("2. Alice reads her mail, over TLS, which the appliance never knew")
    pop = await Talk.connect(screen, stage.ports["pop3"], "+OK")
    await pop.ask("STLS", "+OK")
    await pop.starttls(stage.trust, NAME)
    await pop.ask("USER alice", "+OK")
    await pop.ask("PASS secret", "+OK", shown="PASS ******")
    start = time.monotonic()
    await _leave(pop, "+OK")

    screen.title("3. The same address sends mail now")
    smtp = await _to_the_recipient(screen, stage, "250")
    await smtp.ask("DATA", "354")
    for line in _LETTER.decode().splitlines():
        screen.client(line)
    await smtp.ask(_LETTER.decode() + ".", "250", shown=".")
    if [message.octets for message in appliance.relayed] != [_LETTER]:
        raise Unexpected(f"the appliance got {appliance.relayed!r}")
    screen.tell("The appliance has the message, octet for octet.")

    screen.title("4. Why that is so, for the administrator")
    for arguments in (("leases", "list"), ("why", "127.0.0.1")):
        screen.quietly(f"  $ popgate {' '.join(arguments)}")
        screen.tell(_indented(await stage.run(*arguments)))

    screen.title("5. The lease ends at its second, in the middle of the SMTP session")
    await _count_down(screen, start + window)
    await smtp.ask(f"MAIL FROM:<{ME}>", "250")
    await smtp.ask(f"RCPT TO:<{FRIEND}>", "554")
    await smtp.ask("RSET", "250")
    await _leave(smtp, "221")
    screen.quietly("  $ popgate why 127.0.0.1")
    screen.tell(_indented(await stage.run("why", "127.0.0.1")))


async def _to_the_recipient(screen: Screen, stage: Stage, expected: str) -> Talk:
    """An SMTP session over TLS up to the reply to a foreign recipient, which must start with `expected`."""
    smtp = await Talk.connect(screen, stage.ports["smtp"], "220")
    await smtp.ask("EHLO laptop.example.net", "250")
    await smtp.ask("STARTTLS", "220")
    await smtp.starttls(stage.trust, NAME)
    await smtp.ask("EHLO laptop.example.net", "250")
    await smtp.ask(f"MAIL FROM:<{ME}>", "250")
    await smtp.ask(f"RCPT TO:<{FRIEND}>", expected)
    return smtp


async def _leave(talk: Talk, expected: str) -> None:
    await talk.ask("QUIT", expected)
    await talk.close()


async def _count_down(screen: Screen, end: float) -> None:
    """Shows the seconds left until `end` (time.monotonic) and comes back just after it."""
    while (left := end - time.monotonic()) > 0:
        screen.countdown(int(left) + 1)
        await asyncio.sleep(left % 1 or 1)
    screen.countdown(0)


async def _stay(screen: Screen, stage: Stage) -> None:
    """Starts the gate again with a window to play with, says what to try, and waits to be ended."""
    await stage.stop()
    await stage.start("30m")
    pop3, smtp = stage.ports["pop3"][1], stage.ports["smtp"][1]
    screen.title("Now you. The gate is up again, a login opens it for 30 minutes")
    screen.tell(f"  POP3 127.0.0.1:{pop3}   SMTP 127.0.0.1:{smtp}   users alice and bob, password secret\n")
    screen.tell("  Send: refused now, accepted once you have logged in:")
    screen.tell(f"    swaks --server 127.0.0.1 --port {smtp} --tls --from {ME} --to {FRIEND}")
    screen.tell("  Log in, then send again:")
    screen.tell(f"    curl -v --user alice:secret pop3://127.0.0.1:{pop3}/")
    screen.tell("  Speak by hand, over TLS (EHLO me, MAIL FROM:<...>, RCPT TO:<...>, quit):")
    screen.tell(f"    openssl s_client -connect 127.0.0.1:{smtp} -starttls smtp -crlf -quiet\n")
    screen.quietly(f"  $ {' '.join(stage.command('leases', 'list'))}")
    screen.tell("\n  Ctrl-C ends it.")
    await asyncio.Event().wait()


def _shown(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
