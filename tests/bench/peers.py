"""The proxies that are measured: how each is configured for the benchmark, and started.

Each passes the same listeners (SMTP and POP3, in the clear and under TLS) to the same upstream, with one thread or
process, and logs what it logs by default: HAProxy and nginx nothing, popgate every session.  popgate runs with its
defaults but for the limits on connections: the whole load comes from one machine.

nginx's mail module wants to be told where to pass each session, by HTTP; what tells it is another nginx, beside the
load.

Perdition is POP3's alone, and a process a session.  Rejected: Dovecot's proxy, which wants mailboxes, users and a dozen
services of its own before it passes a session on.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..support.folder import Folder
from ..support.ports import free, server_host
from ..support.process import Process
from ..support.toml import dumps
from . import BenchError, machine
from .workloads import LOCAL, Counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..support.toml import Value
    from .programs import Upstream
    from .workloads import Workload

LISTENERS = ("smtp", "smtps", "pop3", "pop3s")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # Debian keeps servers out of a user's path
_MODULES = (Path("/usr/lib/nginx/modules"), Path("/usr/lib64/nginx/modules"))
_START = 20.0  # seconds until a proxy must accept connections, on a busy machine
_BACKLOG = 4096


@dataclass(frozen=True)
class Site:
    """Where one proxy runs."""

    folder: Path
    host: str
    ports: Mapping[str, int]
    """By listener."""
    upstream: Upstream
    certificate: Path
    """Chain and key in one file."""

    def behind(self, listener: str) -> str:
        return f"{self.upstream.host}:{self.upstream.port(listener)}"


@dataclass(frozen=True)
class Running:
    """A proxy that serves."""

    host: str
    ports: Mapping[str, int]
    pid: int
    """Its process; 0 for none at all."""

    def cpu_seconds(self) -> float:
        return machine.cpu_seconds(self.pid) if self.pid else 0.0


class Peer:
    """One kind of proxy."""

    name = ""
    """As the command line has it."""

    def title(self) -> str:
        return self.name

    def version(self) -> str:
        """What to say of it beside the figures; "" where it is not on this machine."""
        return ""

    def serves(self, workload: Workload) -> bool:
        return not workload.alone

    def command(self, site: Site, workload: Workload) -> list[str]:
        """Write its configuration; what starts it in the foreground."""
        raise NotImplementedError

    def companion(self, site: Site) -> list[str]:
        """Another program that it needs, to be run beside the load."""
        return []

    @contextlib.contextmanager
    def run(self, workload: Workload, upstream: Upstream, certificate: Path) -> Iterator[Running]:
        """Started, accepting connections, and ended."""
        host = server_host()
        proxy_core, load_core = machine.cores()
        # Latency without the time that another core takes to wake up.
        core = load_core if workload.counted is Counted.TRIPS else proxy_core
        with Folder("bench") as name, contextlib.ExitStack() as stack:
            ports = {listener: free(host) for listener in (*LISTENERS, "companion")}
            site = Site(Path(name), host, ports, upstream, certificate)
            if companion := self.companion(site):
                beside = stack.enter_context(Process(companion, cwd=site.folder))
                _await(beside, host, ports["companion"])
            with machine.on_core(core):
                process = stack.enter_context(Process(self.command(site, workload), cwd=site.folder))
            _await(process, host, ports[workload.listener])
            yield Running(host, ports, process.pid)


def _await(process: Process, host: str, port: int) -> None:
    """Back when it accepts; these programs don't say when they are ready, so they are asked."""
    give_up = time.monotonic() + _START
    while process.running and time.monotonic() < give_up:
        with contextlib.suppress(OSError), socket.create_connection((host, port), _START):
            return
        time.sleep(0.02)
    raise BenchError(f"{process.argv[0]} does not start:\n{process.output}")


