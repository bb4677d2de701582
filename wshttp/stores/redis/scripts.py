"""The scripts that the server runs: each is one atomic step of the store, in a file of its own, behind the parts that it needs.

A script names itself and the version of the schema in its head; its SHA is the version of the script. So two versions of
the program may share a server: each runs its own scripts, and those refuse a schema that they do not know.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

from wshttp.redis.script import Script
from wshttp.sessions.changes import MAX_SCHEDULED
from wshttp.sessions.store import MAX_VICTIMS

SCHEMA: Final = 1
"""The version of what is stored."""

TOUCH_PATIENCE: Final = 5.0
"""Seconds for which a touch need not be written; less where the idle time-out is short."""

TOUCHES_PER_TIMEOUT: Final = 20
"""How often, at least, touches are written within an idle time-out."""

_LIFE: Final = ("caller", "session", "admit")
_LEDGER: Final = (*_LIFE, "ledger")
_ENDING: Final = (*_LEDGER, "ending", "answers")

_PARTS: Final[dict[str, tuple[str, ...]]] = {
    "join": (),
    "replay": _ENDING,
    "leave": _LEDGER,
    "lease": _LIFE,
    "secret": _LIFE,
    "create": (*_ENDING, "limits"),
    "load": (*_LIFE, "finding"),
    "load_ref": _LIFE,
    "load_many": (*_LIFE, "finding"),
    "touches": _LIFE,
    "apply": (*_LIFE, "answers", "locks", "changing"),
    "increment": (*_LIFE, "answers", "locks", "changing", "numbers"),
    "renew": (*_ENDING, "limits"),
    "end": _ENDING,
    "take_due": _ENDING,
    "settle": _LEDGER,
    "owed": _LIFE,
    "count": (*_LEDGER, "ending", "limits"),
    "scan": _LIFE,
    "acquire": (*_LIFE, "locks"),
    "release": (*_LIFE, "locks"),
}
"""What stands before each, besides the clocks."""

_CONSTANTS: Final = "".join(
    f"local {name} = {value}\n"
    for name, value in {
        "SCHEMA": f"'{SCHEMA}'",
        "TOUCH_PATIENCE": f"{TOUCH_PATIENCE:g}",
        "TOUCHES_PER_TIMEOUT": TOUCHES_PER_TIMEOUT,
        "MAX_SCHEDULED": MAX_SCHEDULED,
        "MAX_VICTIMS": MAX_VICTIMS,
    }.items()
)
"""What the scripts are told, so that it stands in one place."""

_LINE: Final = re.compile(r"user_script:(\d+)")
"""How an error names a line of what the server was sent."""

_GROWING: Final = frozenset(("create", "apply", "increment", "renew", "acquire"))
"""Refused as a whole by a server that is full. The others free memory, or take next to none: sessions can be found, and
end, while nothing new is let in."""


@cache
def source_of(name: str) -> str:
    """Read one file."""
    return (files(__package__) / f"{name}.lua").read_text("utf-8")


class Scripts:
    """All scripts, by name; `time_script` takes the place of the server's own time in tests."""

    def __init__(self, time_script: str | None = None) -> None:
        self._time = source_of("time") if time_script is None else time_script
        self._scripts = {name: Script(name, "".join(self._texts(name).values())) for name in _PARTS}

    def __getitem__(self, name: str) -> Script:
        return self._scripts[name]

    def _texts(self, name: str) -> dict[str, str]:
        """Return what a script consists of, by the files that it comes from."""
        # With a first line like this a server that is full refuses before anything is done, and never in the middle.
        flags = "" if name in _GROWING else " flags=allow-oom"
        head = f"#!lua{flags}\n-- wshttp, schema {SCHEMA}: {name}\n{_CONSTANTS}"
        files = {part: source_of(part) for part in ("clocks", *_PARTS[name], name)}
        return {"": head, "time": self._time} | files

    def place(self, name: str, error: str) -> str:
        """Return the file and line that an error of a script names, as `limits.lua:12`; empty if it names none."""
        found = _LINE.search(error)
        line = int(found[1]) if found else 0
        for file, text in self._texts(name).items():
            if 0 < line <= text.count("\n"):
                return f"{file}.lua:{line}" if file else ""
            line -= text.count("\n")
        return ""
