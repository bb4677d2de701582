"""On which engine the servers of a test run: on the native one, and where the test has to do with it, on stock Tornado too.

A test of a module that makes servers in its own process (`new_server`, `HTTPServer`) runs once on each, and so do those
marked `both_engines`, whose servers are processes. The others run on the engine that is chosen by default, and those
marked `no_engine` among their neighbours without one.

    pytest --engine=tornado    # or native: only the tests that have to do with an engine, on this one
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from tornado.httpserver import HTTPServer

from wshttp.engine.native import NativeServer

ENGINES: Final = ("native", "tornado")
"""As `server.engine` calls them."""

_MAKERS: Final = {"new_server", "admin_server", "HTTPServer"}
"""Names by which a module of tests makes servers."""

_CHOOSE_THEMSELVES: Final = [Path(__file__).parent / folder for folder in ("engine", "conformance")]
"""Folders of tests that name the engine that they are about."""

_in_use = "native"


def is_native() -> bool:
    """Tell whether the servers of this test are the native engine's."""
    return _in_use == "native"


def setting() -> Mapping[str, str]:
    """Return what chooses the engine among the settings of `server`: nothing for the one that is there anyway."""
    return {} if is_native() else {"engine": _in_use}


def variables() -> Mapping[str, str]:
    """Return the same for the environment of a process."""
    return {f"WSHTTP_SERVER__{name.upper()}": value for name, value in setting().items()}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=ENGINES, help="run only tests that have to do with it, on this engine")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if _has_to_do_with_it(metafunc):
        chosen = metafunc.config.getoption("--engine")
        metafunc.parametrize("engine_in_use", [chosen] if chosen else ENGINES, indirect=True, scope="module")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--engine"):
        others = [item for item in items if not _is_of_an_engine(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if _is_of_an_engine(item)]


@pytest.fixture(autouse=True, scope="module")
def engine_in_use(request: pytest.FixtureRequest) -> Iterator[str]:
    """Have every server of a test be of one engine, those of Tornado's own name too; the name of the engine.

    A server that several tests share is made by a fixture that asks for this one.
    """
    global _in_use
    before, _in_use = _in_use, getattr(request, "param", _in_use)
    if hasattr(request, "param"):
        HTTPServer.configure(NativeServer if is_native() else None)
    yield _in_use
    _in_use = before
    HTTPServer.configure(None)


def _has_to_do_with_it(metafunc: pytest.Metafunc) -> bool:
    if any(folder in metafunc.definition.path.parents for folder in _CHOOSE_THEMSELVES):
        return False
    names: dict[str, Any] = vars(metafunc.module)
    if metafunc.definition.get_closest_marker("no_engine") is not None:
        return False
    marked = metafunc.definition.get_closest_marker("both_engines") is not None
    return marked or not _MAKERS.isdisjoint(names)


def _is_of_an_engine(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and "engine_in_use" in callspec.params
