"""The engines under test, and how a program takes one in place of Tornado's own server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

import pytest
from tornado.httpserver import HTTPServer

ENGINES: Final = ("stock", "native")
LOOPS: Final = ("asyncio", "uvloop")

HAS_NATIVE: Final = find_spec("wshttp.engine.native") is not None
HAS_UVLOOP: Final = find_spec("uvloop") is not None

NEEDS_NATIVE: Final = pytest.mark.skipif(not HAS_NATIVE, reason="there is no native engine")
NEEDS_UVLOOP: Final = pytest.mark.skipif(not HAS_UVLOOP, reason="needs uvloop")

EACH_ENGINE: Final = [pytest.param("stock"), pytest.param("native", marks=NEEDS_NATIVE)]
"""For `pytest.mark.parametrize("engine", EACH_ENGINE)`."""


def server_of(engine: str) -> Callable[..., HTTPServer]:
    """Return the class of server that an engine is."""
    if engine == "native":
        from wshttp.engine.native import NativeServer

        return NativeServer
    from wshttp.engine.stock import StockServer

    return StockServer


def take(engine: str) -> None:
    """Have every `HTTPServer` of this process be of this engine, and every `WebSocketHandler` on it."""
    if engine == "native":
        from wshttp.engine.install import install

        install()
    else:
        HTTPServer.configure(server_of(engine))


def use_loop(loop: str) -> None:
    """Have every event loop that Tornado makes in this process be of this kind."""
    if loop == "uvloop":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
