"""nginx for static files: one process, no log."""

from __future__ import annotations

import argparse
import os
import random
import socket
import time

PORTS = range(20_000, 30_000)
"""From which no system takes the ports of clients, so that none of them gets in between."""

PAUSE = 0.02
"""Seconds between two looks whether it listens."""

CONFIGURATION = """
daemon off;
master_process off;
error_log stderr crit;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    default_type application/octet-stream;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port};
        root {files};
    }}
}}
"""

parser = argparse.ArgumentParser()
parser.add_argument("files", help="the folder of the static files")
parser.add_argument("--program", default="nginx")
arguments = parser.parse_args()


def free_port() -> int:
    """Return a port that nobody listens on."""
    while True:
        port = random.choice(PORTS)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


def tell_when_it_listens(port: int, nginx: int) -> None:
    """Print the line that the benchmark waits for, unless nginx, whose process this is, gives up."""
    while os.getppid() == nginx:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(PAUSE)
        else:
            print(f"listening on http://127.0.0.1:{port}", flush=True)
            return


port, folder = free_port(), os.path.abspath(os.path.join(arguments.files, "nginx"))
os.makedirs(folder)
with open(f"{folder}/nginx.conf", "w") as file:
    file.write(CONFIGURATION.format(folder=folder, port=port, files=os.path.abspath(arguments.files)))

this = os.getpid()
if os.fork() == 0:
    tell_when_it_listens(port, this)
    os._exit(0)
os.execvp(arguments.program, [arguments.program, "-p", folder, "-c", f"{folder}/nginx.conf"])