class Direct(Peer):
    """No proxy at all: what the load and the upstream can do."""

    name = "direct"

    def version(self) -> str:
        return "no proxy"

    def serves(self, workload: Workload) -> bool:
        return not (workload.tls or workload.alone) and workload.counted is not Counted.MEMORY

    @contextlib.contextmanager
    def run(self, workload: Workload, upstream: Upstream, certificate: Path) -> Iterator[Running]:
        yield Running(upstream.host, {"smtp": upstream.smtp, "pop3": upstream.pop3}, 0)


class HAProxy(Peer):
    """In tcp mode: it looks at nothing."""

    name = "haproxy"

    def title(self) -> str:
        return "HAProxy"

    def version(self) -> str:
        words = _output("haproxy", "-v").split()
        return f"HAProxy {words[2].partition('-')[0]}" if len(words) > 2 else ""

    def command(self, site: Site, workload: Workload) -> list[str]:
        most = machine.most_sessions()
        lines = ["global", " nbthread 1", f" maxconn {most}", "defaults", " mode tcp", f" maxconn {most}"]
        lines += [" timeout connect 5s", " timeout client 10m", " timeout server 10m"]
        for listener in LISTENERS:
            tls = f" ssl crt {site.certificate}" if listener.endswith("s") else ""
            lines += [f"listen {listener}", f" bind {site.host}:{site.ports[listener]}{tls} backlog {_BACKLOG}"]
            lines += [f" server upstream {site.behind(listener)}"]
        path = site.folder / "haproxy.cfg"
        path.write_text("\n".join(lines) + "\n")
        return [_path("haproxy"), "-db", "-q", "-f", str(path)]


class _Nginx(Peer):
    """One worker; `name` is "nginx-" and the module."""

    def title(self) -> str:
        return self.name.replace("-", " ")

    def version(self) -> str:
        said = _output("nginx", "-v").partition("nginx/")[2].split()
        return f"nginx {said[0]}" if said and self._module() else ""

    def _module(self) -> Path | None:
        places = [folder / f"ngx_{self.name.removeprefix('nginx-')}_module.so" for folder in _MODULES]
        return next((place for place in places if place.exists()), None)

    def _written(self, site: Site, body: str, name: str = "nginx") -> list[str]:
        files = 2 * machine.most_sessions() + 100
        text = f"load_module {self._module()};\n" if name == "nginx" else ""
        text += f"daemon off;\nworker_processes 1;\nworker_rlimit_nofile {files};\npid {site.folder}/{name}.pid;\n"
        text += f"error_log stderr crit;\nevents {{ worker_connections {files}; }}\n{body}\n"
        path = site.folder / f"{name}.conf"
        path.write_text(text)
        return [_path("nginx"), "-p", str(site.folder), "-e", "stderr", "-c", str(path)]

    def _server(self, site: Site, listener: str, more: str) -> str:
        tls = listener.endswith("s")
        text = f"listen {site.host}:{site.ports[listener]}{' ssl' if tls else ''} backlog={_BACKLOG}; {more}"
        if tls:
            text += f" ssl_certificate {site.certificate}; ssl_certificate_key {site.certificate};"
            text += " ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on;"
        return f"server {{ {text} }}\n"


class NginxStream(_Nginx):
    """Like HAProxy's tcp mode."""

    name = "nginx-stream"

    def command(self, site: Site, workload: Workload) -> list[str]:
        servers = [self._server(site, name, f"proxy_pass {site.behind(name)};") for name in LISTENERS]
        return self._written(site, f"stream {{ tcp_nodelay on; proxy_timeout 10m;\n{''.join(servers)}}}")


