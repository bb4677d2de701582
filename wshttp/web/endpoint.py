"""Function endpoints: a path, a method, a function; what the function returns is the answer (see `web.exchange`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CoroutineType
from typing import Any, TypeAlias

from wshttp.errors import UsageError
from wshttp.web.paths import parameters_of
from wshttp.web.request import Request

Function: TypeAlias = Callable[..., Any]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)
_GATHERING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Endpoint:
    """A function and how it is called.

    `auto_start` overrides `session.auto_start`; with `serialize`, requests of one session are handled one at a time.
    """

    function: Function
    auto_start: bool | None = None
    serialize: bool = False
    parameters: frozenset[str] = field(init=False)
    """The path parameters that the function takes by name; others are in `request.path_params` only."""
    _needed: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise UsageError(f"{self.function!r} is not a function")
        parameters = list(inspect.signature(self.function).parameters.values())
        if not parameters or parameters[0].kind not in _POSITIONAL:
            raise UsageError(f"{_name(self.function)} has no parameter for the request")
        rest = [parameter for parameter in parameters[1:] if parameter.kind not in _GATHERING]
        object.__setattr__(self, "parameters", frozenset(parameter.name for parameter in rest))
        needed = frozenset(parameter.name for parameter in rest if parameter.default is parameter.empty)
        object.__setattr__(self, "_needed", needed)

    def check(self, path: str) -> None:
        """Raise `UsageError` where the function needs a parameter that a path does not have."""
        missing = sorted(self._needed - set(parameters_of(path)))
        if missing:
            raise UsageError(f"{_name(self.function)} wants {missing[0]!r}, and {path!r} has no {{{missing[0]}}}")

    def call(self, request: Request) -> Any:
        """Return what the function does: the result, or what is to be awaited for it."""
        if self.parameters:
            return self.function(request, **{k: v for k, v in request.path_params.items() if k in self.parameters})
        return self.function(request)

    async def __call__(self, request: Request) -> object:
        result = self.call(request)
        return await result if is_awaitable(result) else result


@dataclass
class Route:
    """A path and its endpoints by method."""

    path: str
    endpoints: dict[str, Endpoint] = field(default_factory=dict)

    @property
    def allowed(self) -> str:
        """The methods that it answers, as `Allow` has them."""
        own = [name for name in METHODS if name in self.endpoints]
        return ", ".join([*own, *(["HEAD"] if "GET" in own else []), "OPTIONS"])

    def find(self, method: str | None) -> Endpoint | None:
        """Return the endpoint for a method; GET's answers HEAD."""
        return self.endpoints.get("GET" if method == "HEAD" else method or "")


def is_awaitable(result: object) -> bool:
    """Tell whether a function's result is to be awaited."""
    return result.__class__ is CoroutineType or inspect.isawaitable(result)


def _name(function: Function) -> str:
    return getattr(function, "__qualname__", repr(function))
