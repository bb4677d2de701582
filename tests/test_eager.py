"""Coroutines that begin at once: as from a task of their own, whether they wait or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest
from serving import soon, until
from uvloop import new_event_loop

from wshttp.eager import Eager

where: ContextVar[str] = ContextVar("where", default="outside")


@pytest.fixture(params=[None, new_event_loop], ids=["asyncio", "uvloop"], autouse=True)
def loop_factory(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def eager() -> Eager:
    return Eager()


class Errand:
    """A coroutine that says what it saw, and when it is over."""

    def __init__(self, act: Callable[[], Awaitable[object]]) -> None:
        self._act = act
        self.outcome: object = None
        self.tasks: list[asyncio.Task[Any] | None] = []
        self.over = asyncio.Event()

    async def run(self) -> None:
        self.tasks.append(asyncio.current_task())
        try:
            self.outcome = await self._act()
        except (Exception, asyncio.CancelledError) as error:
            self.outcome = error
        finally:
            self.tasks.append(asyncio.current_task())
            self.over.set()


async def outcome(eager: Eager, act: Callable[[], Awaitable[object]]) -> object:
    """Return what comes of a coroutine that has to wait, after checking that it was in one task from end to end."""
    errand = Errand(act)
    task = eager.run(errand.run())
    await soon(errand.over.wait())
    assert errand.tasks[0] is errand.tasks[1] is task is not None
    return errand.outcome


async def test_coroutine_that_never_waits_is_done_at_once(eager: Eager) -> None:
    """It has run when `run` returns, each in turn, and no task is left of any."""
    before = asyncio.all_tasks()
    seen: list[int] = []

    async def note(number: int) -> None:
        seen.append(number)

    assert [eager.run(note(number)) for number in range(3)] == [None] * 3
    assert seen == [0, 1, 2]
    assert asyncio.all_tasks() == before


async def test_coroutine_that_waits_goes_on_in_the_task_that_it_began_in(eager: Eager) -> None:
    """For a future, an event, nothing but a turn of the loop, or several tasks; and the next one has another task."""

    async def in_turns() -> list[int]:
        await asyncio.sleep(0)
        return await asyncio.gather(*(asyncio.sleep(0, number) for number in range(3)))

    async def in_a_group() -> int:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, 7))
        return task.result()

    for act, expected in ((in_turns, [0, 1, 2]), (in_a_group, 7), (in_turns, [0, 1, 2])):
        assert await outcome(eager, act) == expected


async def test_two_that_wait_are_two_tasks(eager: Eager) -> None:
    """What one waits for does not hold up the other, nor is one cancelled with the other."""
    first, second = Errand(asyncio.Event().wait), Errand(asyncio.Event().wait)
    eager.run(first.run())
    eager.run(second.run())
    assert first.tasks[0] is not second.tasks[0]
    assert first.tasks[0] is not None
    first.tasks[0].cancel()
    await soon(first.over.wait())
    assert isinstance(first.outcome, asyncio.CancelledError)
    assert not second.over.is_set()
    assert second.tasks[0] is not None
    second.tasks[0].cancel()
    await soon(second.over.wait())


async def test_timeout_that_begins_before_it_waits_ends_the_wait(eager: Eager) -> None:
    """`asyncio.timeout` finds the task at its beginning and cancels it later; what it leaves is no cancellation."""

    async def impatient() -> int:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            task = asyncio.current_task()
            return -1 if task is None else task.cancelling()
        return -1

    assert await outcome(eager, impatient) == 0


async def test_task_that_cancels_itself_before_it_waits_is_cancelled_where_it_waits(eager: Eager) -> None:
    """As any task is; and one that never waits after that leaves nothing cancelled for the next."""

    async def cancel() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def cancel_and_wait() -> None:
        await cancel()
        await asyncio.Event().wait()

    assert isinstance(await outcome(eager, cancel_and_wait), asyncio.CancelledError)
    assert eager.run(cancel()) is None
    assert await outcome(eager, lambda: asyncio.sleep(0, "undisturbed")) == "undisturbed"


async def test_error_comes_out_where_it_was_waited_for(eager: Eager) -> None:
    """What a future fails with is raised in the coroutine that waits for it."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        await future

    errand = Errand(wait)
    eager.run(errand.run())
    future.set_exception(LookupError("this"))
    await soon(errand.over.wait())
    assert repr(errand.outcome) == "LookupError('this')"


