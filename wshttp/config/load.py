"""Settings from a file, the environment and the command line, with every mistake in one report.

Each source is checked by itself, so that what a later source overrides is reported too.
Then the sources are laid over each other, and the whole is checked for contradictions.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from wshttp.config.catalogue import BY_PATH, KEYS, SECTIONS, SETTINGS, Path
from wshttp.config.coherence import Contradictions
from wshttp.config.kinds import got
from wshttp.config.models import Settings
from wshttp.config.origins import Source, from_command_line, from_environment, from_file
from wshttp.config.source import Entry, Located, Location, Mistake, Place, places_along, plain
from wshttp.errors import ConfigurationError


def load_settings(
    path: str | os.PathLike[str] | None,
    *,
    environ: Mapping[str, str] = os.environ,
    overrides: Sequence[str] = (),
) -> Settings:
    """Load settings: the defaults, then a file, then `environ`, then `overrides`.

    `path` is a YAML file; `None`: no file.
    `environ` counts with its names of the form `WSHTTP_SECTION__KEY`, and `WSHTTP_APP`.
    `overrides` are `key.path=value` strings, the later over the earlier; all values are YAML.

    Raises `ConfigurationError` with every mistake, one line each:

        <file as given>:<line>: <key path>: <what is wrong>
        environment WSHTTP_X__Y: <key path>: <what is wrong>
        --set <key.path=value as given>: <key path>: <what is wrong>

    A mistake that concerns a file as a whole has no key path, and no line where there is none.
    """
    sources = [*from_file(path), *from_environment(environ), *from_command_line(overrides)]
    merged = Located(Place(0, 0, "settings"), {})
    for source in sources:
        _check(source)
        merged = _overlay(merged, source.root)
    mistakes = [mistake for source in sources for mistake in source.mistakes]
    try:
        settings = Settings.model_validate(plain(merged))
    except ValidationError as error:
        if all(source.complete for source in sources):
            mistakes += _contradictions(error, merged, known=[_setting(mistake.location) for mistake in mistakes])
    if mistakes:
        raise ConfigurationError([str(mistake) for mistake in sorted(mistakes, key=lambda mistake: mistake.place)])
    return settings


# --- one source ---------------------------------------------------------------------------------


def _check(source: Source) -> None:
    """Add a source's mistakes in single settings to it, and take these settings out of it."""
    source.root = _overlay(Located(source.root.place, {}), source.root)
    try:
        Settings.model_validate(plain(source.root))
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            if detail["loc"]:
                location = tuple(part for part in detail["loc"] if part != "[key]")
                source.mistakes.append(Mistake(_place(source.root, location), location, _words(detail, location)))
        for mistake in source.mistakes:
            source.root = _without(source.root, _setting(mistake.location))


def _words(detail: Any, location: Location) -> str:
    path = tuple(part for part in location if isinstance(part, str))
    match detail["type"]:
        case "unwanted":
            return str(detail["msg"])
        case "extra_forbidden":
            return f"no such setting; {_nearest(path)}"
        case "missing":
            return "is missing"
        case "model_type" if path in SECTIONS:
            return f"wants keys of its own ({', '.join(KEYS[path])}); got {got(detail['input'])}"
        case _:
            # What has a kind says itself what it wants; lists and mappings are left, and of those only roles lie deeper.
            wants = BY_PATH[path].wants if path in BY_PATH else "a list of roles, such as [admin]"
            return f"wants {wants}; got {got(detail['input'])}"


def _nearest(path: Path) -> str:
    """Name the key that was probably meant: one beside it, or one of this name elsewhere, or all that there are."""
    beside = KEYS.get(path[:-1], ())
    if near := difflib.get_close_matches(path[-1], beside, n=1):
        return f"did you mean `{near[0]}`?"
    elsewhere = {setting.path[-1]: setting.key for setting in reversed(SETTINGS)}
    if near := difflib.get_close_matches(path[-1], elsewhere, n=1, cutoff=0.8):
        return f"did you mean `{elsewhere[near[0]]}`?"
    return f"there are {', '.join(beside)}"


def _place(root: Located, location: Location) -> Place:
    *_, place = places_along(root, location)
    return place


def _setting(location: Location) -> Path:
    """Cut a location off at the setting, or at the key that does not exist."""
    depth = next((depth for depth in range(len(location)) if location[:depth] not in SECTIONS), len(location))
    return tuple(str(part) for part in location[:depth])


def _without(root: Located, path: Path) -> Located:
    entries = dict(root.entries or {})
    if not path or path[0] not in entries:
        return root
    place, value = entries.pop(path[0])
    if path[1:]:
        entries[path[0]] = Entry(place, _without(value, path[1:]))
    return replace(root, value=entries)


# --- all sources --------------------------------------------------------------------------------


def _overlay(lower: Located, upper: Located, path: Path = ()) -> Located:
    """Lay one source over another, setting by setting.

    A section without any key below it, as when all are commented out, is an empty one.
    """
    entries = dict(lower.entries or {})
    for name, (place, value) in (upper.entries or {}).items():
        inner = (*path, name)
        if inner in SECTIONS and (value.entries is not None or value.value is None):
            below = entries[name].value if name in entries else Located(place, {})
            value = _overlay(below, value, inner)
        entries[name] = Entry(place, value)
    return replace(lower, value=entries)


def _contradictions(error: ValidationError, merged: Located, known: list[Path]) -> Iterator[Mistake]:
    """Turn contradictions into mistakes, without those that only follow from mistakes that are known."""
    for detail in error.errors(include_url=False):
        cause = detail.get("ctx", {}).get("error")
        for one in cause.found if isinstance(cause, Contradictions) else ():
            paths = [tuple(key.split(".")) for key in (one.key, *one.others)]
            if not any(path[: len(bad)] == bad for path in paths for bad in known if bad):
                yield Mistake(_blamed(paths, merged), paths[0], one.text)


def _blamed(paths: list[Path], merged: Located) -> Place:
    """The place of the key to change or, where that has its default, of the first of the others that is written."""
    for path in paths:
        places = list(places_along(merged, path))
        if len(places) == len(path) + 1:
            return places[-1]
    return merged.place
