"""Mail clients that we did not write, each able to fetch by POP3, to send by SMTP, or both.

A fetcher logs in as alice and reads what there is; a sender hands in a finished message, given with CRLF line ends.
Each returns a `Run`: whether the client was content, and all it said.  Clients are told to speak in the clear, since
old printers do; TLS is tried in tests/e2e/test_tls.py.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .needs import need

Address = tuple[str, int]
SENDER = "alice@example.com"
TIMEOUT = 90  # seconds; 20 MB through a client in Perl on a busy machine


@dataclass(frozen=True, slots=True)
class Run:
    """How a client's run went."""

    content: bool
    said: str


Fetch = Callable[[Address, Path], Run]  # (POP3 address, a folder to work in)
Send = Callable[[Address, Path, str, bytes], Run]  # (SMTP address, folder, recipient, message with CRLF)


def _run(argv: list[str], folder: Path, given: bytes = b"", good: tuple[int, ...] = (0,)) -> Run:
    done = subprocess.run(
        argv,
        input=given,
        cwd=folder,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "FETCHMAILHOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
        check=False,
    )
    return Run(done.returncode in good, done.stdout.decode(errors="backslashreplace"))


def _unix(message: bytes) -> bytes:
    """For clients that want the line ends of Unix and write CRLF themselves."""
    return message.replace(b"\r\n", b"\n")


# --- fetchers


def curl_plain(address: Address, folder: Path) -> Run:
    return _curl(address, folder, "AUTH=PLAIN")


def curl_login(address: Address, folder: Path) -> Run:
    return _curl(address, folder, "AUTH=LOGIN")


def curl_apop(address: Address, folder: Path) -> Run:
    return _curl(address, folder, "AUTH=+APOP")


def _curl(address: Address, folder: Path, login: str) -> Run:
    (curl,) = need("curl")
    url = f"pop3://{address[0]}:{address[1]}/"
    return _run([curl, "-sv", "--user", "alice:secret", "--login-options", login, url], folder)


def curl_retrieve(address: Address, folder: Path, login: str, number: int, password: str = "secret") -> Run:
    """Fetches message `number` into the file "fetched"."""
    (curl,) = need("curl")
    url = f"pop3://{address[0]}:{address[1]}/{number}"
    return _run([curl, "-sv", "--user", f"{login}:{password}", url, "--output", "fetched"], folder)


def mpop(address: Address, folder: Path) -> Run:
    """By USER and PASS, and pipelined after the login."""
    return _mpop(address, folder, "user")


def mpop_cram_md5(address: Address, folder: Path) -> Run:
    return _mpop(address, folder, "cram-md5")


def _mpop(address: Address, folder: Path, auth: str) -> Run:
    (program,) = need("mpop")
    options = [f"--host={address[0]}", f"--port={address[1]}", "--user=alice", "--passwordeval=echo secret"]
    options += ["--tls=off", f"--auth={auth}", f"--delivery=mbox,{folder}/mbox", f"--uidls-file={folder}/uidls"]
    return _run([program, *options, "--keep=on", "--debug"], folder)


def fetchmail(address: Address, folder: Path) -> Run:
    (program,) = need("fetchmail")
    rc = folder / "fetchmailrc"
    rc.write_text(
        f"poll {address[0]} protocol pop3 service {address[1]} auth password\n"
        f"  user alice password secret sslproto '' keep mda 'cat >>{folder}/fetched'\n"
    )
    rc.chmod(0o600)
    argv = [program, "-v", "-f", str(rc), "--nodetach", "--nosyslog", "--pidfile", f"{folder}/pid"]
    return _run([*argv, "--idfile", f"{folder}/ids"], folder, good=(0, 1))  # 1: no mail there


def snail_fetch(address: Address, folder: Path) -> Run:
    (program,) = need("s-nail")
    url = f"pop3://alice:secret@{address[0]}:{address[1]}"
    return _run([program, "-n", "-v", "-S", "v15-compat=y", "-H", "-f", url], folder)


_PERL_FETCH = """
use Net::POP3;
my $pop = Net::POP3->new($ARGV[0], Port => $ARGV[1], Debug => 1) or die "no connection";
defined $pop->login('alice', 'secret') or die "no login";
$pop->list; $pop->quit;
"""


