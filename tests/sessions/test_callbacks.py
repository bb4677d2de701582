"""Callbacks: how one is called, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from wshttp.errors import LockLost, SessionEnded, StoreUnavailable, UsageError
from wshttp.sessions import callbacks as module
from wshttp.sessions.callbacks import MAX_RETRIES, NAMES, Callbacks, current_event
from wshttp.sessions.decorators import CallbackDecorators
from wshttp.sessions.record import Event

EVENT = Event("id", "start", "ref")


@pytest.fixture
def callbacks() -> Callbacks:
    return Callbacks(timeout=10)


@pytest.fixture
def reported(callbacks: Callbacks) -> list[tuple[Event, Exception]]:
    """What `on_callback_error` was told."""
    errors: list[tuple[Event, Exception]] = []
    callbacks.register("callback_error", lambda event, error: errors.append((event, error)))
    return errors


async def _fail(*_: Any) -> None:
    raise ZeroDivisionError


def _fail_plainly(*_: Any) -> None:
    raise ZeroDivisionError


@pytest.mark.feature("E7")
async def test_functions_are_called_in_order_of_registration(callbacks: Callbacks) -> None:
    """Plain ones, async ones and objects alike, one after the other, with the same arguments."""
    log: list[Any] = []

    class Listener:
        async def __call__(self, *arguments: Any) -> None:
            log.append(("object", arguments))

    @partial(callbacks.register, "session_start")
    async def slow(*arguments: Any) -> None:
        await asyncio.sleep(0)
        log.append(("async", arguments))

    callbacks.register("session_start", lambda *arguments: log.append(("plain", arguments)))
    callbacks.register("session_start", Listener())
    await callbacks.notify("session_start", 1, "b")
    assert log == [("async", (1, "b")), ("plain", (1, "b")), ("object", (1, "b"))]
    assert slow.__name__ == "slow"


async def test_names_are_those_of_the_reference(callbacks: Callbacks) -> None:
    """Each can be registered, with `on_` before it or without; another is refused, and the nearest is named."""
    for name in NAMES:
        callbacks.register(name, print)
        callbacks.register(f"on_{name}", print)
        assert callbacks[name] == [print, print]
    with pytest.raises(UsageError, match=r"no callback 'session_stat'; did you mean 'session_start'\?"):
        callbacks.register("session_stat", print)
    with pytest.raises(UsageError, match="no callback 'xyzzy'; there are session_creating, "):
        callbacks.register("xyzzy", print)


def test_what_is_no_function_is_refused_at_once(callbacks: Callbacks) -> None:
    """Also a decorator with parentheses, where the function would come too late, and a scheduled one without a name."""

    class Application(CallbackDecorators):
        pass

    application = Application()
    application.callbacks = callbacks
    with pytest.raises(UsageError, match=r"@on_session_start stands before a function, .* it got nothing"):
        application.on_session_start()
    with pytest.raises(UsageError, match="it got 'text'"):
        application.on_session_end("text")  # type: ignore[type-var]  # the mistake
    with pytest.raises(UsageError, match=r"scheduled\('remind'\)"):
        application.scheduled("remind")(None)  # type: ignore[type-var]  # the mistake
    with pytest.raises(UsageError, match="a scheduled function has a name"):
        application.scheduled(print)  # type: ignore[arg-type]  # the mistake
    assert not any(callbacks[name] for name in NAMES)


@pytest.mark.parametrize("error", [StoreUnavailable(), LockLost("ref")])
async def test_decision_that_needs_the_store_is_none_without_it(
    callbacks: Callbacks, reported: list[tuple[Event, Exception]], error: Exception
) -> None:
    """Whoever asks gets the error itself: to refuse for good would be wrong, and to let in, worse."""

    @partial(callbacks.register, "connect")
    def fail(_: object) -> None:
        raise error

    with pytest.raises(type(error)):
        await callbacks.decide("connect", 1, on_failure=False)
    assert [found for _, found in reported] == [error]
    assert not await callbacks.notify("connect", 1), "who only watches has failed"
    with pytest.raises(type(error)):
        await callbacks.notify("connect", 1, passes=(type(error),))


async def test_decide_takes_the_first_answer(callbacks: Callbacks) -> None:
    """`None` passes the question on; False is an answer. Who fails has said what the caller takes a failure for."""
    asked: list[int] = []

    def answer(number: int, value: Any) -> Callable[..., Any]:
        return lambda *_: (asked.append(number), value)[1]

    assert await callbacks.decide("connect", 1) is None
    callbacks.register("connect", answer(1, None))
    callbacks.register("connect", _fail)
    callbacks.register("connect", answer(2, False))
    callbacks.register("connect", answer(3, True))
    assert await callbacks.decide("connect", 1) is False
    assert asked == [1, 2]
    assert await callbacks.decide("connect", 1, on_failure="no") == "no"
    assert asked == [1, 2, 1]


@pytest.mark.feature("E6")
@pytest.mark.parametrize("function", [_fail, _fail_plainly])
async def test_failure_is_reported_and_the_next_is_called(
    callbacks: Callbacks,
    reported: list[tuple[Event, Exception]],
    function: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that raises keeps nobody from being called, and is logged with its name."""
    called: list[int] = []
    callbacks.register("session_start", function)
    callbacks.register("session_start", called.append)
    await callbacks.notify("session_start", 1, event=EVENT)
    assert called == [1]
    ((event, error),) = reported
    assert (event.id, event.attempt, type(error)) == ("id", 1, ZeroDivisionError)
    assert function.__name__ in caplog.text


