"""What keeps a server busy, and the figure that comes of it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

from benchmarks import machine
from benchmarks.engine import cores
from benchmarks.engine.answers import Check
from benchmarks.engine.effort import Effort
from benchmarks.engine.environment import LOADS, Environment
from benchmarks.engine.running import Running

PATIENCE: Final = 600.0
"""Seconds after which a load has hung, beyond those for which it was to last."""

CONNECTIONS: Final = 32


@dataclass(frozen=True)
class Expense:
    """Answers, the seconds that they took, and how many of these the server computed, and the load."""

    answers: int
    seconds: float
    by_server: float
    by_load: float

    @property
    def server_busy(self) -> float:
        """The share of the time in which the server computed."""
        return self.by_server / self.seconds

    @property
    def load_busy(self) -> float:
        """The share of the time in which the load computed."""
        return self.by_load / self.seconds

    @property
    def cost(self) -> float:
        """Seconds that the server computed for each answer."""
        return self.by_server / self.answers


@dataclass(frozen=True)
class Outcome:
    """A figure, and what it took; `None` where it is not about answers."""

    figure: float
    expense: Expense | None = None


class Load(Protocol):
    """A kind of work. `unit` is what its figure counts."""

    @property
    def unit(self) -> str: ...

    @property
    def less_is_better(self) -> bool: ...

    @property
    def needs_fresh(self) -> bool:
        """Whether each figure wants a server that has done nothing yet."""

    @property
    def needs(self) -> str | None:
        """The program of the system that it is made with."""

    def check(self, server: Running) -> None:
        """Raise `WrongAnswer` unless the server does the work."""

    def measure(self, server: Running, environment: Environment, effort: Effort) -> Outcome: ...


@dataclass(frozen=True)
class Requests:
    """Requests as fast as the answers come, with wrk; with `cookies` each goes with the last cookie that came."""

    path: str
    right: Check
    cookies: bool = False
    unit: ClassVar[str] = "requests/s"
    less_is_better: ClassVar[bool] = False
    needs_fresh: ClassVar[bool] = False
    needs: ClassVar[str | None] = "wrk"

    def check(self, server: Running) -> None:
        self.right(server.port, self.path)

    def measure(self, server: Running, environment: Environment, effort: Effort) -> Outcome:
        seconds = max(1, round(effort.seconds))  # wrk knows whole seconds only
        script = "cookies.lua" if self.cookies else "plain.lua"
        options = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout=30s", f"--script={script}"]
        said = _run(["wrk", *options, f"http://127.0.0.1:{server.port}{self.path}"], seconds, server)
        if any(said["errors"].values()):
            raise RuntimeError(f"{server.peer.name}, {self.path}: {said['errors']}")
        return _per_second(said)


@dataclass(frozen=True)
class Latency:
    """How late the last of a hundred answers is, in ms, at half the rate that the server can do."""

    requests: Requests
    unit: ClassVar[str] = "ms, p99"
    less_is_better: ClassVar[bool] = True
    needs_fresh: ClassVar[bool] = False
    needs: ClassVar[str | None] = "wrk"

    def check(self, server: Running) -> None:
        self.requests.check(server)

    def measure(self, server: Running, environment: Environment, effort: Effort) -> Outcome:
        peak = self.requests.measure(server, environment, effort).figure
        options = [str(server.port), self.requests.path, "--rate", f"{peak / 2:.1f}", "--seconds", str(effort.seconds)]
        said = _run([sys.executable, str(LOADS / "steady.py"), *options], effort.seconds, server)
        return Outcome(said["p99"] * 1000)


@dataclass(frozen=True)
class Messages:
    """Messages to `/echo`, each sent when the answer to the one before is there."""

    size: int
    deflate: bool = False
    unit: ClassVar[str] = "messages/s"
    less_is_better: ClassVar[bool] = False
    needs_fresh: ClassVar[bool] = False
    needs: ClassVar[str | None] = None

    def check(self, server: Running) -> None:
        """The client looks at the first answer of each socket."""

    def measure(self, server: Running, environment: Environment, effort: Effort) -> Outcome:
        options = [f"--sockets={CONNECTIONS}", f"--size={self.size}", f"--seconds={effort.seconds}"]
        if self.deflate:
            options.append("--deflate")
        said = _run(_sockets(environment, "echo", server, "/echo", options), effort.seconds, server)
        return _per_second(said)


@dataclass(frozen=True)
class Broadcast:
    """One message to all sockets, again and again: how many arrive."""

    sockets: int
    unit: ClassVar[str] = "received/s"
    less_is_better: ClassVar[bool] = False
    needs_fresh: ClassVar[bool] = False
    needs: ClassVar[str | None] = None

    def check(self, server: Running) -> None:
        """The client looks at the first message of each socket."""

    def measure(self, server: Running, environment: Environment, effort: Effort) -> Outcome:
        options = [f"--sockets={effort.sockets(self.sockets)}", f"--seconds={effort.seconds}"]
        said = _run(_sockets(environment, "broadcast", server, "/broadcast", options), effort.seconds, server)
        return _per_second(said)


@dataclass(frozen=True)
class IdleSockets:
    """Sockets that say nothing: how much resident memory the server has for each of them."""

    sockets: int
    unit: ClassVar[str] = "KiB/socket"
    less_is_better: ClassVar[bool] = True
    needs_fresh: ClassVar[bool] = True
    needs: ClassVar[str | None] = None

    def check(self, server: Running) -> None:
        """The client fails where a socket does not open."""

    def measure(self, server: Running, environment: Environment, effort: Effort) -> Outcome:
        sockets = effort.sockets(self.sockets)
        self._stay(server, environment, 1)  # what the first one takes, it takes once
        before = server.resident()
        grown = self._stay(server, environment, sockets) - before
        return Outcome(grown / sockets / 1024)

    def _stay(self, server: Running, environment: Environment, sockets: int) -> int:
        """Open them, and return the server's memory while they are there."""
        command = _sockets(environment, "stay", server, "/echo", [f"--sockets={sockets}"])
        with cores.only(cores.LOAD):
            client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with client:
            assert client.stdout is not None
            if not client.stdout.readline():
                raise RuntimeError(f"{server.peer.name}: the sockets did not open")
            resident = server.resident()
            client.communicate()
        if client.returncode:
            raise RuntimeError(f"{server.peer.name}: the sockets did not stay")
        return resident