def perl_fetch(address: Address, folder: Path) -> Run:
    (perl,) = need("perl")
    return _run([perl, "-e", _PERL_FETCH, address[0], str(address[1])], folder)


_PYTHON_FETCH = """
import poplib, sys
pop = poplib.POP3(sys.argv[1], int(sys.argv[2]))
pop.set_debuglevel(1); pop.user('alice'); pop.pass_('secret'); pop.list(); pop.quit()
"""


def python_fetch(address: Address, folder: Path) -> Run:
    return _run([sys.executable, "-c", _PYTHON_FETCH, address[0], str(address[1])], folder)


# --- senders


def curl_send(address: Address, folder: Path, recipient: str, message: bytes) -> Run:
    (curl,) = need("curl")
    file = folder / "message"
    file.write_bytes(message)
    url = f"smtp://{address[0]}:{address[1]}/client.example.net"
    return _run([curl, "-sv", url, "--mail-from", SENDER, "--mail-rcpt", recipient, "--upload-file", str(file)], folder)


def swaks(address: Address, folder: Path, recipient: str, message: bytes) -> Run:
    (program,) = need("swaks")
    file = folder / "message"
    file.write_bytes(_unix(message).removesuffix(b"\n"))  # it adds the last line end itself
    argv = [program, "--server", address[0], "--port", str(address[1]), "--helo", "client.example.net"]
    return _run([*argv, "--from", SENDER, "--to", recipient, "--data", f"@{file}"], folder)


def msmtp(address: Address, folder: Path, recipient: str, message: bytes) -> Run:
    (program,) = need("msmtp")
    argv = [program, f"--host={address[0]}", f"--port={address[1]}", f"--from={SENDER}", "--tls=off", "--auth=off"]
    return _run([*argv, "--domain=client.example.net", "--debug", recipient], folder, _unix(message))


def snail_send(address: Address, folder: Path, recipient: str, message: bytes) -> Run:
    """Makes a message of its own around the body: what arrives is equal only once it is decoded."""
    (program,) = need("s-nail")
    body = _unix(message).partition(b"\n\n")[2]
    options = ["v15-compat=y", f"mta=smtp://{address[0]}:{address[1]}", "smtp-auth=none", "sendwait"]
    options += [f"from={SENDER}", "hostname=client.example.net", "ttycharset=iso-8859-1", "sendcharsets=iso-8859-1"]
    argv = [program, "-n", "-v", *(word for option in options for word in ("-S", option)), "-s", "subject"]
    return _run([*argv, recipient], folder, body)


_PERL_SEND = """
use Net::SMTP;
my $smtp = Net::SMTP->new($ARGV[0], Port => $ARGV[1], Hello => 'client.example.net', Debug => 0, Timeout => 60) or die;
$smtp->mail($ARGV[2]) or die $smtp->code . ' ' . $smtp->message;
$smtp->to($ARGV[3]) or die $smtp->code . ' ' . $smtp->message;
binmode STDIN; local $/; my $message = <STDIN>;
$smtp->data or die; $smtp->datasend($message) or die; $smtp->dataend or die $smtp->message; $smtp->quit;
"""


def perl_send(address: Address, folder: Path, recipient: str, message: bytes) -> Run:
    (perl,) = need("perl")
    return _run([perl, "-e", _PERL_SEND, address[0], str(address[1]), SENDER, recipient], folder, _unix(message))


_PYTHON_SEND = """
import smtplib, sys
with smtplib.SMTP(sys.argv[1], int(sys.argv[2]), local_hostname='client.example.net') as smtp:
    smtp.sendmail(sys.argv[3], [sys.argv[4]], sys.stdin.buffer.read())
"""


def python_send(address: Address, folder: Path, recipient: str, message: bytes) -> Run:
    argv = [sys.executable, "-c", _PYTHON_SEND, address[0], str(address[1]), SENDER, recipient]
    return _run(argv, folder, message)  # bytes go out as they are, but for the dots


FETCHERS: tuple[Fetch, ...] = (
    curl_plain,
    curl_login,
    curl_apop,
    mpop,
    mpop_cram_md5,
    fetchmail,
    snail_fetch,
    perl_fetch,
    python_fetch,
)
SENDERS: tuple[Send, ...] = (curl_send, swaks, msmtp, perl_send, python_send)  # all but s-nail: octet for octet
