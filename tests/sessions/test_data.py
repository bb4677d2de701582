"""Session data: JSON values, and containers that notice changes."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from wshttp.errors import InvalidValue
from wshttp.sessions.changes import encoded_text, sum_for_increment
from wshttp.sessions.data import (
    CONTAINERS,
    MAX_DEPTH,
    MAX_INTEGER,
    checked,
    checked_key,
    checked_seconds,
    encoded_size,
    value_size,
)
from wshttp.sessions.tracked import tracked


class Color(str, enum.Enum):  # noqa: UP042 -- not StrEnum: the text of this one is its name
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _endless() -> list[Any]:
    value: list[Any] = []
    value.append({"a": value})
    return value


GOOD = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    -0.0,
    1e308,
    MAX_INTEGER,
    -MAX_INTEGER,
    "",
    "é\0😀\u2028",
    [],
    {},
    [1, [2, {"a": [None]}]],
    {"": {"b": [True, 1, 1.0]}},
    _nested(MAX_DEPTH),
]

BAD = [
    MAX_INTEGER + 1,
    -MAX_INTEGER - 1,
    10**400,
    math.inf,
    -math.inf,
    math.nan,
    "\ud800",
    b"bytes",
    bytearray(b"x"),
    (1, 2),
    {1, 2},
    frozenset(),
    range(3),
    object(),
    int,
    len,
    1j,
    decimal.Decimal(1),
    datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
    {1: "a"},
    {None: "a"},
    {True: "a"},
    {("a",): 1},
    {"\ud800": 1},
    [object()],
    {"a": [{"b": math.nan}]},
    _nested(MAX_DEPTH + 1),
    _endless(),
]


@pytest.mark.feature("T1")
@pytest.mark.parametrize("value", GOOD, ids=repr)
def test_json_values_are_taken_as_they_are(value: Any) -> None:
    """Every JSON value is accepted and comes out as the same JSON text, tracked or not."""
    text = json.dumps(value)
    assert json.dumps(checked(value)) == text
    assert json.dumps(tracked(value, lambda: None)) == text


@pytest.mark.feature("T1")
@pytest.mark.parametrize("value", BAD, ids=lambda value: type(value).__name__)
def test_other_values_are_refused_wherever_they_are(value: Any) -> None:
    """`InvalidValue` at once, at the top, inside, and on every way into a tracked container."""
    changes: list[None] = []
    items = tracked([0], lambda: changes.append(None))
    pairs = tracked({"a": 0}, lambda: changes.append(None))
    calls: list[Callable[[], Any]] = [
        lambda: checked(value),
        lambda: checked({"a": [value]}),
        lambda: items.append(value),
        lambda: items.insert(0, value),
        lambda: items.extend([value]),
        lambda: items.__iadd__([value]),
        lambda: items.__setitem__(0, value),
        lambda: items.__setitem__(slice(0, 1), [value]),
        lambda: pairs.__setitem__("a", value),
        lambda: pairs.setdefault("b", value),
        lambda: pairs.update({"a": value}),
        lambda: pairs.update(a=value),
        lambda: pairs.__ior__({"a": value}),
    ]
    for call in calls:
        with pytest.raises(InvalidValue):
            call()
    assert (items, pairs, changes) == ([0], {"a": 0}, [])


def test_numbers_keep_their_kind() -> None:
    """1, 1.0 and true are three values, though Python calls them equal."""
    assert [type(value) for value in checked([1, 1.0, True])] == [int, float, bool]
    assert len({encoded_text(value) for value in (1, 1.0, True, "1", None)}) == 5


def test_subclasses_become_plain_values() -> None:
    """A member of an enumeration is stored as what it stands for."""
    for given, expected in ((Color.RED, "red"), (Number.ONE, 1), ({Color.RED: [Color.RED]}, {"red": ["red"]})):
        value = checked(given)
        assert value == expected
        assert json.dumps(value) == json.dumps(expected)
    assert type(checked(Color.RED)) is str
    assert type(checked(Number.ONE)) is int


def test_value_is_copied_when_it_is_taken() -> None:
    """What the caller does to its own list or dictionary afterwards changes nothing."""
    inner: list[Any] = [1]
    given = {"a": inner}
    taken = tracked(given, lambda: None)
    inner.append(2)
    given["b"] = []
    assert taken == {"a": [1]}


LIST_CHANGES: dict[str, Callable[[list[Any]], Any]] = {
    "setitem": lambda v: v.__setitem__(0, 9),
    "setitem slice": lambda v: v.__setitem__(slice(0, 2), [7, 8, 9]),
    "setitem every second": lambda v: v.__setitem__(slice(None, None, 2), [7, 8]),
    "delitem": lambda v: v.__delitem__(0),
    "delitem slice": lambda v: v.__delitem__(slice(0, 2)),
    "append": lambda v: v.append(9),
    "extend": lambda v: v.extend([8, 9]),
    "extend by itself": lambda v: v.extend(v),
    "iadd": lambda v: v.__iadd__((8, 9)),
    "imul": lambda v: v.__imul__(3),
    "insert": lambda v: v.insert(1, 9),
    "pop": lambda v: v.pop(),
    "pop first": lambda v: v.pop(0),
    "remove": lambda v: v.remove(1),
    "clear": lambda v: v.clear(),
    "sort": lambda v: v.sort(key=str, reverse=True),
    "reverse": lambda v: v.reverse(),
}

DICT_CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "setitem": lambda v: v.__setitem__("a", 9),
    "setitem new": lambda v: v.__setitem__("z", 9),
    "delitem": lambda v: v.__delitem__("a"),
    "pop": lambda v: v.pop("a"),
    "popitem": lambda v: v.popitem(),
    "setdefault": lambda v: v.setdefault("z", []),
    "update": lambda v: v.update({"a": 9}, z=8),
    "update from pairs": lambda v: v.update([("a", 9)]),
    "ior": lambda v: v.__ior__({"a": 9}),
    "clear": lambda v: v.clear(),
}

LIST = [3, 1, [2], {"x": 1}]
DICT = {"a": 1, "b": [2], "c": {"x": 1}}


@pytest.mark.feature("T4")
@pytest.mark.parametrize("change", LIST_CHANGES.values(), ids=LIST_CHANGES)
@pytest.mark.parametrize("path", [(), ("a",), ("a", 0, "b")], ids=str)
def test_every_change_of_a_list_is_noticed(change: Callable[[list[Any]], Any], path: tuple[Any, ...]) -> None:
    """Each way to change a list, however deep, is reported, and does what it does to a plain one."""
    _check_change(change, copy.deepcopy(LIST), path)


@pytest.mark.feature("T4")
@pytest.mark.parametrize("change", DICT_CHANGES.values(), ids=DICT_CHANGES)
@pytest.mark.parametrize("path", [(), ("a",), ("a", 0, "b")], ids=str)
def test_every_change_of_a_dictionary_is_noticed(change: Callable[[Any], Any], path: tuple[Any, ...]) -> None:
    """Each way to change a dictionary, however deep, is reported, and does what it does to a plain one."""
    _check_change(change, copy.deepcopy(DICT), path)


def _check_change(change: Callable[[Any], Any], plain: Any, path: tuple[Any, ...]) -> None:
    root = plain
    for step in reversed(path):
        root = [root] if step == 0 else {step: root}
    changes: list[None] = []
    value = tracked(root, lambda: changes.append(None))
    inner = value
    for step in path:
        inner = inner[step]
    assert not changes
    assert encoded_text(change(inner)) == encoded_text(change(plain))
    assert changes
    assert encoded_text(value) == encoded_text(root)
    _check_that_all_is_tracked(inner, changes)


def _check_that_all_is_tracked(value: Any, changes: list[None]) -> None:
    """Containers that came in by a change report theirs, too."""
    for item in list(value.values() if isinstance(value, dict) else value):
        if isinstance(item, CONTAINERS):
            changes.clear()
            item.clear()
            assert changes


@pytest.mark.feature("T4")
@pytest.mark.parametrize(
    "look",
    [
        lambda v: v["l"].copy().append(1),
        lambda v: (v["l"] + [1]).clear(),
        lambda v: (v["l"] * 2).clear(),
        lambda v: v["l"][:].clear(),
        lambda v: sorted(v["l"]).clear(),
        lambda v: v.copy().clear(),
        lambda v: (v | {"a": 1}).clear(),
        lambda v: [
            *v,
            *v.values(),
            *v.items(),
            len(v),
            "l" in v,
            v.get("x"),
            v == {},
            v["l"].index(1),
            v["l"].count(1),
        ],
        lambda v: copy.deepcopy(v)["l"].append(1),
        lambda v: pickle.loads(pickle.dumps(v))["l"].append(1),
        json.dumps,
    ],
)
def test_looking_is_no_change(look: Callable[[Any], Any]) -> None:
    """Reading, and changing a copy, is not reported."""
    changes: list[None] = []
    look(tracked({"l": [1, 2]}, lambda: changes.append(None)))
    assert not changes


def test_change_that_fails_leaves_things_as_they_are() -> None:
    """Python's own errors come through, and nothing was changed."""
    changes: list[None] = []
    value = tracked({"l": [1]}, lambda: changes.append(None))
    for error, call in (
        (KeyError, lambda: value.pop("x")),
        (KeyError, lambda: value.__delitem__("x")),
        (IndexError, lambda: value["l"].pop(5)),
        (IndexError, lambda: value["l"].__setitem__(5, 1)),
        (ValueError, lambda: value["l"].remove(5)),
        (ValueError, lambda: value["l"].__setitem__(slice(None, None, 2), [1, 2, 3])),
    ):
        with pytest.raises(error):
            call()
    assert (value, changes) == ({"l": [1]}, [])


