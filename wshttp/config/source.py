"""YAML with places: which value came from which line.

YAML means what `yaml.safe_load` takes it to mean, with two differences:
a key that is given twice is a mistake, and every mistake is collected instead of the first one raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import yaml
from yaml.constructor import SafeConstructor

from wshttp.config.kinds import got
from wshttp.config.redis_url import masked

Location = tuple[str | int, ...]

_STANDARD = "tag:yaml.org,2002:"
_MERGE = f"{_STANDARD}merge"
_UNREADABLE = object()


@dataclass(frozen=True, order=True)
class Place:
    """Where something was written: `label` names it, `rank` and `line` put places in order."""

    rank: int
    line: int
    label: str

    def __str__(self) -> str:
        return self.label


@dataclass(frozen=True)
class Mistake:
    """What is wrong, and where; `location` is empty for what concerns a whole file."""

    place: Place
    location: Location
    text: str

    def __str__(self) -> str:
        parts = [str(self.place), key_path(self.location), self.text] if self.location else [str(self.place), self.text]
        # Keys, values and file names may hold line breaks; a mistake is one line all the same.
        line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in ": ".join(parts))
        # A URL that was put under the wrong key is quoted like any value, but for its password.
        return masked(line)


class Entry(NamedTuple):
    """A key of a mapping, where it stands, and its value."""

    place: Place
    value: Located


@dataclass(frozen=True)
class Located:
    """A value from YAML with its place; mappings and lists have located values in turn."""

    place: Place
    value: object

    @property
    def entries(self) -> dict[str, Entry] | None:
        """The entries of a mapping; `None` for anything else."""
        return self.value if isinstance(self.value, dict) else None


@dataclass
class Document:
    """What was read, and the mistakes that were found doing so.

    `root` is `None` where nothing could be read, or nothing was there.
    """

    root: Located | None = None
    mistakes: list[Mistake] = field(default_factory=list)


def key_path(location: Location) -> str:
    """Return a location as people write it: `auth.protect[0].roles`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).removeprefix(".")


def read_yaml(text: str, place: Callable[[int], Place]) -> Document:
    """Read one YAML document; `place` makes a place from a line number, counted from 1."""
    document = Document()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        root = _Walk(place, document.mistakes).value(node, ()) if node else None
        document.root = root if root and _readable(root) else None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        document.mistakes.append(Mistake(place(line), (), f"not YAML: holds the character U+{_code(error):04X}"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.mistakes.append(
            Mistake(place(mark.line + 1 if mark else 1), (), f"not YAML: {_in_plain_words(error)}")
        )
    except RecursionError:
        document.mistakes.append(Mistake(place(1), (), "not YAML for settings: nested too deeply"))
    return document


def _in_plain_words(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be read"
    if "'\\t'" in problem:
        return "a tab stands where only spaces may indent"
    if "alias" in f"{error.context} {problem}":
        return "a value that begins with * refers to an anchor; put text that begins with * in quotes"
    if problem.endswith("another document"):
        return "holds more than one document"
    if problem.startswith(("found character", "expected the node content")):
        return f"{problem} (put text that begins with a special character in quotes)"
    return problem


def _code(error: yaml.reader.ReaderError) -> int:
    # PyYAML gives the number of the character, whatever its stubs say.
    return int(error.character)


def _readable(node: Located) -> bool:
    """Tell whether a value was read; what was not is reported, and left out."""
    return node.value is not _UNREADABLE


class _Walk:
    """One pass over the nodes of a document.

    A node that several aliases name is read once and shared, so a few lines cannot grow to gigabytes.
    """

    def __init__(self, place: Callable[[int], Place], mistakes: list[Mistake]) -> None:
        self._place = place
        self._mistakes = mistakes
        self._read: dict[int, Located] = {}
        self._open: set[int] = set()
        self._scalars = SafeConstructor()

    def value(self, node: yaml.Node, location: Location) -> Located:
        if id(node) in self._open:
            self._report(node, location, "contains itself")
            return Located(self._of(node), _UNREADABLE)
        if id(node) not in self._read:
            self._open.add(id(node))
            self._read[id(node)] = Located(self._of(node), self._content(node, location))
            self._open.discard(id(node))
        return self._read[id(node)]

    def _content(self, node: yaml.Node, location: Location) -> object:
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_STANDARD}map":
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_STANDARD}seq":
            items = [self.value(item, (*location, index)) for index, item in enumerate(node.value)]
            return [item for item in items if _readable(item)]
        return self._scalar(node, location)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Entry]:
        own: dict[str, Entry] = {}
        inherited: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                inherited = {**self._merged(value_node, location), **inherited}
            elif (key := self._key(key_node, location)) is not None:
                if key in own:
                    self._report(key_node, (*location, key), f"is given twice, first at {own[key].place}")
                own[key] = Entry(self._of(key_node), self.value(value_node, (*location, key)))
        return {key: entry for key, entry in {**inherited, **own}.items() if _readable(entry.value)}

    def _key(self, node: yaml.Node, location: Location) -> str | None:
        key = self.value(node, location)
        if isinstance(key.value, str):
            return key.value
        if _readable(key):
            self._report(node, location, f"wants text for a key; got {got(key.value)} (put it in quotes)")
        return None

    def _merged(self, node: yaml.Node, location: Location) -> dict[str, Entry]:
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, Entry] = {}
        for item in items:
            entries = self.value(item, location).entries
            if entries is None:
                self._report(item, location, "`<<` wants a mapping, or a list of mappings")
            # The first of several mappings wins: https://yaml.org/type/merge.html
            found = {**(entries or {}), **found}
        return found

    def _scalar(self, node: yaml.Node, location: Location) -> object:
        try:
            if isinstance(node, yaml.ScalarNode):
                return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError):
            # PyYAML fails in all these ways on a value that its tag does not fit, such as `!!bool maybe` or 2026-13-01.
            pass
        self._report(node, location, f"cannot be read as {node.tag.removeprefix(_STANDARD)} (put text in quotes)")
        return _UNREADABLE

    def _of(self, node: yaml.Node) -> Place:
        return self._place(node.start_mark.line + 1)

    def _report(self, node: yaml.Node, location: Location, text: str) -> None:
        self._mistakes.append(Mistake(self._of(node), location, text))


def plain(root: Located) -> object:
    """Return the values without their places; what aliases share stays shared."""
    return _plain(root, {})


def _plain(node: Located, done: dict[int, object]) -> object:
    if id(node) not in done:
        if isinstance(node.value, dict):
            done[id(node)] = {key: _plain(entry.value, done) for key, entry in node.value.items()}
        elif isinstance(node.value, list):
            done[id(node)] = [_plain(item, done) for item in node.value]
        else:
            done[id(node)] = node.value
    return done[id(node)]


def places_along(root: Located, location: Location) -> Iterator[Place]:
    """Yield the place of each step of a location, from the root on, as far as it exists."""
    node = root
    yield node.place
    for part in location:
        if isinstance(node.value, dict) and part in node.value:
            place, node = node.value[part]
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            place = node.place
        else:
            return
        yield place