async def test_future_that_several_wait_for_wakes_all(eager: Eager) -> None:
    """Also when another task begins to wait for it before the first one is taken over."""
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait() -> int:
        return await future

    errand = Errand(wait)
    other = asyncio.create_task(wait())
    eager.run(errand.run())
    await asyncio.sleep(0)
    future.set_result(3)
    assert await soon(other) == 3
    await soon(errand.over.wait())
    assert errand.outcome == 3


async def test_context_is_a_copy_from_beginning_to_end(eager: Eager) -> None:
    """What it sets is there after it has waited, and in the tasks that it starts, and nowhere else."""

    async def act() -> list[str]:
        seen = [where.get()]
        where.set("inside")
        await asyncio.sleep(0)
        seen.append(where.get())
        seen.append(await asyncio.create_task(look()))
        return seen

    async def look() -> str:
        return where.get()

    where.set("caller")
    assert await outcome(eager, act) == ["caller", "inside", "inside"]
    assert where.get() == "caller"


async def test_caller_in_a_task_is_in_it_again_afterwards(eager: Eager) -> None:
    """A coroutine that is begun from a task is in one of its own, and so is one that it begins itself."""
    inner: list[asyncio.Task[Any] | None] = []
    outer: list[asyncio.Task[Any] | None] = []

    async def begin() -> None:
        inner.append(asyncio.current_task())

    async def begin_another() -> None:
        outer.append(asyncio.current_task())
        eager.run(begin())
        outer.append(asyncio.current_task())

    caller = asyncio.current_task()
    assert eager.run(begin_another()) is None
    assert asyncio.current_task() is caller
    await until(lambda: bool(inner))
    assert outer[0] is outer[1]
    assert len({caller, *inner, *outer}) == 3
    assert eager.run(begin()) is None


async def test_each_has_a_task_of_its_own_which_is_over_with_it(eager: Eager) -> None:
    """What a program keeps by task is nobody else's, and who cancels one that is over harms nobody."""
    tasks: list[asyncio.Task[Any]] = []
    ends: list[asyncio.Task[Any]] = []

    async def note() -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        task.add_done_callback(ends.append)

    for _ in range(3):
        assert eager.run(note()) is None
    assert len(set(tasks)) == 3
    assert all(task.done() for task in tasks)
    assert tasks[0].cancel() is False
    await until(lambda: ends == tasks)
    assert await outcome(eager, lambda: asyncio.sleep(0, "undisturbed")) == "undisturbed"


async def test_task_that_is_cancelled_in_its_first_turn_cancels_what_it_waits_for(eager: Eager) -> None:
    """Before the loop has seen that it waits at all."""
    inner = asyncio.create_task(asyncio.Event().wait())

    async def wait() -> object:
        return await inner

    errand = Errand(wait)
    task = eager.run(errand.run())
    assert task is not None
    task.cancel()
    await soon(errand.over.wait())
    assert inner.cancelled()


async def test_call_that_somebody_makes_meanwhile_is_made(eager: Eager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finalizer may run while a task is made, and what it has the loop call soon is not the task's first step."""
    loop = asyncio.get_running_loop()
    called = asyncio.Event()

    class Task(asyncio.Task[None]):
        def __init__(self, *args: Any, **options: Any) -> None:
            loop.call_soon(called.set)
            super().__init__(*args, **options)

    monkeypatch.setattr("wshttp.eager.Task", Task)
    seen: list[int] = []

    async def note() -> None:
        seen.append(1)

    assert eager.run(note()) is None
    assert seen == [1]
    await soon(called.wait())


async def test_loop_whose_calls_somebody_watches_is_left_as_it_was(
    eager: Eager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tools for finding slow callbacks do."""
    loop = asyncio.get_running_loop()
    call_soon, watched = loop.call_soon, []

    def watch(callback: Any, *args: Any, **options: Any) -> asyncio.Handle:
        watched.append(callback)
        return call_soon(callback, *args, **options)

    monkeypatch.setattr(loop, "call_soon", watch)
    assert await outcome(eager, lambda: asyncio.sleep(0, 1)) == 1
    assert loop.call_soon is watch
    assert watched


async def test_exit_that_is_asked_for_gets_out(eager: Eager) -> None:
    """Out of the call that began it, as from any function; whoever called is in their own task again."""
    caller = asyncio.current_task()
    asyncio.get_running_loop().set_exception_handler(lambda loop, told: None)  # that nobody has asked the task

    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        eager.run(leave())
    assert asyncio.current_task() is caller
