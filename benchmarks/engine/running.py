"""A server that runs, in a process of its own on the servers' core."""

from __future__ import annotations

import re
import select
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from benchmarks import machine
from benchmarks.engine import cores
from benchmarks.engine.environment import Environment
from benchmarks.engine.peer import Peer

START: Final = 60.0
"""Seconds that a server may take until it listens."""

STOP: Final = 20.0
"""Seconds that it has to end once it is told to; then it is killed."""


@dataclass(frozen=True)
class Running:
    """A server, by its process and its port on the loopback."""

    peer: Peer
    pid: int
    port: int

    def computed(self) -> float:
        """Return the seconds that it has computed so far."""
        return machine.computed(self.pid)

    def resident(self) -> int:
        """Return the bytes of its memory that are in RAM."""
        return machine.resident_bytes(self.pid)


@contextmanager
def running(peer: Peer, environment: Environment, files: Path) -> Iterator[Running]:
    """Run a server until this is left. Raises `RuntimeError` where it does not listen."""
    with tempfile.TemporaryFile("w+") as errors:
        command, variables = peer.command(environment, files), peer.variables(environment)
        with cores.only(cores.SERVERS):
            process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            yield Running(peer, process.pid, _port(peer, process, errors))
        finally:
            _end(process)


def _port(peer: Peer, process: subprocess.Popen[str], errors: IO[str]) -> int:
    """Wait for the line that says where it listens."""
    assert process.stdout is not None
    is_there, _, _ = select.select([process.stdout], [], [], START)
    line = process.stdout.readline() if is_there else ""
    found = re.search(r":(\d+)$", line.rstrip())
    if found is None:
        errors.seek(0)
        raise RuntimeError(f"{peer.name} did not start: {line}{errors.read()[-2000:]}")
    return int(found[1])


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
