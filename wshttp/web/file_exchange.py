"""An answer with a file from memory, without a handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tornado.httputil import HTTPServerRequest

from wshttp.header_fields import Fields, fields_of
from wshttp.web.conditions import precondition
from wshttp.web.endpoint import Endpoint, Route
from wshttp.web.exchange import Exchange, Serving
from wshttp.web.file_cache import KeptFile
from wshttp.web.files import SECURITY_HEADERS, freshness
from wshttp.web.response import Response

_FOR_THE_HANDLER: Final = frozenset({"Range", "If-Match", "If-Unmodified-Since"})
"""What makes a request one for the handler."""

_OF_A_COPY: Final = frozenset({"If-None-Match", "If-Modified-Since"})
"""What is left of conditions then: the client has a copy that may still be right."""


def is_plain(request: HTTPServerRequest) -> bool:
    """Tell whether a request asks for a file as a whole, if it has changed."""
    return request.method in ("GET", "HEAD") and _FOR_THE_HANDLER.isdisjoint(fields_of(request.headers))


class FileExchange(Exchange):
    """Answers with a file from memory."""

    __slots__ = ("_cache", "_file")

    wants_session = False

    def __init__(
        self,
        application: Serving,
        request: HTTPServerRequest,
        route: Route,
        file: KeptFile,
        cache: Callable[[], float],
    ) -> None:
        super().__init__(application, request, route, {})
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
