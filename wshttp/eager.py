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
    context = copy_context()
    task, first_step = _made(errand, loop, context)
    caller = asyncio.current_task(loop)
    if caller is not None:
        _leave_task(loop, caller)
    try:
        context.run(first_step)
    finally:
        if caller is not None:
            _enter_task(loop, caller)
    return task


def _made(errand: Errand, loop: AbstractEventLoop, own: Context) -> tuple[Task[None], Callable[[], None]]:
    """Return a task in the context `own`, and the call that it would have had its loop make soon."""
    first_step: list[Callable[[], None]] = []
    call_soon: Any = loop.call_soon

    def take(callback: Any, *args: Any, context: Context | None = None) -> Any:
        if context is own:
            return first_step.append(callback)
        return call_soon(callback, *args, context=context)  # of a finalizer, which may run at any time

    replaced = vars(loop).get("call_soon")
    loop.call_soon = take  # type: ignore[assignment]  # for as long as the task is made
    try:
        task = Task(errand, loop=loop, context=own)
    finally:
        if replaced is None:
            del loop.call_soon
        else:
            loop.call_soon = replaced  # type: ignore[method-assign]
    return task, first_step[0]
