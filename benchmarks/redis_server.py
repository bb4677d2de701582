"""A Redis or Valkey of the benchmark's own, and what it says of itself."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

PROGRAMS = ("redis-server", "valkey-server")

DURABLE = {"appendonly": "yes", "appendfsync": "always"}
"""What docs/howto/machines.md advises."""

FORGETFUL = {"appendonly": "no"}


@dataclass(frozen=True)
class Usage:
    """What a server has spent since `RedisServer.forget_usage`.

    `computed` is the seconds of the thread that runs all commands; `in_scripts` those of them within scripts. `commands`
    is how many commands it ran, those of scripts included, and `scripts` how many scripts.
    """

    computed: float
    in_scripts: float
    commands: int
    scripts: int


class RedisServer:
    """A server that runs. `client` is a blocking client of redis-py."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.url = f"unix://{socket}"
        self.client = Redis(unix_socket_path=str(socket), protocol=2, socket_timeout=60)
        self._computed_before = 0.0

    def forget_usage(self) -> None:
        """Count from here."""
        self.client.config_resetstat()
        self._computed_before = self._computed()

    def usage(self) -> Usage:
        """Return what was spent; the questions of this class are not in it."""
        computed = self._computed() - self._computed_before
        stats: dict[str, Any] = self.client.info("commandstats")
        ours = {
            name: stat
            for name, stat in stats.items()
            if name.partition("|")[0] not in ("cmdstat_info", "cmdstat_config")
        }
        scripts = [stat for name, stat in ours.items() if name in ("cmdstat_evalsha", "cmdstat_eval")]
        run = sum(stat["calls"] for stat in scripts)
        return Usage(
            computed,
            sum(stat["usec"] for stat in scripts) / 1e6,
            sum(stat["calls"] for stat in ours.values()) - run,
            run,
        )

    def _computed(self) -> float:
        found: dict[str, float] = self.client.info("cpu")
        return found["used_cpu_sys_main_thread"] + found["used_cpu_user_main_thread"]

    def used_bytes(self) -> int:
        """Return the memory that its data takes."""
        return int(self.client.info("memory")["used_memory"])


@contextmanager
def redis_server(options: dict[str, str] = FORGETFUL) -> Iterator[RedisServer]:
    """Run a server on a Unix socket, with these lines of configuration; then end it, and remove what it has stored."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        socket = Path(folder, "s")
        given = {"port": "0", "unixsocket": str(socket), "dir": folder, "save": "", "daemonize": "no"} | options
        command = [_program(), *(part for name, value in given.items() for part in (f"--{name}", value))]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            _wait_until_ready(process)
            server = RedisServer(socket)
            yield server
            server.client.close()
        finally:
            process.kill()
            process.communicate()


def _program() -> str:
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        raise SystemExit("this benchmark needs redis-server, 7.0 or newer, or valkey-server on the PATH")
    return found


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "eady to accept connections" in line:
            return
    raise RuntimeError("".join(said))
