"""Tasks that begin at once: what most requests and messages do is done before anything else has its turn.

Python 3.12 has that (`eager_start`). In 3.11 a task has its loop call its first step soon, and that call is made here.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import AbstractEventLoop, Task
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, TypeAlias

Errand: TypeAlias = Coroutine[Any, Any, None]


class Eager:
    """Run coroutines, each in a task of its own and up to where it first waits before `run` returns.

    Each has a copy of the caller's context. None may raise: nobody would hear of it.
    """

    def __init__(self) -> None:
        self._under_way: set[Task[None]] = set()

    def run(self, errand: Errand) -> Task[None] | None:
        """Begin; return the task that goes on with it, or `None` if that was all of it."""
        loop = asyncio.get_running_loop()
        if sys.version_info >= (3, 12):
            task = Task(errand, loop=loop, context=copy_context(), eager_start=True)
        else:
            task = _begun(errand, loop)
        if task.done():
            return None
        self._under_way.add(task)  # its loop holds it only weakly
        task.add_done_callback(self._under_way.discard)
        return task


def _begun(errand: Errand, loop: AbstractEventLoop) -> Task[None]:
    """Return a task whose first step has been made, as Python 3.12 begins one."""
    own = copy_context()
    first_step: Callable[[], None] | None = None
    call_soon: Any = loop.call_soon

    def take(callback: Any, *args: Any, context: Context | None = None) -> Any:
        nonlocal first_step
        if context is not own:
            return call_soon(callback, *args, context=context)  # of a finalizer, which may run at any time
        first_step = callback
        return None

    attributes = vars(loop)
    replaced = attributes.get("call_soon")
    attributes["call_soon"] = take  # for as long as the task is made
    try:
        task = Task(errand, loop=loop, context=own)
    finally:
        if replaced is None:
            del attributes["call_soon"]
        else:
            attributes["call_soon"] = replaced
    assert first_step is not None  # noqa: S101  # for the type checker: a task calls `call_soon` once
    _make_step(own, first_step, loop)
    return task


def _make_step(own: Context, step: Callable[[], None], loop: AbstractEventLoop) -> None:
    """Make a task's step in the midst of another's, if there is one."""
    caller = asyncio.current_task(loop)
    if caller is None:
        own.run(step)
        return
    _leave_task(loop, caller)
    try:
        own.run(step)
    finally:
        _enter_task(loop, caller)
