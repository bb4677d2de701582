"""One request of a function endpoint, and its answer: from the connection to the function and back.

Identity and protection are settled before a byte of the body is taken, and the function runs while it comes in.
What it changes in its session is committed before the last byte of the answer is sent. The rules are those of
`SessionHandler`; but no `RequestHandler` is made, which alone would take longer than all of this.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import Future
from collections.abc import Awaitable, Coroutine
from typing import Any, ClassVar, Protocol

from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine, ResponseStartLine
from tornado.web import Finish, HTTPError

from wshttp.eager import Eager
from wshttp.errors import ClientDisconnected, UsageError
from wshttp.header_fields import Fields, fields_of, headers_of
from wshttp.web.alone import alone
from wshttp.web.answer import (
    fields_for,
    is_bodiless,
    phrase_of,
    response_of,
    response_to_finish,
    start_line,
)
from wshttp.web.body import RequestBody, announced_length
from wshttp.web.endpoint import Endpoint, Route, is_awaitable
from wshttp.web.entrance import enter
from wshttp.web.failures import log_failure
from wshttp.web.parts import send_each
from wshttp.web.problems import challenge_of, problem
from wshttp.web.request import Request
from wshttp.web.response import Response, answer_of
from wshttp.web.site import Site
from wshttp.web.visit import Visit

SERIALIZE_WAIT = 10.0
"""Seconds that a request waits for the others of its session, where its route takes them one at a time."""

LINGER = 2.0
"""Seconds that an answer waits for the end of a body that nobody reads; own choice."""


class Serving(Protocol):
    """What an exchange needs of its application."""

    site: Site
    eager: Eager

    def log_request(self, handler: Any) -> None:
        """Take note of a request that has been answered."""


class Exchange:
    """What deals with one request: an `HTTPMessageDelegate` by what it does, made when the header is there."""

    wants_session: ClassVar[bool] = True
    verifies_basic: ClassVar[bool] = True
    begins_anew: ClassVar[bool] = False
    is_handshake: ClassVar[bool] = False
    stays_open: ClassVar[bool] = False
    is_stream: ClassVar[bool] = False

    __slots__ = (
        "_announced",
        "_application",
        "_body",
        "_body_may_come",
        "_connection",
        "_endpoint",
        "_finished",
        "_has_entered",
        "_is_lost",
        "_path_params",
        "_redirect",
        "_status",
        "is_protected",
        "request",
        "route",
        "site",
        "visit",
    )

    def __init__(
        self, application: Serving, request: HTTPServerRequest, route: Route, path_params: dict[str, str]
    ) -> None:
        self.site = application.site
        self.request = request
        self.route = route
        self._application = application
        self._path_params = path_params
        self._connection: Any = request.connection  # `HTTPConnection` lacks what Tornado's own handlers use, too
        self.is_protected = False
        self.visit: Visit | None = None
        self._endpoint: Endpoint | None = None
        self._body: RequestBody | None = None
        self._body_may_come: Future[None] | None = None
        self._has_entered = False
        self._redirect: Response | None = None
        self._status = 200
        self._announced = False
        """The answer's header has been sent."""
        self._finished = False
        self._is_lost = False

    def get_status(self) -> int:
        """Return the status of the answer."""
        return self._status

    def touches(self) -> bool:
        """Count as activity."""
        return True

    def starts_session(self) -> bool:
        """Start a session as the endpoint says, or else the settings; OPTIONS, which has none, starts no session."""
        own = False if self._endpoint is None else self._endpoint.auto_start
        return self.site.settings.session.auto_start if own is None else own

    def redirect(self, url: str) -> None:
        """Answer with where to go instead."""
        self._redirect = Response(status=302, headers={"Location": url.encode().decode("latin-1")})

    # --- the request comes in -------------------------------------------------------------------------

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        fields = fields_of(headers)
        if "Content-Length" not in fields and "Transfer-Encoding" not in fields:
            return None
        announced = announced_length(headers)
        if announced == 0 or (announced is None and "Transfer-Encoding" not in fields):
            return None
        # Each way to read the body has its own limit: server.max_body_size, or those of an upload.
        self._connection.set_max_body_size(sys.maxsize)
        self._body = RequestBody(announced)
        self._application.eager.run(self._serve())
        if not self._has_entered:
            self._body_may_come = asyncio.get_running_loop().create_future()
        return self._body_may_come

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return None if self._body is None else self._body.feed(chunk)

    def finish(self) -> None:
        if self._body is None:
            self._application.eager.run(self._serve())
        else:
            self._body.complete()

    def on_connection_close(self) -> None:
        self._is_lost = True
        if self._body is not None:
            self._body.lose()

    def _let_body_come(self) -> None:
        self._has_entered = True
        if self._body_may_come is not None and not self._body_may_come.done():
            self._body_may_come.set_result(None)

    # --- the answer is found --------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Answer the request, whatever happens."""
        try:
            error = await self._answer()
            if error is not None:
                await self._fail(error)
        except asyncio.CancelledError as error:
            self._break_off(error)
        finally:
            if self._body is not None:
                self._let_body_come()
                self._body.discard()
            if self.visit is not None:
                self.visit.patience.end()

    async def _answer(self) -> Exception | None:
        """Answer, or return what has kept it from that."""
        try:
            self._endpoint = self._find_endpoint()
            entering = enter(self)
            if entering is not None:
                await entering
            if self._body is not None:
                self._let_body_come()
            response, content = await self._respond(self._endpoint)
            if self._body is not None:
                await self._body.drain(LINGER)
            await self._finish(response, content)
        except Exception as error:
            return error
        return None

    def _find_endpoint(self) -> Endpoint | None:
        endpoint = self.route.find(self.request.method)
        if endpoint is None and self.request.method != "OPTIONS":
            raise HTTPError(405)
        return endpoint

    async def _respond(self, endpoint: Endpoint | None) -> tuple[Response, bytes]:
        """Return the answer, and what of its content is still to be sent."""
        if endpoint is None or self.visit is None:
            return Response(status=204, headers={"Allow": self.route.allowed}), b""
        request = Request(self.request, self.visit, self._path_params, self._body)
        if endpoint.serialize and request.has_session:
            return await self._respond_alone(endpoint, request, self.visit)
        return await self._ask(endpoint, request)

    async def _respond_alone(self, endpoint: Endpoint, request: Request, visit: Visit) -> tuple[Response, bytes]:
        """Call the endpoint, and send what it streams, while no other request of the session is handled."""
        # The body is taken in first: who sends slowly must not hold the lock meanwhile.
        request = Request(self.request, visit, self._path_params, RequestBody.of(await request.body()))
        return await alone(request.session, SERIALIZE_WAIT, lambda: self._ask(endpoint, request))

    async def _ask(self, endpoint: Endpoint, request: Request) -> tuple[Response, bytes]:
        """Call the endpoint, and send what it streams."""
        result = endpoint.call(request)
        answer = answer_of(await result if is_awaitable(result) else result)
        if answer[0].is_streamed:
            await self._send_parts(answer[0])
        return answer

    # --- the answer goes out --------------------------------------------------------------------------

    async def _send_parts(self, response: Response) -> None:
        """Send what is streamed, each part when the client has taken the one before; `_finish` sends the rest."""
        if self.request.method == "HEAD":
            return
        await send_each(response, lambda part: self._send(response, part))

    async def _send(self, response: Response, text: str | bytes) -> None:
        part = text.encode() if isinstance(text, str) else text
        if self._announced:
            taken = self._connection.write(part)
        else:
            taken = self._announce(response, self._fields_of(response), part)
        await taken

    def _fields_of(self, response: Response) -> Fields:
        return fields_for(response)

    def _announce(
        self, response: Response, fields: Fields, chunk: bytes | None, phrase: str | None = None
    ) -> Future[None]:
        """Send a header. What it has to say of the session comes last, and counts."""
        visit = self.visit
        if visit is not None:
            visit.announce(fields)
        line = start_line(response.status, phrase)
        taken: Future[None] = self._connection.write_headers(line, headers_of(fields), chunk)
        self._announced, self._status = True, response.status
        if visit is not None:
            visit.announced = True
        return taken

    async def _finish(self, response: Response, content: bytes, phrase: str | None = None) -> None:
        """Commit, then send the rest of the answer. Raises what the commit does, with nothing sent."""
        if content and is_bodiless(response.status):
            raise UsageError(f"an answer with status {response.status} has no body")
        visit = self.visit
        if visit is not None and visit.unit.dirty:
            try:
                await visit.unit.commit()
            except BaseException:
                visit.unit.rollback()
                raise
        self._complete(response, content, phrase)

    def _complete(self, response: Response, content: bytes, phrase: str | None = None) -> None:
        is_head = self.request.method == "HEAD"
        if self._announced:
            if content and not is_head:
                self._connection.write(content)
        else:
            fields = self._fields_of(response)
            if is_bodiless(response.status):
                fields.pop("Content-Type", None)
            elif "Content-Length" not in fields and not (is_head and response.is_streamed):
                fields["Content-Length"] = [str(len(content))]
            self._announce(response, fields, None if is_head else content, phrase)
        self._connection.finish()
        self._finished = True
        self._application.log_request(self)

    # --- it fails -------------------------------------------------------------------------------------

    async def _fail(self, error: Exception) -> None:
        failure = await self._attempt(self._answer_failure(error))
        if failure is not None:  # what it had changed before could not be committed
            failure = await self._attempt(self._answer_failure(failure))
        if failure is not None:
            log_failure(self.request, failure)
            self._cut()

    async def _attempt(self, answering: Coroutine[Any, Any, None]) -> Exception | None:
        try:
            await answering
        except Exception as error:
            return error
        return None

    async def _answer_failure(self, error: Exception) -> None:
        if self._body is not None:
            self._let_body_come()
            await self._body.drain(LINGER)
        if isinstance(error, Finish) and not self._finished:
            response = self._redirect or response_to_finish(error)
            await self._finish(response, response.content())
            return
        log_failure(self.request, error)
        if self._announced or isinstance(error, ClientDisconnected):
            self._rollback()
            self._cut()
        else:
            await self._send_problem(error)

    async def _send_problem(self, error: Exception) -> None:
        found = problem(error.status_code if isinstance(error, HTTPError) else 500, error)
        if found.status >= 500:
            self._rollback()
        more = challenge_of(self.site, self.request.path, found.status, error)
        if found.status == 405:
            more["Allow"] = self.route.allowed
        response = response_of(found, **more)
        await self._finish(response, response.content(), phrase_of(error))

    def _break_off(self, error: asyncio.CancelledError) -> None:
        """Answer at once when somebody has cancelled this, or what it waited for."""
        task = asyncio.current_task()
        is_own = task is not None and task.cancelling() > 0
        if not is_own:
            log_failure(self.request, error)
        self._rollback()
        if self._announced:
            self._cut()
        else:
            response = response_of(problem(500))
            self._complete(response, response.content())
        if is_own:
            raise error

    def _rollback(self) -> None:
        if self.visit is not None:
            self.visit.unit.rollback()

    def _cut(self) -> None:
        """Close the connection in the middle of the answer: the only way to take back what has been sent.

        One that is lost is left alone: the client may be about to read why the engine has refused its body.
        """
        if not self._finished:
            self._finished = True
            if not self._is_lost:
                stream = self._connection.detach()
                # Where the end of the connection is that of the answer, as in HTTP/1.0, it would look whole.
                stream.reset() if self.request.version == "HTTP/1.0" else stream.close()
