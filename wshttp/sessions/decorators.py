"""The decorators by which an application registers its callbacks.

docs/reference/callbacks.md is the table of what each gets and may return.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from wshttp.errors import UsageError
from wshttp.sessions.callbacks import Callbacks

F = TypeVar("F", bound=Callable[..., Any])

MISSING: Final[Any] = None
"""What a decorator gets that is written with parentheses; `Callbacks.register` says so."""


class SessionDecorators:
    """One method per callback of sessions and their sockets; each takes a function and returns it."""

    __slots__ = ()
    # Said of what mixes it in, which has them.
    callbacks: Callbacks

    def on_session_creating(self, function: F = MISSING) -> F:
        """Call `function(draft)` before a session is created: it may change the draft, give another session, or refuse."""
        return self.callbacks.register("session_creating", function)

    def on_session_start(self, function: F = MISSING) -> F:
        """Call `function(session)` when a session has started, before anybody else sees it."""
        return self.callbacks.register("session_start", function)

    def on_session_expiring(self, function: F = MISSING) -> F:
        """Call `function(session, seconds)` some time before a session ends by itself."""
        return self.callbacks.register("session_expiring", function)

    def on_session_ending(self, function: F = MISSING) -> F:
        """Call `function(session, reason)` when a session's end is decided and its sockets are still open; 1 s at most."""
        return self.callbacks.register("session_ending", function)

    def on_session_end(self, function: F = MISSING) -> F:
        """Call `function(session, reason)` when a session has ended; the session gives its last data."""
        return self.callbacks.register("session_end", function)

    def on_invalid_session(self, function: F = MISSING) -> F:
        """Call `function(request, reason)` when a client presents an ended or unknown id."""
        return self.callbacks.register("invalid_session", function)

    def on_limit_reached(self, function: F = MISSING) -> F:
        """Call `function(limit)` before a limit refuses or ends a session: `True` lets the new one pass."""
        return self.callbacks.register("limit_reached", function)

    def on_callback_error(self, function: F = MISSING) -> F:
        """Call `function(event, error)` when a callback fails: `True` asks for another try."""
        return self.callbacks.register("callback_error", function)

    def on_authenticate(self, function: F = MISSING) -> F:
        """Call `function(user, password, request)` to check a password: a `User`, `False`, or `None` for the next to say."""
        return self.callbacks.register("authenticate", function)

    def on_connect(self, function: F = MISSING) -> F:
        """Call `function(connection)` before a WebSocket is accepted: `False` refuses it."""
        return self.callbacks.register("connect", function)

    def on_subscribe(self, function: F = MISSING) -> F:
        """Call `function(connection, topic)` when a client wants to join a topic: `True`, `False`, or `None` for the settings."""
        return self.callbacks.register("subscribe", function)

    def on_publish(self, function: F = MISSING) -> F:
        """Call `function(connection, topic, data)` when a client publishes: `False` refuses, another value replaces the data."""
        return self.callbacks.register("publish", function)

    def on_message(self, function: F = MISSING) -> F:
        """Call `function(connection, data)` for the application's own messages on the built-in socket."""
        return self.callbacks.register("message", function)

    def on_disconnect(self, function: F = MISSING) -> F:
        """Call `function(connection, code, reason)` when a WebSocket is closed."""
        return self.callbacks.register("disconnect", function)

    def scheduled(self, name: str) -> Callable[[F], F]:
        """Call the decorated `function(session, data)` when an event scheduled under `name` is due."""
        if not isinstance(name, str):
            raise UsageError('a scheduled function has a name: @server.scheduled("remind")')
        return lambda function: self.callbacks.register_scheduled(name, function)


class CallbackDecorators(SessionDecorators):
    """Those of a server: besides sessions it has a life, and requests that nobody answers."""

    def on_request(self, function: F = MISSING) -> F:
        """Call `function(request)` for what no route and no file took; it answers like an endpoint, `None` is 404."""
        return self.callbacks.register("request", function)

    def on_startup(self, function: F = MISSING) -> F:
        """Call `function(server)` before the server listens."""
        return self.callbacks.register("startup", function)

    def on_shutdown(self, function: F = MISSING) -> F:
        """Call `function(server)` when all sessions have been dealt with."""
        return self.callbacks.register("shutdown", function)
