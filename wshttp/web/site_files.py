"""Static files behind the gate: from the folder, or from memory where they were asked for just now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError

from wshttp.header_fields import Fields, fields_of
from wshttp.http_date import http_date
from wshttp.web.body import RequestBody
from wshttp.web.conditions import precondition
from wshttp.web.content_types import content_type
from wshttp.web.endpoint import Endpoint, Route
from wshttp.web.entrance import come_in
from wshttp.web.exchange import Exchange, Serving
from wshttp.web.file_cache import LARGEST, FileCache, KeptFile
from wshttp.web.file_root import FileRoot, OpenFile
from wshttp.web.files import SECURITY_HEADERS, FilesHandler, freshness
from wshttp.web.on_request import ask_the_application
from wshttp.web.request import Request
from wshttp.web.response import Response
from wshttp.web.result_handler import ResultHandler

_ROUTE: Final = Route("*", {"GET": Endpoint(lambda request: None)})

_FOR_THE_HANDLER: Final = frozenset({"Range", "If-Match", "If-Unmodified-Since"})
"""What makes a request one for the handler."""

_OF_A_COPY: Final = frozenset({"If-None-Match", "If-Modified-Since"})
"""What is left of conditions then: the client has a copy that may still be right."""


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
        await come_in(self, self.site)
        request = Request(self.request, self._visit(), {}, RequestBody.of(self.request.body))
        await self.respond(await ask_the_application(request))

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
    return request.method in ("GET", "HEAD") and _FOR_THE_HANDLER.isdisjoint(fields_of(request.headers))


class FileExchange(Exchange):
    """Answers with a file from memory."""

    __slots__ = ("_cache", "_file")

    wants_session = False

    def __init__(
        self, application: Serving, request: HTTPServerRequest, file: KeptFile, cache: Callable[[], float]
    ) -> None:
        super().__init__(application, request, _ROUTE, {})
        self._file = file
        self._cache = cache

    async def _respond(self, endpoint: Endpoint | None) -> tuple[Response, bytes]:
        file = self._file
        headers = self.request.headers
        has_copy = not _OF_A_COPY.isdisjoint(fields_of(headers))
        if has_copy and precondition(headers, file.etag, file.modified_at) == 304:
            return Response(status=304), b""
        return Response(file.content), file.content

    def _fields_of(self, response: Response) -> Fields:
        fields = super()._fields_of(response)
        for name, value in SECURITY_HEADERS.items():
            fields[name] = [value]
        if response.status in (200, 304):
            self._describe(fields, whole=response.status == 200)
        return fields

    def _describe(self, fields: Fields, *, whole: bool) -> None:
        """Say what the handler says; with a 304 not what the copy is, but how to know it (RFC 9110, section 15.4.5)."""
        file = self._file
        fields["Cache-Control"] = [freshness(self._cache(), is_protected=self.is_protected)]
        fields["Etag"] = [file.etag]
        fields["Last-Modified"] = [file.last_modified]
        fields["Accept-Ranges"] = ["bytes"]
        if file.varies:
            fields["Vary"] = ["Accept-Encoding"]
        if whole:
            fields["Content-Type"] = [file.kind]
            if file.encoding:
                fields["Content-Encoding"] = [file.encoding]
