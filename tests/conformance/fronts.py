"""Proxies in front of a server: HAProxy and nginx as their distributions ship them, in their strict and their lax ways.

Each adds `X-Front`, a name of its own for each request that it hands on, in place of what the client sent under it.
Each keeps its connections to the back end and uses them for whoever comes next: what one client leaves behind on such a
connection, another one gets.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MARK: Final = "X-Front"

_DEBIAN_HIDES_IN: Final = "/usr/sbin"


def _haproxy(port: int, path: str, *options: str) -> str:
    return f"""
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
    timeout http-request 10s
    http-reuse always
{"".join(f"    {option}" + chr(10) for option in options)}
frontend front
    bind unix@{path}
    http-request set-header {MARK} %[uuid]
    default_backend back

backend back
    server back 127.0.0.1:{port} pool-purge-delay 60s
"""


def _haproxy_lax(port: int, path: str) -> str:
    return _haproxy(port, path, "option accept-invalid-http-request")


def _nginx(port: int, path: str, *options: str) -> str:
    folder = Path(path).parent
    temporary = "".join(
        f"    {kind}_temp_path {folder / kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
daemon off;
master_process off;
worker_processes 1;
pid {folder / "pid"};
error_log stderr crit;
events {{ worker_connections 256; }}
http {{
    access_log off;
{temporary}
    map $http_upgrade $hop {{ default upgrade; "" ""; }}
    upstream back {{ server 127.0.0.1:{port}; keepalive 4; }}
    server {{
        listen unix:{path};
        client_header_timeout 10s;
        client_body_timeout 10s;
        lingering_close off;
        {" ".join(f"{option};" for option in options)}
        location / {{
            proxy_pass http://back;
            proxy_http_version 1.1;
            proxy_ignore_client_abort on;
            proxy_next_upstream off;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $hop;
            proxy_set_header {MARK} $request_id;
        }}
    }}
}}
"""


def _nginx_lax(port: int, path: str) -> str:
    lax = ("ignore_invalid_headers off", "underscores_in_headers on", "merge_slashes off")
    return _nginx(port, path, "proxy_request_buffering off", *lax)


@dataclass(frozen=True, slots=True)
class Front:
    """A program, how it is told what file to read, and what that file says of a port behind and a path to listen on."""

    name: str
    program: str
    arguments: tuple[str, ...]
    settings: Callable[[int, str], str]

    @property
    def executable(self) -> str | None:
        """Where the program is; `None` where it isn't installed."""
        return shutil.which(self.program, path=f"{os.environ.get('PATH', '')}{os.pathsep}{_DEBIAN_HIDES_IN}")

    @contextmanager
    def before(self, port: int, folder: Path) -> Iterator[str]:
        """Run it in front of a port of 127.0.0.1, and give the path of the Unix socket on which it will listen."""
        assert self.executable is not None
        path, file = str(folder / "front"), folder / "settings"
        file.write_text(self.settings(port, path))
        process = subprocess.Popen(
            [self.executable, *self.arguments, str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield path
        finally:
            process.kill()
            _, said = process.communicate()
            if said:
                print(f"--- {self.name}\n{said}")


FRONTS: Final = [
    Front("haproxy", "haproxy", ("-db", "-f"), _haproxy),
    Front("haproxy-lax", "haproxy", ("-db", "-f"), _haproxy_lax),
    Front("nginx", "nginx", ("-e", "stderr", "-c"), _nginx),
    Front("nginx-lax", "nginx", ("-e", "stderr", "-c"), _nginx_lax),
]
"""nginx-lax hands a body on while it comes, and headers that it doesn't know as they are."""
