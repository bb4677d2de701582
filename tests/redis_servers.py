"""Real Redis and Valkey servers, as processes of their own that tests may stop, kill and start again.

`pytest_plugins` names this module, so that every test may ask for these fixtures:
- `redis_server`: one for the whole run; each test finds it empty. With each program that is installed.
- `redis_prefix`: a prefix for keys that no other test has.
- `make_redis`: starts servers of the test's own, with any settings; they are gone with the test.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest
from certificates import write_certificate
from processes import PATIENCE, Lines, until
from redis import Redis

from wshttp.redis.link import RedisLink

PROGRAMS: Final = [name for name in ("redis-server", "valkey-server") if shutil.which(name)]
"""What is installed."""

SERVICE: Final = "sessions"
"""The name under which sentinels know the primary that they watch."""


class RedisServer:
    """A server that runs, or has run; `options` are lines of its configuration, with underscores for hyphens.

    It listens on a Unix socket, or with `tcp` or `tls` on a free port, which it keeps when it is started again; what it
    has stored is kept as well, as far as its options let it (`appendonly="yes", appendfsync="always"`).
    `admin` are user and password with which `ask` works, where the options want some.
    With `cluster_enabled="yes"` it is a node that has these `slots`, and is a whole cluster if it has them all.
    """

    def __init__(
        self,
        program: str = "redis-server",
        *,
        tcp: bool = False,
        tls: bool = False,
        sentinel: bool = False,
        admin: tuple[str, str] | None = None,
        slots: range | None = range(16384),
        **options: str,
    ) -> None:
        self.program = program
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))  # a Unix socket's path must be short: pytest's are not
        self.socket = self.folder / "s"
        self.port = free_port() if tcp or tls or sentinel or "cluster_enabled" in options else 0
        self.tls = tls
        self.sentinel = sentinel
        self.admin = admin
        self.slots = slots
        self.bus_port = free_port() if "cluster_enabled" in options else 0
        self.certificate = ""
        self._options = self._defaults() | options
        self._process: subprocess.Popen[str] | None = None
        self._paused = False
        self.configuration = self.folder / "redis.conf"
        self.configuration.write_text("".join(f"{name} {value}\n" for name, value in self._lines()))
        self.out: Lines

    def _defaults(self) -> dict[str, str]:
        options = {"dir": str(self.folder), "daemonize": "no", "port": str(self.port), "bind": "127.0.0.1"}
        if self.tls:
            self.certificate, key = write_certificate(self.folder, "redis")
            options |= {"port": "0", "tls-port": str(self.port), "tls-auth-clients": "no"}
            options |= {"tls-cert-file": self.certificate, "tls-key-file": key, "tls-ca-cert-file": self.certificate}
        if self.sentinel:
            return options
        options |= {"save": '""', "appendonly": "no", "databases": "4", "enable-debug-command": "yes"}
        if not self.port:
            options["unixsocket"] = str(self.socket)
        return options

    def _lines(self) -> Iterator[tuple[str, str]]:
        options = {name.replace("_", "-"): value for name, value in self._options.items()}
        if self.bus_port:
            options["cluster-port"] = str(self.bus_port)
        if self.sentinel:
            for name in ("resolve-hostnames", "announce-hostnames"):
                if name in options:
                    yield f"sentinel {name}", options.pop(name)
            watched = options.pop("monitor")
            yield "sentinel monitor", f"{SERVICE} {watched} 1"
            for name in ("down-after-milliseconds", "failover-timeout", "auth-pass", "auth-user"):
                if name in options:
                    yield f"sentinel {name}", f"{SERVICE} {options.pop(name)}"
        yield from options.items()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def address(self) -> str:
        """Host and port, as other servers and URLs name it."""
        return f"127.0.0.1:{self.port}"

    def url(self, user: str = "", password: str = "", db: int = 0, **query: str) -> str:
        """Return where it is, for a client that logs in as given."""
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
        if self.tls:
            query = {"ssl_ca_certs": self.certificate} | query
        if self.port:
            where = f"{'rediss' if self.tls else 'redis'}://{login}{'localhost' if self.tls else '127.0.0.1'}:{self.port}/{db}"
        else:
            where = f"unix://{login}{self.socket}"
            query = {"db": str(db)} | query if db else query
        return f"{where}?{urlencode(query)}" if query else where

    def start(self, *, wait: bool = True) -> RedisServer:
        """Run it on what it has stored; without `wait` it may be loading that yet, and listens if it has some."""
        command = [str(shutil.which(self.program)), str(self.configuration)]
        self._process = subprocess.Popen(
            [*command, "--sentinel"] if self.sentinel else command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        self.out = Lines(self._process.stdout)
        if wait:
            self.out.wait_for(r"eady to accept connections|\+monitor master")
        if wait and self.bus_port and self.slots:
            self._take_slots(self.slots)
        return self

    def _take_slots(self, slots: range) -> None:
        """Give slots to this node, unless it has them from before."""
        if b"cluster_slots_assigned:0\r" in self.ask("CLUSTER", "INFO"):
            self.ask("CLUSTER", "ADDSLOTSRANGE", slots[0], slots[-1])
        if len(slots) == 16384:
            until(lambda: b"cluster_state:ok" in self.ask("CLUSTER", "INFO"))

    def ask(self, *command: str | bytes | int) -> Any:
        """Send a command on a connection of its own, and return the reply in redis-py's form; errors raise."""
        with self.client() as client:
            return client.execute_command(*command)

    def client(self) -> Redis:
        """Return a blocking client of redis-py; to be closed, or used as a context."""
        where: dict[str, Any] = {"unix_socket_path": str(self.socket)}
        if self.port:
            where = {"host": "localhost", "port": self.port}
        if self.tls:
            where |= {"ssl": True, "ssl_ca_certs": self.certificate}
        user, password = self.admin or (None, None)
        return Redis(**where, username=user or None, password=password, protocol=2, socket_timeout=PATIENCE)

    def flush(self) -> None:
        """Forget all keys and scripts."""
        self.ask("FLUSHALL")
        self.ask("SCRIPT", "FLUSH")

    def pause(self) -> None:
        """Stop the process where it is: connections stay, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let a paused process go on."""
        os.kill(self.pid, signal.SIGCONT)
        self._paused = False

    def kill(self) -> None:
        """End it at once; it has no chance to write anything."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE)
        self._paused = False
        self.out.whole()

    def stop(self) -> None:
        """Shut it down in order."""
        assert self._process is not None
        if self._paused:
            self.resume()
        self._process.terminate()
        self._process.wait(PATIENCE)
        self.out.whole()

    def restart(self) -> None:
        """Kill it, and start it on what it has stored."""
        self.kill()
        self.start()

    def disconnect_clients(self) -> None:
        """Cut all connections but the one that asks for it."""
        self.ask("CLIENT", "KILL", "TYPE", "normal")
        self.ask("CLIENT", "KILL", "TYPE", "pubsub")

    def close(self) -> None:
        """End it, and remove what it has stored."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@asynccontextmanager
