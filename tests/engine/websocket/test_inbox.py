"""Messages in their order."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from tornado import gen

from wshttp.engine.websocket.inbox import BOUND, PER_TURN, Inbox


class Desk:
    """An inbox, whose messages are handled as the test says."""

    def __init__(self, context: contextvars.Context | None = None) -> None:
        self.handled: list[Any] = []
        self.errors: list[BaseException | None] = []
        self.idle = 0
        self.answers: dict[Any, Any] = {}
        context = context or contextvars.copy_context()
        self.handler = self
        self.inbox = Inbox(self, context)

    def on_message(self, message: Any) -> Any:
        self.handled.append(message)
        answer = self.answers.get(message)
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer

    def failed(self) -> None:
        self.errors.append(sys.exception())

    def caught_up(self) -> None:
        self.idle += 1


async def test_messages_wait_until_it_opens() -> None:
    """What came before is handled then, in order."""
    desk = Desk()
    desk.inbox.put("a")
    desk.inbox.put("b")
    assert (desk.handled, desk.inbox.holds) == ([], True)
    desk.inbox.open()
    assert (desk.handled, desk.inbox.holds, desk.idle) == (["a", "b"], False, 1)


async def test_message_is_handled_at_once_where_nothing_waits() -> None:
    """No task, no future, no turn of the loop."""
    desk = Desk()
    desk.inbox.open()
    desk.inbox.put("a")
    assert (desk.handled, desk.inbox.busy, desk.idle) == (["a"], False, 1)


async def test_next_message_waits_for_the_one_before() -> None:
    """What a handler returns has to be done first."""
    desk = Desk()
    desk.inbox.open()
    busy: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    desk.answers["a"] = busy
    for message in "abc":
        desk.inbox.put(message)
    assert (desk.handled, desk.inbox.busy, desk.inbox.holds) == (["a"], True, True)
    busy.set_result(None)
    await asyncio.sleep(0)
    assert (desk.handled, desk.inbox.busy, desk.idle) == (["a", "b", "c"], False, 2)


async def test_message_that_has_waited_makes_the_next_one_wait() -> None:
    """Catching up is no hurry."""
    desk = Desk()
    loop = asyncio.get_running_loop()
    busy: list[asyncio.Future[None]] = [loop.create_future(), loop.create_future()]
    desk.answers = dict(zip("ab", busy, strict=True))
    for message in "abc":
        desk.inbox.put(message)
    desk.inbox.open()
    assert desk.handled == ["a"]
    busy[0].set_result(None)
    await asyncio.sleep(0)
    assert desk.handled == ["a", "b"]
    busy[1].set_result(None)
    await asyncio.sleep(0)
    assert desk.handled == ["a", "b", "c"]


async def test_future_that_is_done_is_not_waited_for() -> None:
    """As that of a write for which there was room."""
    desk = Desk()
    desk.inbox.open()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    desk.answers["a"] = done
    desk.inbox.put("a")
    assert not desk.inbox.busy


async def test_coroutines_of_both_kinds_are_waited_for() -> None:
    """Native ones, and Tornado's."""
    desk, turns = Desk(), []

    async def native() -> None:
        await asyncio.sleep(0)
        turns.append("a")

    @gen.coroutine
    def decorated() -> Any:
        yield gen.moment
        turns.append("b")

    desk.inbox.open()
    desk.answers = {"a": native, "b": decorated}
    for message in "abc":
        desk.inbox.put(message)
    while desk.inbox.busy:
        await asyncio.sleep(0)
    assert (turns, desk.handled) == (["a", "b"], ["a", "b", "c"])


async def test_error_of_a_handler_is_told_and_the_next_message_has_its_turn() -> None:
    """Raised at once, or later, a cancellation included; what is no awaitable is an error, too."""
    desk = Desk()
    desk.inbox.open()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    desk.answers = {"a": KeyError("a"), "b": fail, "c": asyncio.CancelledError(), "d": "no awaitable"}
    for message in "abcde":
        desk.inbox.put(message)
    while desk.inbox.busy:
        await asyncio.sleep(0)
    kinds = [type(error).__name__ for error in desk.errors]
    assert kinds == ["KeyError", "ZeroDivisionError", "CancelledError", "BadYieldError"]
    assert desk.handled == list("abcde")


@pytest.mark.parametrize("stop", [SystemExit, KeyboardInterrupt])
def test_handler_that_ends_the_process_does(
    stop: type[BaseException], loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """It is noted like any error, and the loop hears of it, whatever would come of it where messages come from."""

    async def handle() -> Desk:
        desk = Desk()
        desk.answers["end"] = stop()
        desk.inbox.open()
        desk.inbox.put("end")
        await asyncio.sleep(0)
        return desk

    with closing(loop_factory()) as loop:
        handling = loop.create_task(handle())
        with pytest.raises(stop):
            loop.run_until_complete(handling)
        [error] = loop.run_until_complete(handling).errors
        assert type(error) is stop


async def test_many_messages_leave_turns_to_others() -> None:
    """What waited long is not handled in one go."""
    desk = Desk()
    for number in range(3 * PER_TURN):
        desk.inbox.put(str(number))
    desk.inbox.open()
    assert len(desk.handled) == PER_TURN
    turns = 0
    while desk.inbox.busy:
        await asyncio.sleep(0)
        turns += 1
    assert len(desk.handled) == 3 * PER_TURN
    assert turns >= 2


async def test_inbox_that_is_full_says_so() -> None:
    """Until what is in it has been handled, or dropped."""
    desk = Desk()
    desk.inbox.put("x" * BOUND)
    assert desk.inbox.full
    desk.inbox.clear()
    assert not desk.inbox.full
    assert not desk.inbox.holds


async def test_messages_are_handled_in_one_context() -> None:
    """What the handshake has set is there, what one message sets the next one sees, and nobody else."""
    place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")
    place.set("handshake")
    context = contextvars.copy_context()
    place.set("elsewhere")
    desk, seen = Desk(context), []

    def note(message: Any) -> None:
        seen.append(place.get())
        place.set(message)

    desk.answers = {"first": lambda: note("first"), "second": lambda: note("second")}
    desk.inbox.open()
    desk.inbox.put("first")
    desk.inbox.put("second")
    assert (seen, place.get()) == (["handshake", "first"], "elsewhere")
