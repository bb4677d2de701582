"""Several nodes on one Redis, each with a wire of its own to it: everything that can be killed, paused and cut."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import TimeoutExpired
from threading import Event
from typing import Any

from faults.proxy import Proxy
from processes import SERVE, Process, environment, until
from redis_servers import RedisServer

HERE = Path(__file__).parent

LEASE = 3.0
"""Seconds that a dead node keeps what it owes."""

TIMEOUT = 1.0
"""Seconds that a node waits for Redis."""

TOMBSTONE = 60.0

SETTINGS = (
    "store.kind=redis", f"store.timeout={TIMEOUT}s", f"session.lease={LEASE}s", f"session.tombstone={TOMBSTONE}s",
    "session.identity=[cookie]", "session.warn_before=0", "session.max_data=1MiB", "app=counting:setup", "log.level=warning",
    "auth.cache=0s",
)  # fmt: skip


class Disk:
    """What a server has on its disk, and what it had there a moment ago: a power cut leaves that."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._folder = server.folder / "appendonlydir"
        self._kept = server.folder / "kept"

    def keep(self) -> None:
        """Remember what a power cut would leave now."""
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self._folder, self._kept)

    def cut_power(self) -> None:
        """Kill the server, and start it with what was kept: all that it was told since is lost."""
        self._server.kill()
        shutil.rmtree(self._folder)
        self._kept.rename(self._folder)
        self._server.start()


class Node:
    """A server process that can be killed and started again; its wire to Redis stays the same."""

    def __init__(self, name: str, folder: Path, proxy: Proxy, settings: tuple[str, ...]) -> None:
        self.name = name
        self.proxy = proxy
        self.address = ""
        """Where it listens; empty while it does not run."""
        self.listening = Event()
        self.is_paused = False
        self._folder = folder
        self._settings = settings
        self._process: Process | None = None
        self._spent: list[Process] = []

    def launch(self) -> None:
        """Start it, without waiting until it listens."""
        settings = (*SETTINGS, f"store.url=redis://127.0.0.1:{self.proxy.port}/0", *self._settings)
        words = [word for setting in settings for word in ("--set", setting)]
        env = {"COUNTED": str(self._folder / "counted"), "NODE": self.name, "LOGINS": "1"}
        self._process = Process((*SERVE, "--port", "0", *words), cwd=HERE, env=environment() | env)

    def wait(self) -> None:
        """Wait until it listens."""
        self.address = self.process.address
        self.listening.set()

    def start(self) -> None:
        self.launch()
        self.wait()

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        self.listening.clear()
        self.address = ""
        self.process.kill()
        self._spent.append(self.process)

    def die_at(self, place: str) -> None:
        """Have it kill itself when it is next there; `gone` waits for that."""
        assert self.process.request("POST", f"/die?at={place}").status == 200

    def gone(self) -> None:
        """Wait until it has killed itself."""
        try:
            assert self.process.exit_status() == -signal.SIGKILL
        except TimeoutExpired:
            raise AssertionError(f"{self.name} never came to the place\n{self.process.err}") from None
        self.kill()

    def pause(self) -> None:
        self.is_paused = True
        self.process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.signal(signal.SIGCONT)
        self.is_paused = False

    @property
    def is_ready(self) -> bool:
        return self.process.get("/wshttp/health/ready").status == 200

    def close(self) -> None:
        """End it, and look at what it has written: no fault of its own."""
        if self._process is not None and self._process not in self._spent:
            self.kill()
        for process in self._spent:
            process.close()
            stderr = process.err.whole()
            for sign in ("never retrieved", "never awaited", "Exception ignored"):
                assert sign not in stderr, f"{self.name}:\n{stderr}"
            # A callback that needs the store while it is away, or its session when that is over, is logged as failed.
            expected = re.findall(r"^ +wshttp\.\S+\.(?:RedisUnavailable|SessionEnded): ", stderr, re.MULTILINE)
            assert stderr.count("Traceback") == len(expected), f"{self.name}:\n{stderr}"


class Fleet:
    """Nodes, their wires and their Redis."""

    def __init__(self, folder: Path, redis: RedisServer, nodes: list[Node]) -> None:
        self.folder = folder
        self.redis = redis
        self.nodes = nodes

    @property
    def up(self) -> list[Node]:
        """The nodes that a load balancer sends requests to."""
        return [node for node in self.nodes if node.address and not node.is_paused]

    def lines(self) -> list[dict[str, Any]]:
        """Return what all callbacks have written, in the order in which they did."""
        path = self.folder / "counted"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def state(self) -> dict[str, int]:
        """Return how many sessions live and how many callbacks are owed, as the first node knows it."""
        answer = self.nodes[0].process.get("/state")
        assert answer.status == 200, answer.text
        state: dict[str, int] = json.loads(answer.text)
        return state

    def names(self) -> set[str]:
        """Return the names of all keys in Redis, without our prefix."""
        with self.redis.client() as client:
            return {name.decode("latin-1").partition(":")[2] for name in client.scan_iter(count=1000)}

    def ready(self) -> None:
        """Wait until all nodes are."""
        until(lambda: all(node.is_ready for node in self.nodes))

    def end_all(self) -> None:
        """End all sessions, and wait until nothing is left of any: those that are over by themselves are swept, too."""
        self.ready()
        until(lambda: self.nodes[0].process.request("POST", "/end-all").status == 200 and self.state()["sessions"] == 0)
        until(lambda: not any(name.startswith("s:") for name in self.names()))
        until(lambda: self.state() == {"sessions": 0, "owed": 0})


@contextmanager
def fleet(folder: Path, program: str, *settings: str, nodes: int = 3, fsync: str = "always") -> Iterator[Fleet]:
    """Start a Redis with a disk, and its nodes; `settings` are more of the server's."""
    options = {"appendonly": "yes", "appendfsync": fsync, "auto_aof_rewrite_percentage": "0"}
    with ExitStack() as stack:
        redis = RedisServer(program, **options)
        stack.callback(redis.close)
        redis.start()
        wires = [stack.enter_context(Proxy(str(redis.socket))) for _ in range(nodes)]
        running = [Node(f"node {number}", folder, wire, settings) for number, wire in enumerate(wires, 1)]
        for node in running:
            stack.callback(node.close)
        for node in running:
            node.launch()
        for node in running:
            node.wait()
        yield Fleet(folder, redis, running)
