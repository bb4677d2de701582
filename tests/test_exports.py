"""What `from wshttp import ...` gives: all that an application needs, and all of it documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import environment

import wshttp
from wshttp import errors, testing
from wshttp.sessions.notifier import Notifier
from wshttp.sessions.store import Store

ROOT = Path(__file__).parents[1]
PORTS = {"Hub": Notifier, "MemoryStore": Store, "SqliteStore": Store}
"""The protocols that say what the methods of these are for."""

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.py")])


def test_exports_are_what_the_front_door_imports() -> None:
    """`__all__` names what `wshttp/__init__.py` imports: in order, nothing more, nothing less."""
    tree = ast.parse(Path(str(wshttp.__file__)).read_text())
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    assert set(wshttp.__all__) == imported
    assert wshttp.__all__ == sorted(wshttp.__all__)
    assert testing.__all__ == sorted(testing.__all__)


@pytest.mark.interpreted(reason="compiled classes have no docstrings")
@pytest.mark.parametrize("name", wshttp.__all__)
def test_export_has_a_docstring_and_so_has_what_it_offers(name: str) -> None:
    """Each exported name, its public methods and properties say in a sentence what they are for."""
    thing = getattr(wshttp, name)
    assert says_something(thing), name
    if inspect.isclass(thing) and thing.__module__.startswith("wshttp"):
        silent = [
            member
            for member, value in vars(thing).items()
            if not member.startswith("_")
            and (inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod))
            and not says_something(getattr(thing, member))
            and not says_something(getattr(PORTS.get(name), member, None))
        ]
        assert silent == []


def says_something(thing: object) -> bool:
    """Tell whether there is a docstring, of its own or of what it overrides, with a sentence in it."""
    text = (inspect.getdoc(thing) or "") if thing is not None else ""
    return bool(re.match(r"\S.*[.:]", text.split("\n\n")[0], re.DOTALL))


def test_exports_are_documented_on_one_page() -> None:
    """`docs/reference/python.md` has a row for each name, and for nothing that is not exported."""
    page = (ROOT / "docs/reference/python.md").read_text()
    rows = [name for cell in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(rows) == wshttp.__all__
    status = dict(re.findall(r"^\| `(\w+)` \| ([\d, ]*) \|", page, re.MULTILINE))
    told = {name: {int(number) for number in re.findall(r"\d+", numbers)} for name, numbers in status.items()}
    answers = {kind.__name__: {answer.status} for kind, answer in errors._ANSWERS.items()}
    answers["LimitReached"] |= {errors._LIMIT_IN_ALL.status}
    assert {name: numbers for name, numbers in told.items() if numbers} == {
        name: numbers for name, numbers in answers.items() if name in wshttp.__all__
    }


def test_documents_import_only_what_is_there() -> None:
    """What they show after `from wshttp... import` exists, and of `wshttp` itself is exported."""
    missing = []
    for document in DOCUMENTS:
        for module, names in re.findall(
            r"^\s*from (wshttp[\w.]*) import (\([^)]*\)|[^#\n]*)", document.read_text(), re.M
        ):
            found = importlib.import_module(module)
            public = getattr(found, "__all__", dir(found))
            missing += [f"{document.name}: {module}.{name}" for name in re.findall(r"\w+", names) if name not in public]
    assert missing == []


def test_errors_that_an_application_meets_are_exported() -> None:
    """All of the tree but what is only ever raised within the package, each with its reason."""
    inside = {
        "PeerError": "a branch",
        "BackendError": "a branch",
        "ClientDisconnected": "there is nobody to answer",
        "UnknownReason": "an application fixes it, and does not catch it",
    }
    tree = {
        name for name, thing in vars(errors).items() if inspect.isclass(thing) and issubclass(thing, errors.WshttpError)
    }
    assert tree - set(wshttp.__all__) == set(inside)


def test_import_works_without_the_tools_of_the_tests() -> None:
    """`import wshttp` and the command line pull in nothing that only the tests install."""
    forbidden = ["pytest", "hypothesis", "websockets", "cryptography"]
    program = f"import sys, wshttp, wshttp.cli; print([name for name in {forbidden} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
