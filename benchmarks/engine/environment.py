"""What the peers are installed in: a folder of the benchmark's own, filled from the registries by name.

`python -m benchmarks.engine.environment` fills it, where that has not been done.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

PEERS: Final = ROOT / "benchmarks" / "peers"
LOADS: Final = ROOT / "benchmarks" / "loads"

PYTHON_PACKAGES: Final = (
    "aiohttp>=3.14,<4", "aiohttp-session[secure]>=2.12,<3", "starlette>=1,<2", "itsdangerous>=2.2,<3", "uvicorn>=0.50,<1",
    "uvloop>=0.23,<1", "httptools>=0.9,<1", "websockets>=17,<18", "picows>=2.3,<3",
)  # fmt: skip

COMPILED: Final = ROOT / ".venv" / "compiled"
"""Where `make compiled` puts this project with its hot modules compiled."""

NODE_PACKAGES: Final = ("express@5", "express-session@1", "ws@8", "bufferutil@4")


@dataclass(frozen=True)
class Environment:
    """A folder with the peers' Python and Node packages."""

    folder: Path

    @classmethod
    def chosen(cls) -> Environment:
        """Return the one that `WSHTTP_PEERS` names, else the one in `.venv`."""
        return cls(Path(os.environ.get("WSHTTP_PEERS") or ROOT / ".venv" / "peers"))

    @property
    def python(self) -> Path:
        return self.folder / "python" / "bin" / "python"

    @property
    def node_modules(self) -> Path:
        return self.folder / "node" / "node_modules"

    @property
    def is_made(self) -> bool:
        """Whether it holds what this version of the benchmark wants, for this version of Python."""
        return self._stamp.is_file() and self._stamp.read_text() == _wanted()

    @property
    def _stamp(self) -> Path:
        return self.folder / "made"

    def make(self) -> None:
        """Make it anew. Raises `CalledProcessError` where that does not work; the command has said why."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        _run(sys.executable, "-m", "venv", str(self.folder / "python"))
        _run(str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PYTHON_PACKAGES)
        if shutil.which("npm"):
            options = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            _run("npm", "install", "--prefix", str(self.folder / "node"), *options, *NODE_PACKAGES)
        self._stamp.write_text(_wanted())

    def versions(self) -> str:
        """Return names and versions of the peers, for the record."""
        return ", ".join(f"{name} {version}" for name, version in sorted(self._versions()))

    def _versions(self) -> Iterator[tuple[str, str]]:
        wanted = {package.partition(">")[0].partition("[")[0] for package in PYTHON_PACKAGES}
        for distribution in distributions(path=[str(path) for path in self.folder.glob("python/lib/*/site-packages")]):
            if distribution.name in wanted:
                yield distribution.name, distribution.version
        for package in NODE_PACKAGES:
            name = package.partition("@")[0]
            description = self.node_modules / name / "package.json"
            if description.is_file():
                yield name, json.loads(description.read_text())["version"]
        for program in ("node", "nginx"):
            if found := find(program):
                option = "-v" if program == "nginx" else "--version"
                said = subprocess.run([found, option], capture_output=True, text=True, check=False)
                yield program, (said.stdout + said.stderr).strip().rpartition("/")[2].removeprefix("v")


def compiled() -> Path | None:
    """Return the folder with the compiled project; `None` where there is none, or one of other sources."""
    sources = list((ROOT / "wshttp").rglob("*.py"))
    theirs = [COMPILED / source.relative_to(ROOT) for source in sources]
    if not any(COMPILED.glob("*__mypyc*")) or not all(their.is_file() for their in theirs):
        return None
    same = all(their.read_bytes() == own.read_bytes() for their, own in zip(theirs, sources, strict=True))
    return COMPILED if same else None


def find(program: str) -> str | None:
    """Return where a program of the system is; Debian has daemons where only root looks."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def _wanted() -> str:
    return "\n".join([sys.version, *PYTHON_PACKAGES, *(NODE_PACKAGES if shutil.which("npm") else ())])


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)


def main() -> None:
    environment = Environment.chosen()
    if not environment.is_made:
        print(f"installing the peers into {environment.folder}", file=sys.stderr)
        environment.make()


if __name__ == "__main__":
    main()
