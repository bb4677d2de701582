"""The server as its operator has it: a process, the lines that it writes, and the status with which it exits."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import engines

ROOT = Path(__file__).resolve().parents[1]

PATIENCE = 60.0
"""Seconds after which what a test waits for will not come: a machine may have much else to do."""

SERVE = (sys.executable, "-m", "wshttp", "serve")

ON_ANY_FREE_PORT = """
import runpy, sys
import wshttp.network as network
bind = network.bind_tcp
network.bind_tcp = lambda host, port, **options: bind(host, 0, **options)
def listen(application, port, address):
    server = application.listen_on(0, address)
    [socket] = server._sockets.values()
    print(f"wshttp listening on http://127.0.0.1:{socket.getsockname()[1]}", flush=True)
    return server
from tornado.web import Application
Application.listen_on, Application.listen = Application.listen, listen
runpy.run_path(sys.argv[1], run_name="__main__")
"""
"""Runs a program whose settings are its own, and has it listen elsewhere; one without a `Server` says where, too."""


def environment(**more: str) -> dict[str, str]:
    """Return an environment without settings of ours, in which Python finds this tree; its warnings are errors."""
    ours = ("WSHTTP_", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONSAFEPATH", "PYTHONOPTIMIZE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | dict(engines.variables()) | more


class Lines:
    """What a process writes to one of its streams, line by line as it comes."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    self._lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def __iter__(self) -> Iterator[str]:
        with self._news:
            return iter(list(self._lines))

    def __len__(self) -> int:
        return len(self._lines)

    def __str__(self) -> str:
        return "\n".join(self)

    def find(self, pattern: str, after: int = 0) -> re.Match[str] | None:
        """Look for a line, from the one with the number `after` on."""
        return next((found for line in list(self)[after:] if (found := re.search(pattern, line))), None)

    def comes(self, pattern: str, after: int = 0, seconds: float = PATIENCE) -> re.Match[str] | None:
        """Wait for a line at most so long; `None` where the stream ends or time does without one."""
        with self._news:
            self._news.wait_for(lambda: self._ended or self.find(pattern, after) is not None, seconds)
        return self.find(pattern, after)

    def wait_for(self, pattern: str, after: int = 0) -> re.Match[str]:
        """Wait for a line; fail without one."""
        found = self.comes(pattern, after)
        assert found is not None, f"no line like {pattern!r} in:\n{self}"
        return found

    def whole(self) -> str:
        """Wait until the stream ends, and return all that it had."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return str(self)


class Process:
    """A server that runs, or has run."""

    def __init__(self, command: tuple[str, ...], **options: Any) -> None:
        self._popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        self.out = Lines(self._popen.stdout)
        self.err = Lines(self._popen.stderr)
        self._connections: list[http.client.HTTPConnection] = []

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def address(self) -> str:
        """Where it listens, as it says itself; waits until it does."""
        try:
            return self.out.wait_for(r"^wshttp listening on (\S+)$")[1]
        except AssertionError:
            raise AssertionError(f"it does not listen:\n{self.out}\n{self.err}") from None

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def exit_status(self) -> int:
        """Wait until it has exited; `-9` is a death by signal 9."""
        return self._popen.wait(PATIENCE)

    def stop(self) -> int:
        """Ask it to stop, and return its exit status."""
        self.signal(signal.SIGTERM)
        return self.exit_status()

    def kill(self) -> None:
        """End it at once, however it is."""
        self._popen.kill()
        self._popen.wait(PATIENCE)

    def get(self, path: str, headers: Mapping[str, str] | None = None, **options: Any) -> Answer:
        """Send a GET on a connection of its own."""
        return self.request("GET", path, headers=headers, **options)

    def request(self, method: str, path: str, body: str | None = None, **options: Any) -> Answer:
        """Send a request on a connection of its own."""
        headers = dict(options.pop("headers", None) or {})
        connection = self.connect(**options)
        try:
            connection.request(method, path, body, headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def connect(self, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
        """Return a connection that lasts for several requests, and is closed with the process; over TLS if given how."""
        host = urlsplit(self.address).hostname or ""
        connection = (
            http.client.HTTPSConnection("localhost", self.port, timeout=PATIENCE, context=tls)
            if tls is not None
            else http.client.HTTPConnection(host, self.port, timeout=PATIENCE)
        )
        self._connections.append(connection)
        return connection

    def close(self) -> None:
        """Close what was opened to it, and end it at once if it has not ended."""
        for connection in self._connections:
            connection.close()
        self.kill()


class Answer:
    """A response that has been read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self) -> str:
        return self.body.decode()


@contextmanager
def serving(
    *arguments: str,
    port: int | None = 0,
    cwd: Path | str = ROOT,
    command: tuple[str, ...] = SERVE,
    env: Mapping[str, str] | None = None,
    inherit: Mapping[str, str] | None = None,
    faults: bool = False,
    preexec: Callable[[], None] | None = None,
) -> Iterator[Process]:
    """Start a server with these arguments, on this port (0: a free one; `None`: its settings say); afterwards it is gone.

    `env` is added to its environment, which is `environment()` unless it is to `inherit` another.
    What it must never write is looked for in the end: a traceback, unless there are to be `faults`.
    """
    process = Process(
        (*command, *(() if port is None else ("--port", str(port))), *arguments),
        cwd=cwd,
        env={**(environment() if inherit is None else inherit), **(env or {})},
        preexec_fn=preexec,
    )
    try:
        yield process
    except BaseException:
        process.close()
        print(f"--- what the process wrote\n{process.out.whole()}\n{process.err.whole()}")
        raise
    process.close()
    stderr = process.err.whole()
    for sign in ("Traceback", "never retrieved", "never awaited", "Exception ignored"):
        assert faults or sign not in stderr, stderr


def run(*arguments: str, cwd: Path | str = ROOT, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `wshttp` with these arguments to its end."""
    env = environment(**options.pop("env", {}))
    command = [sys.executable, "-m", "wshttp", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False, **options
    )


def refused(port: int) -> bool:
    """Tell whether nobody listens on a port."""
    with socket.socket() as probe:
        probe.settimeout(PATIENCE)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def until(condition: Callable[[], bool]) -> None:
    """Ask again and again until something holds that no event tells."""
    patience = threading.Event()
    give_up = threading.Timer(PATIENCE, patience.set)
    give_up.start()
    try:
        while not condition():
            assert not patience.is_set(), "it never came to be"
    finally:
        give_up.cancel()