class NginxMail(_Nginx):
    """The peer that is nearest to popgate: it speaks SMTP and POP3, too, until it has passed the session on."""

    name = "nginx-mail"

    def command(self, site: Site, workload: Workload) -> list[str]:
        servers = []
        for name in LISTENERS:
            protocol = name[:4]
            more = f"protocol {protocol}; proxy on; xclient off;"
            more += f" auth_http {site.host}:{site.ports['companion']}/{protocol};"
            if protocol == "smtp":
                more += " smtp_auth none; smtp_capabilities PIPELINING 8BITMIME; smtp_client_buffer 16k;"
            servers.append(self._server(site, name, more))
        return self._written(site, f"mail {{ server_name proxy.example; timeout 10m;\n{''.join(servers)}}}")

    def companion(self, site: Site) -> list[str]:
        body = f"http {{ access_log off; server {{ listen {site.host}:{site.ports['companion']};\n"
        for protocol in ("smtp", "pop3"):
            body += f"location /{protocol} {{ add_header Auth-Status OK; add_header Auth-Server {site.upstream.host};"
            body += f' add_header Auth-Port {site.upstream.port(protocol)}; return 200 ""; }}\n'
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
            body += f"{kind}_temp_path {site.folder}/{kind};\n"  # else nginx wants folders that only root may make
        return self._written(site, body + "} }", "companion")


class Perdition(Peer):
    """What POP3 was proxied with twenty years ago: a process a session."""

    name = "perdition"

    def title(self) -> str:
        return "Perdition"

    def version(self) -> str:
        words = _output("perdition", "--help").split()
        return f"Perdition {words[2]}" if words[:2] == ["perdition", "version"] else ""

    def serves(self, workload: Workload) -> bool:
        """Not what takes a thousand processes."""
        return workload.listener == "pop3" and not workload.alone and workload.counted is not Counted.MEMORY

    def command(self, site: Site, workload: Workload) -> list[str]:
        place = ["-b", site.host, "-l", str(site.ports["pop3"])]
        behind = ["-s", site.upstream.host, "-p", str(site.upstream.pop3)]
        alone = ["--no_daemon", "-f", "/dev/null", "-M", "", "--pid_file", "", "--no_lookup", "--quiet"]
        return [_path("perdition"), "-P", "POP3", *alone, *place, *behind]


class Popgate(Peer):
    """This checkout, or another one."""

    def __init__(self, name: str = "popgate", python: str = sys.executable, store: str = "") -> None:
        """`python`: the interpreter of the checkout's own .venv; `store`: instead of the workload's."""
        self.name = name
        self._python = python
        self._store = store

    def serves(self, workload: Workload) -> bool:
        return True

    def version(self) -> str:
        return ", ".join(machine.own_versions()) if self._python == sys.executable else self.name

    def command(self, site: Site, workload: Workload) -> list[str]:
        folder = site.folder / "conf.d"
        folder.mkdir()
        most = machine.most_sessions()
        listeners: dict[str, Value] = {
            name: {
                "protocol": name[:4],
                "bind": [f"{site.host}:{site.ports[name]}"],
                "tls": "implicit" if name.endswith("s") else "off",
                "upstream": name[:4],
            }
            for name in LISTENERS
        }
        settings: dict[str, Value] = {
            "workers": workload.workers,
            "drain_timeout": "1s",
            "gate": {"local_domains": [LOCAL]},
            "store": {"url": self._store or workload.store},
            "listener": listeners,
            "upstream": {name: {"servers": [site.behind(name)]} for name in ("smtp", "pop3")},
            "tls": {"certificates": [str(site.certificate)]},
            "limits": {"connections": most, "connections_per_client": most},
            "log": {"file": str(site.folder / "popgate.log")},
        }
        (folder / "bench.toml").write_text(dumps(settings))
        return [self._python, "-m", "proxy", "run", "-c", str(folder)]


def _path(program: str) -> str:
    return shutil.which(program) or shutil.which(program, path=_PATH) or ""


def _output(program: str, option: str) -> str:
    """All it says; "" where it is not here."""
    if not _path(program):
        return ""
    done = subprocess.run([_path(program), option], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


PEERS: tuple[Peer, ...] = (Direct(), Popgate(), HAProxy(), NginxMail(), NginxStream(), Perdition())