def _sockets(environment: Environment, work: str, server: Running, path: str, options: list[str]) -> list[str]:
    """Return the command of the picows client."""
    url = f"ws://127.0.0.1:{server.port}{path}"
    return [str(environment.python), str(LOADS / "sockets.py"), work, url, *options]


def _per_second(said: dict[str, Any]) -> Outcome:
    expense = Expense(said["answers"], said["seconds"], said["by_server"], said["by_load"])
    return Outcome(expense.answers / expense.seconds, expense if expense.answers else None)


def _run(command: list[str], seconds: float, server: Running) -> dict[str, Any]:
    """Run a load on its core; return what it says in the last line, and with it who computed how long meanwhile.

    One that first prepares something says `begin` when that is done. Raises `RuntimeError` where it fails.
    """
    with tempfile.TemporaryFile("w+") as errors, cores.only(cores.LOAD):
        process = subprocess.Popen(command, cwd=LOADS, stdout=subprocess.PIPE, stderr=errors, text=True)
        killer = threading.Timer(seconds + PATIENCE, process.kill)
        killer.start()
        with process:
            try:
                said = _listen(process, server)
            except BaseException:  # we are told to end, for one
                process.kill()
                raise
            finally:
                killer.cancel()
        if process.returncode or not said:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {errors.read()[-2000:]}")
    return said


def _listen(process: subprocess.Popen[str], server: Running) -> dict[str, Any]:
    assert process.stdout is not None
    said: dict[str, Any] = {}
    by_server, by_load = server.computed(), machine.computed(process.pid)
    for line in process.stdout:
        if line == "begin\n":
            by_server, by_load = server.computed(), machine.computed(process.pid)
        elif line.startswith("{"):
            since = {"by_server": server.computed() - by_server, "by_load": machine.computed(process.pid) - by_load}
            said = json.loads(line) | since
    return said
