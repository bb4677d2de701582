"""The function of an application that makes a server its own: what `app` in the settings names."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from wshttp.errors import ConfigurationError


class Setup:
    """A call of `module:function` with a server; the function may be `async`."""

    def __init__(self, app: str) -> None:
        self._app = app
        self._unfinished: Callable[[], Awaitable[Any]] | None = None

    def begin(self, server: object) -> None:
        """Import the function, and call it; an `async` one has to wait for `finish`.

        Raises `ConfigurationError` where that fails.
        """
        module, _, name = self._app.partition(":")
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            function = functools.reduce(getattr, name.split("."), importlib.import_module(module))
            if inspect.iscoroutinefunction(function):
                self._unfinished = functools.partial(function, server)
                return
            result = function(server)  # type: ignore[operator]  # what is not callable raises, and is reported
        except Exception as error:
            raise self._mistake(error) from error
        if inspect.isawaitable(result):
            self._unfinished = lambda: result

    async def finish(self) -> None:
        """Let an `async` function do its work, on the loop that the server runs on. Raises `ConfigurationError`."""
        unfinished, self._unfinished = self._unfinished, None
        if unfinished is None:
            return
        try:
            await unfinished()
        except Exception as error:
            raise self._mistake(error) from error

    def _mistake(self, error: Exception) -> ConfigurationError:
        """Say in one line what was raised and where, for the function's author: our own frames are of no interest."""
        ours = (str(Path(__file__).parent), str(importlib.__file__), "<frozen importlib")
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
        place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        text = f"app: {self._app} cannot be used: {type(error).__name__}: {error}{place}"
        return ConfigurationError([" ".join(text.split())])
