"""Where settings come from: a file, the environment, the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wshttp.config.kinds import got
from wshttp.config.source import Document, Entry, Located, Mistake, Place, read_yaml

LARGEST_FILE = 2**20
"""The largest settings file, in bytes: far above any real one, and read in seconds."""

_PREFIX = "WSHTTP_"


@dataclass
class Source:
    """What one source says, and the mistakes in it; `complete` unless nothing is known of what it says."""

    root: Located
    mistakes: list[Mistake] = field(default_factory=list)
    complete: bool = True


def from_file(path: str | os.PathLike[str] | None) -> Iterator[Source]:
    """Read a YAML file; `None`: no file, no source."""
    if path is None:
        return
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
        yield _from_content(name, content)
    except OSError as error:
        yield _unread(Place(1, 0, name), f"cannot be read: {error.strerror}")
    except ValueError:  # from open: a NUL in the path
        yield _unread(Place(1, 0, repr(name)), "cannot be read: no file has such a name")


def from_environment(environ: Mapping[str, str]) -> Iterator[Source]:
    """Read each variable `WSHTTP_SECTION__KEY`, and `WSHTTP_APP`, as a source of one setting."""
    for name in sorted(environ):
        # Only names of exactly this form are ours; WSHTTP_HOME or WSHTTP_TOKEN may be anybody's.
        rest = name.removeprefix(_PREFIX)
        if name.startswith(_PREFIX) and ("__" in rest or rest == "APP"):
            path = tuple(part.lower() for part in rest.split("__"))
            yield _single(path, environ[name], Place(2, 0, f"environment {name}"))


def from_command_line(overrides: Sequence[str]) -> Iterator[Source]:
    """Read each `key.path=value` as a source of one setting."""
    for rank, override in enumerate(overrides, start=3):
        key, equals, value = override.partition("=")
        path = tuple(key.strip().split("."))
        # A secret should be in no log, and the key is enough to find it.
        place = Place(rank, 0, f"--set {key}" if _holds_a_secret(override) else f"--set {override}")
        yield (
            _single(path, value, place) if equals else _unread(place, "wants key.path=value, such as server.port=8080")
        )


def _holds_a_secret(override: str) -> bool:
    # The URL of the store may have a password in it, be it given alone or with the whole section.
    return "secret" in override or (override.lstrip().startswith("store") and "url" in override)


def _from_content(name: str, content: bytes) -> Source:
    def place(line: int) -> Place:
        return Place(1, line, f"{name}:{line}")

    if len(content) > LARGEST_FILE:
        return _unread(Place(1, 0, name), "is over 1 MiB, which no settings file needs")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        return _unread(place(content.count(b"\n", 0, error.start) + 1), "is not UTF-8 text")
    return _from_document(read_yaml(text, place), place(1))


def _from_document(document: Document, place: Place) -> Source:
    if document.root is None or document.root.value is None:
        return Source(Located(place, {}), document.mistakes, complete=not document.mistakes)
    if document.root.entries is None:
        return _unread(
            document.root.place, f"wants settings such as `server: {{port: 8080}}`; got {got(document.root.value)}"
        )
    return Source(document.root, document.mistakes)


def _unread(place: Place, text: str) -> Source:
    return Source(Located(place, {}), [Mistake(place, (), text)], complete=False)


def _single(path: tuple[str, ...], text: str, place: Place) -> Source:
    """Make a source of one value, as if it stood in a file under its path."""
    document = read_yaml(text, lambda line: place)
    if document.mistakes and document.root is None:
        # Not in YAML's own words: they may quote the value, and the value may be a secret.
        return Source(Located(place, {}), [Mistake(place, path, "is not YAML; put text in quotes")])
    root = document.root or Located(place, None)
    for name in reversed(path):
        root = Located(place, {name: Entry(place, root)})
    return Source(root, [replace(mistake, location=(*path, *mistake.location)) for mistake in document.mistakes])