async def linked(url: str, *, timeout: float = PATIENCE, **options: Any) -> AsyncIterator[RedisLink]:
    """Keep a link open."""
    link = RedisLink(url, timeout=timeout, **options)
    await link.open()
    try:
        yield link
    finally:
        await link.close()


def free_port() -> int:
    """Return a port of the loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session", params=PROGRAMS or ["redis-server"])
def redis_program(request: pytest.FixtureRequest) -> str:
    """The name of a program that is installed; there is a round of tests for each."""
    if not PROGRAMS:
        pytest.skip("neither redis-server nor valkey-server is installed")
    return str(request.param)


@pytest.fixture(scope="session")
def _shared_redis(redis_program: str) -> Iterator[RedisServer]:
    server = RedisServer(redis_program)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def redis_server(_shared_redis: RedisServer) -> RedisServer:
    """A server that others use after this test: not to be stopped, and empty."""
    _shared_redis.flush()
    return _shared_redis


_PREFIXES: Final = (f"t{number}" for number in itertools.count())


@pytest.fixture
def redis_prefix() -> str:
    """A prefix for keys that no other test has."""
    return next(_PREFIXES)


@pytest.fixture
def make_redis(redis_program: str) -> Iterator[Callable[..., RedisServer]]:
    """Start servers with options as `RedisServer` takes them; with `start=False` only prepare them."""
    servers: list[RedisServer] = []

    def make(*, start: bool = True, **options: Any) -> RedisServer:
        server = RedisServer(redis_program, **options)
        servers.append(server)
        return server.start() if start else server

    yield make
    for server in reversed(servers):
        server.close()
