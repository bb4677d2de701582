"""Static files behind the gate: from the folder, or from memory where they were asked for just now."""

from __future__ import annotations

from collections.abc import Callable

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import HTTPError

from wshttp.http_date import http_date
from wshttp.web.body import RequestBody
from wshttp.web.conditions import precondition
from wshttp.web.content_types import content_type
from wshttp.web.endpoint import Endpoint, Route
from wshttp.web.exchange import Exchange, Serving
from wshttp.web.file_cache import LARGEST, FileCache, KeptFile
from wshttp.web.file_root import FileRoot, OpenFile
from wshttp.web.files import SECURITY_HEADERS, FilesHandler, freshness
from wshttp.web.on_request import ask_the_application
from wshttp.web.request import Request
from wshttp.web.response import Response
from wshttp.web.result_handler import ResultHandler

_ROUTE = Route("*", {"GET": Endpoint(lambda request: None)})

_CONDITIONS = ("Range", "If-Match", "If-Unmodified-Since")
"""What makes a request one for the handler; what is left is a copy that may still be right."""


class SiteFiles(FilesHandler, ResultHandler):  # type: ignore[misc]  # its methods take the path, as FilesHandler's do
    """Static files behind the gate. They have no session, unless `on_request` answers for one that is not there."""

    wants_session = False

    def initialize(self, root: FileRoot, cache: Callable[[], float], kept: FileCache | None = None) -> None:
        """`kept` is where small files are kept for a moment; `None`: nowhere."""
        super().initialize(root, cache)
        self._kept = kept

    async def _answer(self, path: str) -> None:
        try:
            await super()._answer(path)
        except HTTPError as error:
            if error.status_code != 404 or not self.site.callbacks["request"]:
                raise
        else:
            return
        self.wants_session = True  # type: ignore[misc]  # of this request: from here on it is like one of a route
        visit = await self.identify()
        await visit.begin(auto_start=self.starts_session())
        await self.respond(await ask_the_application(Request(self, {}, RequestBody.of(self.request.body))))

    async def _send(self, file: OpenFile) -> None:
        if self._kept is not None and file.size <= LARGEST:
            self._keep(file, self._kept)
        await super()._send(file)

    def _keep(self, file: OpenFile, kept: FileCache) -> None:
        """Keep a file; not while it changes, which is when it has no date."""
        if file.content is None or file.etag is None or file.modified_at is None:
            return
        found = KeptFile(
            file.content,
            file.etag,
            file.modified_at,
            last_modified=http_date(file.modified_at),
            kind=content_type(file.name),
            encoding=file.encoding,
            varies=file.varies,
        )
        kept.keep(self.request.path, self.request.headers.get("Accept-Encoding", ""), found)


def is_plain(request: HTTPServerRequest) -> bool:
    """Tell whether a request asks for a file as a whole, if it has changed."""
    return request.method in ("GET", "HEAD") and not any(map(request.headers.get_list, _CONDITIONS))


class FileExchange(Exchange):
    """Answers with a file from memory."""

    wants_session = False

    def __init__(
        self, application: Serving, request: HTTPServerRequest, file: KeptFile, cache: Callable[[], float]
    ) -> None:
        super().__init__(application, request, _ROUTE, {})
        self._file = file
        self._cache = cache

    async def _respond(self, endpoint: Endpoint | None) -> Response:
        file = self._file
        if precondition(self.request.headers, file.etag, file.modified_at) == 304:
            return Response(status=304)
        return Response(file.content)

    def _own_headers_of(self, response: Response) -> HTTPHeaders:
        headers = super()._own_headers_of(response)
        for name, value in SECURITY_HEADERS.items():
            headers[name] = value
        if response.status in (200, 304):
            self._describe(headers, whole=response.status == 200)
        return headers

    def _describe(self, headers: HTTPHeaders, *, whole: bool) -> None:
        """Say what the handler says; with a 304 not what the copy is, but how to know it (RFC 9110, section 15.4.5)."""
        file = self._file
        headers["Cache-Control"] = freshness(self._cache(), is_protected=self.is_protected)
        headers["ETag"] = file.etag
        headers["Last-Modified"] = file.last_modified
        headers["Accept-Ranges"] = "bytes"
        if file.varies:
            headers["Vary"] = "Accept-Encoding"
        if whole:
            headers["Content-Type"] = file.kind
            if file.encoding:
                headers["Content-Encoding"] = file.encoding
