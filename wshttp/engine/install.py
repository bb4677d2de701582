"""The native engine under any Tornado program."""

from __future__ import annotations

from tornado.httpserver import HTTPServer

from wshttp.engine.native import NativeServer


def install() -> None:
    """Have every `HTTPServer` that is made from now on, by `Application.listen` too, be a `NativeServer`.

    On such a server, every `WebSocketHandler` that does not choose a protocol itself gets the engine's framing, too.
    The event loop is the program's to choose; the engine is fastest on uvloop's.
    """
    HTTPServer.configure(NativeServer)


def uninstall() -> None:
    """Have Tornado make its own servers again; those that were made go on as they are."""
    HTTPServer.configure(None)
