"""The functions that an application registers, and how one of them is called.

Plain or `async`, several per name, in order of registration.
A callback that raises or outlasts its time is reported to `on_callback_error` and never takes the server down.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final, TypeAlias, TypeVar

from wshttp.errors import LockLost, SessionEnded, StoreUnavailable, UsageError, nearest
from wshttp.sessions.ids import new_event_id
from wshttp.sessions.record import Event
from wshttp.sessions.unit_of_work import UnitOfWork

Callback: TypeAlias = Callable[..., Any]
Commit: TypeAlias = Callable[[UnitOfWork], Awaitable[None]]
F = TypeVar("F", bound=Callback)

NAMES: Final = (
    "session_creating",
    "session_start",
    "session_expiring",
    "session_ending",
    "session_end",
    "invalid_session",
    "limit_reached",
    "callback_error",
    "authenticate",
    "request",
    "connect",
    "subscribe",
    "publish",
    "message",
    "disconnect",
    "startup",
    "shutdown",
)
"""Each is registered with `on_<name>`; docs/reference/callbacks.md says what each may return."""

STORE_AWAY: Final = (StoreUnavailable, LockLost)
"""What a callback fails with when the store is away: for a request or a message that waits for it, the answer is known."""

MAX_RETRIES: Final = 3
"""Tries that `on_callback_error` may ask for, after the first."""

FAILED: Final = object()
"""What a function that failed is taken to have returned, where nothing else is; compare it with `is`."""

_LAST_GASP: Final = 1.0
"""Seconds that a cancelled callback gets to clean up before it is left alone."""

_log = logging.getLogger("wshttp.callbacks")
_current: ContextVar[Event | None] = ContextVar("wshttp_current_event", default=None)


def current_event() -> Event | None:
    """Return the event whose callback is running: `.id` stays the same when it is delivered again, `.attempt` counts.

    `None` outside callbacks.
    """
    return _current.get()


@contextmanager
def _event_scope(event: Event) -> Iterator[None]:
    token = _current.set(event)
    try:
        yield
    finally:
        _current.reset(token)


class Callbacks:
    """All callbacks of a server, by name.

    `timeout` is in seconds; what takes longer is cancelled and reported. 0 is no limit.
    """

    def __init__(self, timeout: float = 30.0) -> None:
        self.timeout = timeout
        self._by_name: dict[str, list[Callback]] = {name: [] for name in NAMES}
        self._scheduled: dict[str, Callback] = {}

    def register(self, name: str, function: F) -> F:
        """Add a function, under `session_end` or `on_session_end`; returns it, so that it serves as a decorator.

        Raises `UsageError` for a name that is none, and for what is no function.
        """
        known = _known(name)
        _require_function(function, f"on_{known}")
        self._by_name[known].append(function)
        return function

    def register_scheduled(self, name: str, function: F) -> F:
        """Set the function that `session.schedule(..., name, ...)` calls; a later one replaces it."""
        _require_function(function, f"scheduled({name!r})")
        self._scheduled[name] = function
        return function

    def __getitem__(self, name: str) -> list[Callback]:
        return self._by_name[name]

    # --- calling ----------------------------------------------------------------------------------

    async def notify(
        self,
        name: str,
        *arguments: Any,
        event: Event | None = None,
        timeout: float | None = None,
        commit: Commit = UnitOfWork.commit,
        passes: tuple[type[Exception], ...] = (),
    ) -> bool:
        """Call all functions of a name; tell whether none failed. What they return is of no interest.

        Each is a unit of work of its own: committed by `commit` when it returns, dropped when it fails, before another
        try. A failure of the kinds that `passes` names is raised, once it is reported.
        """
        answers = await self.ask(name, *arguments, event=event, timeout=timeout, commit=commit, passes=passes)
        return not any(answer is FAILED for answer in answers)

    async def ask(
        self,
        name: str,
        *arguments: Any,
        event: Event | None = None,
        timeout: float | None = None,
        commit: Commit = UnitOfWork.commit,
        passes: tuple[type[Exception], ...] = (),
        ref: str | None = None,
    ) -> list[Any]:
        """Call all functions of a name, as `notify` does; return what each returned, and `FAILED` for one that failed.

        `ref` is as for `call`.
        """
        return [
            await self.call(
                function,
                event or Event(new_event_id(), name),
                *arguments,
                timeout=timeout,
                on_failure=FAILED,
                commit=commit,
                passes=passes,
                ref=ref,
            )
            for function in self._by_name[name]
        ]

    async def decide(self, name: str, *arguments: Any, on_failure: Any = None) -> Any:
        """Call functions of a name until one returns something other than `None`, and return that.

        A function that fails counts as having returned `on_failure`: `False` where it guards something, so that
        nobody gets in by its fault. Raises `StoreUnavailable` and `LockLost` where one does: nothing is decided then.
        """
        for function in self._by_name[name]:
            event = Event(new_event_id(), name)
            answer = await self.call(function, event, *arguments, on_failure=on_failure, passes=STORE_AWAY)
            if answer is not None:
                return answer
        return None

    async def notify_scheduled(self, event: Event, session: object) -> None:
        """Call the function registered for a scheduled event."""
        function = self._scheduled.get(event.name)
        if function is None:
            _log.error("nothing is registered for the scheduled event %r; use @server.scheduled(%r)", *[event.name] * 2)
            return
        await self.call(function, event, session, event.data, commit=UnitOfWork.commit)

    async def call(
        self,
        function: Callback,
        event: Event,
        *arguments: Any,
        timeout: float | None = None,
        on_failure: Any = None,
        commit: Commit | None = None,
        passes: tuple[type[Exception], ...] = (),
        ref: str | None = None,
    ) -> Any:
        """Call one function; `on_failure` where it fails, after `on_callback_error` has heard of it.

        `timeout` shortens the usual one. What it changes is committed by `commit` when it returns; `None`: it belongs to
        the caller's unit of work. A failure of the kinds that `passes` names is raised instead.
        `ref` names the session for which it is called: that it ended meanwhile is raised, too, and reported to nobody,
        since no function can help it.
        """
        first = event.attempt
        for attempt in range(first, first + MAX_RETRIES + 1):
            event = replace(event, attempt=attempt)
            try:
                if commit is not None:
                    return await self._in_a_unit(function, event, arguments, timeout or self.timeout, commit)
                return await self._once(function, event, arguments, timeout or self.timeout)
            except Exception as error:
                if isinstance(error, SessionEnded) and ref is not None and error.ref == ref:
                    _log.info("%s got no further: %s", _name(function), error)
                    raise
                again = await self.report(event, error, _name(function))
                if not again and isinstance(error, passes):
                    raise
                if not again:
                    break
        return on_failure

    async def _in_a_unit(
        self, function: Callback, event: Event, arguments: tuple[Any, ...], timeout: float, commit: Commit
    ) -> Any:
        """Call a function as a unit of work, and commit it. That the session ended meanwhile is no fault of the function."""
        with UnitOfWork() as unit:
            result = await self._once(function, event, arguments, timeout)
            try:
                await commit(unit)
            except SessionEnded as ended:
                _log.info("what %s changed is dropped: %s", _name(function), ended)
            return result

    async def _once(self, function: Callback, event: Event, arguments: tuple[Any, ...], timeout: float) -> Any:
        with _event_scope(event):
            result = function(*arguments)
            if not inspect.isawaitable(result):
                return result
            task = asyncio.ensure_future(result)
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout or None)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not done:
            await self._abandon(task)
            raise TimeoutError(f"{_name(function)} took longer than {timeout:g} s and was cancelled")
        if task.cancelled():
            raise RuntimeError(f"{_name(function)} was cancelled from within")
        return task.result()

    async def _abandon(self, task: asyncio.Future[Any]) -> None:
        """Cancel a callback; one that ignores it is left to itself, so that it holds nobody up."""
        task.cancel()
        await asyncio.wait({task}, timeout=_LAST_GASP)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def report(self, event: Event, error: Exception, name: str) -> bool:
        """Log a failure and ask `on_callback_error` whether to try again. `name` says what failed."""
        _log.error("callback %s failed (%s %s)", name, event.kind, event.id, exc_info=error)
        again = False
        for handler in self._by_name["callback_error"]:
            try:
                again = bool(await self._once(handler, event, (event, error), self.timeout)) or again
            except Exception as second:
                _log.error("on_callback_error failed itself: %s", _name(handler), exc_info=second)
        return again


def _known(name: str) -> str:
    """Return the name of a callback as `NAMES` has it."""
    known = name.removeprefix("on_")
    if known not in NAMES:
        raise UsageError(f"there is no callback {name!r}{nearest(known, NAMES)}")
    return known


def _require_function(given: object, decorator: str) -> None:
    if not callable(given):
        what = "nothing" if given is None else repr(given)
        raise UsageError(f"@{decorator} stands before a function, with nothing in between; it got {what}")


def _name(function: Callback) -> str:
    return getattr(function, "__qualname__", repr(function))
