"""The index: several values per key."""

from __future__ import annotations

from wshttp.stores.index import Index


def test_index_of_an_unknown_key_is_empty() -> None:
    """Nothing is there before it is added, and removing it is no error."""
    index = Index[str, str]()
    index.remove("k", "v")
    assert list(index.get("k")) == []


def test_index_keeps_values_in_order() -> None:
    """Values come in the order in which they were added, each once."""
    index = Index[str, str]()
    for value in ("b", "a", "c", "a"):
        index.add("k", value)
    assert list(index.get("k")) == ["b", "a", "c"]
    index.remove("k", "a")
    index.add("k", "a")
    assert list(index.get("k")) == ["b", "c", "a"]


def test_index_keeps_keys_apart() -> None:
    """What is removed under one key stays under another."""
    index = Index[str, str]()
    index.add("k", "v")
    index.add("l", "v")
    index.remove("k", "v")
    assert (list(index.get("k")), list(index.get("l"))) == ([], ["v"])


def test_index_adds_a_lone_value_once() -> None:
    """A value that is added again under its key does not become two."""
    index = Index[str, object]()
    value = object()
    index.add("k", value)
    index.add("k", value)
    assert list(index.get("k")) == [value]
    index.remove("k", value)
    assert list(index.get("k")) == []


def test_index_of_a_removed_stranger_stays() -> None:
    """Removing a value that is not there leaves the one that is, alone or in company."""
    index = Index[str, object]()
    first, second, stranger = object(), object(), object()
    index.add("k", first)
    index.remove("k", stranger)
    index.add("k", second)
    index.remove("k", stranger)
    assert list(index.get("k")) == [first, second]


def test_index_leaves_nothing_behind() -> None:
    """A key without values takes no memory."""
    index = Index[str, int]()
    for n in range(100):
        for value in range(n % 3 + 1):
            index.add(f"k{n}", value)
    for n in range(100):
        for value in range(n % 3 + 1):
            index.remove(f"k{n}", value)
    assert not index._groups
