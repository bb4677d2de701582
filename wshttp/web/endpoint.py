"""Function endpoints: a path, a method, a function; what the function returns is the answer."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError
from tornado.web import Application, Finish, HTTPError, stream_request_body

from wshttp.errors import ClientDisconnected, TooManyRequests, UsageError
from wshttp.web.body import RequestBody, announced_length
from wshttp.web.paths import parameters_of
from wshttp.web.request import Request
from wshttp.web.response import Response
from wshttp.web.result_handler import ResultHandler

Function: TypeAlias = Callable[..., Any]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

SERIALIZE_WAIT = 10.0
"""Seconds that a request waits for the others of its session, where its route takes them one at a time."""

LINGER = 2.0
"""Seconds that an answer waits for the end of a body that nobody reads; own choice."""

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

    async def __call__(self, request: Request) -> object:
        result = self.function(request, **{k: v for k, v in request.path_params.items() if k in self.parameters})
        return await result if inspect.isawaitable(result) else result


@dataclass
class Route:
    """A path and its endpoints by method."""

    path: str
    endpoints: dict[str, Endpoint] = field(default_factory=dict)

    def find(self, method: str | None) -> Endpoint | None:
        """Return the endpoint for a method; GET's answers HEAD."""
        return self.endpoints.get("GET" if method == "HEAD" else method or "")


@stream_request_body
class EndpointHandler(ResultHandler):
    """Tornado's handler behind a function endpoint.

    Identity and protection are settled before a byte of the body is taken, and the function runs while it comes in.
    """

    def __init__(self, application: Application, request: HTTPServerRequest, **kwargs: Any) -> None:
        self._body = RequestBody(announced_length(request.headers))
        self._answering: asyncio.Task[None] | None = None
        super().__init__(application, request, **kwargs)

    def initialize(self, route: Route) -> None:
        self.route = route

    def endpoint(self) -> Endpoint:
        """Return what answers this request. Raises `HTTPError` 405."""
        found = self.route.find(self.request.method)
        if found is None and self.request.method != "OPTIONS":
            raise HTTPError(405)
        return found or Endpoint(lambda request: None, auto_start=False)

    def allowed_methods(self) -> list[str]:
        own = [name for name in METHODS if name in self.route.endpoints]
        return own + (["HEAD"] if "GET" in own else []) + ["OPTIONS"]

    def starts_session(self) -> bool:
        own = self.endpoint().auto_start
        return super().starts_session() if own is None else own

    # --- the body comes in ----------------------------------------------------------------------------

    async def prepare(self) -> None:
        # Each way to read the body has its own limit: server.max_body_size, or those of an upload.
        self.request.connection.set_max_body_size(sys.maxsize)  # type: ignore[union-attr]  # documented for this use
        try:
            self.endpoint()
            await super().prepare()
        except Exception as refusal:
            if not self._has_body():
                raise
            self._answering = asyncio.create_task(self._fail_after_body(refusal))
            return
        if not self._finished and self._has_body():
            self._answering = asyncio.create_task(self._answer_or_fail())

    def _has_body(self) -> bool:
        announced = self._body.announced
        return announced > 0 if announced is not None else "Transfer-Encoding" in self.request.headers

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._answering is None:
            return None  # nobody reads, so nobody would ask for the next chunk
        return self._body.feed(chunk)

    def on_connection_close(self) -> None:
        self._body.lose()
        super().on_connection_close()

    async def _respond(self, *args: str, **kwargs: str) -> None:
        """Answer: Tornado calls this when the body is complete, or at once where there is none."""
        self._body.complete()
        if self._answering is None:
            await self._answer()
        else:
            await asyncio.shield(self._answering)

    get = post = put = patch = delete = _respond

    async def _answer_or_fail(self) -> None:
        """Answer while the body comes in. Tornado waits for its end before it looks at errors, so they are sent here."""
        try:
            await self._answer()
        except Exception as error:
            await self._fail_after_body(error)

    async def _fail_after_body(self, error: Exception) -> None:
        """Answer an error, unless there is nobody left to answer."""
        await self._body.drain(LINGER)
        if self._finished:
            return
        if isinstance(error, Finish):
            self.finish(*error.args)
            return
        self.log_exception(type(error), error, error.__traceback__)
        if isinstance(error, ClientDisconnected | StreamClosedError):
            if self.visit is not None:
                self.visit.unit.rollback()
            return
        status = error.status_code if isinstance(error, HTTPError) else 500
        self.send_error(status, exc_info=(type(error), error, error.__traceback__))

    # --- the answer goes out --------------------------------------------------------------------------

    async def _answer(self) -> None:
        endpoint = self.endpoint()
        request = Request(self, {k: _decoded(v) for k, v in self.path_kwargs.items()}, self._body)
        try:
            if endpoint.serialize and self.has_session:
                response = await self._begin_alone(endpoint, await self._whole(request))
            else:
                response = Response.of(await endpoint(request))
                await self.begin(response)
            await self._body.drain(LINGER)
            self.finish(response.content() or None)
        finally:
            self._body.discard()

    async def _whole(self, request: Request) -> Request:
        """Take in the body: who sends slowly must not hold the lock meanwhile. Raises as `Request.body` does."""
        return Request(self, request.path_params, RequestBody.of(await request.body()))

    async def _begin_alone(self, endpoint: Endpoint, request: Request) -> Response:
        """Call the endpoint, and send what it streams, while no other request of the session is handled."""
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self.session.lock(SERIALIZE_WAIT))
            except TimeoutError:
                raise TooManyRequests(1.0, "other requests of this session are still being handled") from None
            response = Response.of(await endpoint(request))
            await self.begin(response)
        return response


def _name(function: Function) -> str:
    return getattr(function, "__qualname__", repr(function))


def _decoded(value: str) -> str:
    """Tornado has decoded path parameters already; it leaves an unmatched optional one as `None`."""
    return value or ""