@pytest.mark.feature("E6")
async def test_end_of_its_session_is_no_failure(
    callbacks: Callbacks, reported: list[tuple[Event, Exception]], caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asks for a session gets the error itself, and nobody a traceback; that of another session is one."""
    caplog.set_level(logging.INFO)

    @partial(callbacks.register, "message")
    def work(ref: str) -> None:
        raise SessionEnded(ref, "logout")

    with pytest.raises(SessionEnded):
        await callbacks.ask("message", "mine", ref="mine")
    assert not reported
    assert [record.levelno for record in caplog.records] == [logging.INFO]
    await callbacks.ask("message", "another", ref="mine")
    await callbacks.ask("message", "mine")
    assert len(reported) == 2


@pytest.mark.feature("E6")
async def test_retry_is_asked_for_and_keeps_the_event_id(callbacks: Callbacks) -> None:
    """`on_callback_error` may ask for another try; the event is the same, its attempts count."""
    attempts: list[tuple[str, int]] = []

    async def sometimes(*_: Any) -> str:
        event = current_event()
        assert event is not None
        attempts.append((event.id, event.attempt))
        if len(attempts) < 3:
            raise OSError
        return "done"

    callbacks.register("callback_error", lambda event, error: isinstance(error, OSError))
    assert await callbacks.call(sometimes, EVENT) == "done"
    assert attempts == [("id", 1), ("id", 2), ("id", 3)]


@pytest.mark.feature("E6")
async def test_retries_come_to_an_end(callbacks: Callbacks) -> None:
    """Three at most, whatever `on_callback_error` says."""
    attempts: list[int] = []

    def fail() -> None:
        event = current_event()
        assert event is not None
        attempts.append(event.attempt)
        raise OSError

    callbacks.register("callback_error", lambda event, error: True)
    assert await callbacks.call(fail, EVENT) is None
    assert attempts == [1, 2, 3, 4]
    assert MAX_RETRIES == 3


@pytest.mark.feature("E6")
async def test_handler_of_errors_that_fails_itself(callbacks: Callbacks, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, the other handlers are asked, and nothing is called for ever."""
    callbacks.register("callback_error", _fail_plainly)
    callbacks.register("callback_error", lambda event, error: event.attempt < 2)
    attempts: list[int] = []

    def fail() -> None:
        attempts.append(1)
        raise OSError

    await callbacks.call(fail, EVENT)
    assert len(attempts) == 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 4


async def test_callback_that_never_returns_is_cancelled(
    callbacks: Callbacks, reported: list[tuple[Event, Exception]]
) -> None:
    """After its time it is cancelled and may clean up; that is reported, and the next is called."""
    cleaned: list[str] = []
    called: list[int] = []

    async def hang(*_: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    callbacks.timeout = 0.01
    callbacks.register("session_start", hang)
    callbacks.register("session_start", called.append)
    await callbacks.notify("session_start", 1)
    assert (cleaned, called) == (["up"], [1])
    assert isinstance(reported[0][1], TimeoutError)


async def test_callback_that_swallows_its_cancellation_is_left_alone(
    callbacks: Callbacks, reported: list[tuple[Event, Exception]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds nobody up, and what it raises in the end is nobody's concern."""
    monkeypatch.setattr(module, "_LAST_GASP", 0.01)
    go_on, gone = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        gone.set()
        raise ZeroDivisionError

    callbacks.timeout = 0.01
    await callbacks.call(stubborn, EVENT)
    assert isinstance(reported[0][1], TimeoutError)
    assert not gone.is_set()
    go_on.set()
    await asyncio.wait_for(gone.wait(), 10)


async def test_callback_that_is_cancelled_from_within_is_a_failure(
    callbacks: Callbacks, reported: list[tuple[Event, Exception]]
) -> None:
    """It takes nobody with it: the caller is not cancelled."""

    async def give_up() -> None:
        raise asyncio.CancelledError

    await callbacks.call(give_up, EVENT)
    assert isinstance(reported[0][1], RuntimeError)


async def test_caller_that_is_cancelled_cancels_its_callback(callbacks: Callbacks) -> None:
    """What it waits for does not go on without it."""
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    calling = asyncio.create_task(callbacks.call(wait, EVENT))
    await asyncio.wait_for(started.wait(), 10)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await asyncio.wait_for(cancelled.wait(), 10)


async def test_current_event_is_that_of_the_callback(callbacks: Callbacks) -> None:
    """In plain ones, in async ones and in their tasks; `None` elsewhere, also after a failure."""
    seen: list[Event | None] = []

    async def look() -> None:
        await asyncio.sleep(0)
        seen.append(current_event())
        await asyncio.create_task(look_in_a_task())

    async def look_in_a_task() -> None:
        seen.append(current_event())

    await callbacks.call(look, EVENT)
    await callbacks.call(lambda: seen.append(current_event()), EVENT)
    await callbacks.call(_fail_plainly, EVENT)
    assert seen == [EVENT] * 3
    assert current_event() is None


@pytest.mark.feature("E8")
async def test_scheduled_event_without_a_function_is_logged(
    callbacks: Callbacks, caplog: pytest.LogCaptureFixture
) -> None:
    """It says what is missing, and breaks nothing; a later registration replaces an earlier one."""
    event = Event("id", "scheduled", "ref", name="remind", data={"a": 1})
    await callbacks.notify_scheduled(event, "session")
    assert "remind" in caplog.text
    calls: list[Any] = []
    callbacks.register_scheduled("remind", _fail)
    callbacks.register_scheduled("remind", lambda *arguments: calls.append(arguments))
    await callbacks.notify_scheduled(event, "session")
    assert calls == [("session", {"a": 1})]
