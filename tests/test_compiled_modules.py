"""What is compiled keeps to what the compiler can do: where it does not, it takes the source and makes what crashes."""

from __future__ import annotations

import ast
import asyncio
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from wshttp.sessions.decorators import SessionDecorators

ROOT: Final = Path(__file__).parents[1]

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPILED: Final[list[str]] = _PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]["include"]

STATELESS: Final = {
    "Protocol",
    "Generic",
    "Enum",
    "StrEnum",
    "NamedTuple",
    "asyncio.Protocol",
    "SessionDecorators",
    "Transport",
}
"""Bases that are not compiled, and whose objects have no state of their own: neither a dictionary nor weak references."""

BUILT_IN: Final = {"Exception"}
"""What the compiler knows how to derive from."""


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for name in COMPILED:
        yield name, ast.parse((ROOT / name).read_text())


def _classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def _bases(found: ast.ClassDef) -> list[str]:
    return [ast.unparse(base).partition("[")[0] for base in found.bases]


@pytest.fixture(scope="module")
def own() -> set[str]:
    """Return the names of all classes that are compiled."""
    return {found.name for _, tree in _trees() for found in _classes(tree)}


def test_compiled_modules_exist() -> None:
    """The list names files, each once."""
    assert [name for name in COMPILED if not (ROOT / name).is_file()] == []
    assert len(set(COMPILED)) == len(COMPILED)


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_class_has_no_base_with_a_state_of_its_own(name: str, own: set[str]) -> None:
    """An object of such a class has its fields where its base has a dictionary."""
    for found in _classes(ast.parse((ROOT / name).read_text())):
        assert set(_bases(found)) <= own | STATELESS | BUILT_IN, found.name


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_dataclass_has_no_slots(name: str) -> None:
    """A class that is made a second time, as one with slots is, is not the one that was compiled."""
    for found in _classes(ast.parse((ROOT / name).read_text())):
        for decorator in found.decorator_list:
            assert "slots=True" not in ast.unparse(decorator), found.name


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_function_does_not_wait_with_an_error_in_hand(name: str) -> None:
    """The error would be in force for whatever runs meanwhile, and raised there once more (mypyc 2.4)."""
    for found in ast.walk(ast.parse((ROOT / name).read_text())):
        if isinstance(found, ast.Try):
            handling = [*found.finalbody, *(part for handler in found.handlers for part in handler.body)]
            assert not [node for part in handling for node in ast.walk(part) if isinstance(node, ast.Await)], (
                found.lineno
            )
        if isinstance(found, ast.AsyncWith):  # its end is such a wait, but for a time-out's, which takes no time
            assert ast.unparse(found.items[0].context_expr).startswith("asyncio.timeout("), found.lineno


def test_base_without_state_has_none() -> None:
    """What this file takes for stateless is."""
    for base in (asyncio.Protocol, SessionDecorators):
        for found in base.__mro__[:-1]:
            assert found.__dict__.get("__slots__") == (), found
