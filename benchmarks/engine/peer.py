"""A program that is measured."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.environment import PEERS, ROOT, Environment, compiled, find


@dataclass(frozen=True)
class Peer:
    """A file in `benchmarks/peers/`, what it is started with, and what it is called in the table.

    `ours`: it runs in this project's environment, as it is made of what that holds; the others run in that of the peers.
    `plain`: of ours, it is not compiled, though the others may be; left out where they are not, either.
    `pretends`: it answers without doing the work, so that its answers are not checked.
    `needs`: a program of the system without which it is left out.
    """

    name: str
    program: str
    arguments: tuple[str, ...] = ()
    ours: bool = False
    plain: bool = False
    pretends: bool = False
    needs: str | None = None

    @property
    def _is_script(self) -> bool:
        return self.program.endswith(".js")

    def missing(self) -> str | None:
        """Say what this machine lacks for it; `None`: nothing."""
        if self.plain and compiled() is None:
            return "a compiled wshttp; make compiled makes one"
        needed = "node" if self._is_script else self.needs
        return needed if needed is not None and find(needed) is None else None

    def command(self, environment: Environment, files: Path) -> list[str]:
        """Return the command that starts it, to serve the static files of this folder."""
        runtime = "node" if self._is_script else sys.executable if self.ours else str(environment.python)
        return [runtime, str(PEERS / self.program), str(files), *self.arguments]

    def variables(self, environment: Environment) -> dict[str, str]:
        """Return the environment variables that it is started with."""
        own = {"NODE_PATH": str(environment.node_modules), "NODE_ENV": "production", "PYTHONPATH": ""}
        return os.environ | own | ({"PYTHONPATH": str(self._project)} if self.ours else {})

    @property
    def _project(self) -> Path:
        return ROOT if self.plain else compiled() or ROOT