def test_sort_that_fails_is_noticed() -> None:
    """A failed sort may leave another order behind."""
    changes: list[None] = []
    with pytest.raises(TypeError):
        tracked([2, 1, "a"], lambda: changes.append(None)).sort()
    assert changes


def test_copies_are_plain() -> None:
    """What is copied or pickled does not carry the session with it."""
    value = tracked({"l": [{}]}, lambda: None)
    for plain in (copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert type(plain) is dict
        assert type(plain["l"]) is list
        assert type(plain["l"][0]) is dict


def test_repeated_containers_are_apart() -> None:
    """After `*=` each copy is its own, as in JSON."""
    value = tracked([[1]], lambda: None)
    value *= 2
    value[0].append(2)
    assert value == [[1, 2], [1]]


def test_depth_counts_from_the_top() -> None:
    """What is put into a deep place may be as deep as is left."""
    value = tracked(_nested(MAX_DEPTH), lambda: None)
    while value[0] != 1:
        value = value[0]
    with pytest.raises(InvalidValue):
        value.append([2])
    value.append(2)


@pytest.mark.parametrize("key", [1, None, True, 1.5, b"a", ("a",), "\ud800"])
def test_key_that_is_no_text_is_refused(key: Any) -> None:
    """Keys are text that UTF-8 can carry."""
    with pytest.raises(InvalidValue):
        checked_key(key)


def test_size_is_that_of_the_json_text() -> None:
    """In bytes of UTF-8, each with its share of punctuation."""
    data = {"a": 1, "ü": ["é", {"x": None}], "": "😀\n"}
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    assert sum(encoded_size(key, value) for key, value in data.items()) == len(text) - 1


@pytest.mark.parametrize("value", GOOD, ids=repr)
def test_size_of_each_kind_is_that_of_its_text(value: Any) -> None:
    """Whether or not there is a quicker way to it."""
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    assert encoded_size("a", value) == len('"a":,') + size
    assert value_size(value) == size


@pytest.mark.parametrize("value", [-1, math.inf, math.nan, "1", None, True, 1e12, 1e308, 10**400])
def test_seconds_that_are_none_are_refused(value: Any) -> None:
    """A time-out is a number from 0 up, and none with which no store could reckon."""
    with pytest.raises(InvalidValue):
        checked_seconds(value)


@pytest.mark.parametrize(
    ("current", "by"),
    [
        *((current, 1) for current in (True, "1", None, [], MAX_INTEGER)),
        *((1, by) for by in (True, "1", None, math.nan, math.inf)),
        (1e308, 1e308),
        (1.5, 10**400),
    ],
)
def test_sum_that_is_no_number_is_refused(current: Any, by: Any) -> None:
    """Increments work on numbers that a session can hold."""
    with pytest.raises(InvalidValue):
        sum_for_increment(current, by)
