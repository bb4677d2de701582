"""Static files behind the gate: from the folder, or from memory where they were asked for just now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tornado.web import HTTPError

from wshttp.http_date import http_date
from wshttp.web.body import RequestBody
from wshttp.web.content_types import content_type
from wshttp.web.endpoint import Endpoint, Route
from wshttp.web.entrance import come_in
from wshttp.web.file_cache import LARGEST, FileCache, KeptFile
from wshttp.web.file_root import FileRoot, OpenFile
from wshttp.web.files import FilesHandler
from wshttp.web.on_request import ask_the_application
from wshttp.web.request import Request
from wshttp.web.result_handler import ResultHandler

KEPT: Final = Route("*", {"GET": Endpoint(lambda request: None)})
"""Files from memory, which answer to reading alone; no endpoint is called for them."""


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
