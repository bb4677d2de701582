"""The hook by which Tornado's WebSocket handlers get the engine's framing where their connection is the engine's."""

from __future__ import annotations

from typing import Any, Final

from tornado.websocket import WebSocketHandler, WebSocketProtocol

from wshttp.engine.http_answer import HttpAnswer

TORNADOS_OWN: Final = WebSocketHandler.get_websocket_protocol
"""What chooses Tornado's own framing; a handler that wants it anywhere has this as its `get_websocket_protocol`."""


def hook_websockets() -> None:
    """Have every `WebSocketHandler` that does not choose a protocol itself ask its connection for one.

    It is there for all of the process, and changes nothing on connections of other servers.
    """
    hooked: Any = WebSocketHandler  # for the type checker, methods stay what they are
    hooked.get_websocket_protocol = _of_its_connection


def _of_its_connection(handler: WebSocketHandler) -> WebSocketProtocol | None:
    connection: object = handler.request.connection
    if not isinstance(connection, HttpAnswer):
        return TORNADOS_OWN(handler)
    protocol = connection.websocket_protocol(handler)
    if protocol is None:
        handler.set_header("Upgrade", "websocket")  # for Tornado's 426 (RFC 9110, section 15.5.22)
    return protocol
