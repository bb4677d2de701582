"""Static files over HTTP: a folder, and the handler that answers GET and HEAD from it."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

from tornado.httputil import HTTPOutputError
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from wshttp.http_date import http_date
from wshttp.web.conditions import precondition, range_applies
from wshttp.web.content_types import content_type
from wshttp.web.file_root import CHUNK, FileRoot, Found, OpenFile
from wshttp.web.ranges import ByteRange, Unsatisfiable, parse_range

__all__ = ["FileRoot", "FilesHandler"]

ALLOWED = ("GET", "HEAD", "OPTIONS")

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'self'; base-uri 'self'",
}
"""Sent with every answer, errors too: OWASP ASVS 5.0, 3.4.3 to 3.4.6; why these stands in `docs/topics/files.md`."""

READ_LAST = 16 * 1024
"""Bytes at the end of a large file that are read before they are sent, whatever the engine can do without that."""

_log = logging.getLogger(__name__)


def freshness(seconds: float, *, is_protected: bool = False) -> str:
    """Return the `Cache-Control` that lets a client use a file for so long without asking; below 1 it asks each time.

    A protected file is no shared cache's to keep, and asked for each time: whoever is let in now may not be in a minute.
    """
    if is_protected:
        return "private, no-cache"
    return f"public, max-age={int(seconds)}" if seconds >= 1 else "no-cache"


class FilesHandler(RequestHandler):
    """Serve the files of a `FileRoot`.

    The route's one group is the path below the root, which Tornado has decoded once: `(r"/(.*)", FilesHandler, {...})`.
    Errors are raised as `HTTPError`, so that the application's `write_error` gives them their form.
    """

    is_protected: bool = False
    """Whether not everybody may have the file."""

    def initialize(self, root: FileRoot, cache: Callable[[], float]) -> None:
        """`cache` returns the seconds for which clients may use a file without asking; below 1 they ask each time."""
        self._root = root
        self._cache = cache

    def set_default_headers(self) -> None:
        super().set_default_headers()
        for name, value in SECURITY_HEADERS.items():
            self.set_header(name, value)
        if self.request.method not in ALLOWED:
            self.set_header("Allow", ", ".join(ALLOWED))  # here, because an error drops what was set later

    def compute_etag(self) -> str | None:
        """Leave Tornado's own ETag away: it hashes what is in the write buffer, which is not the file."""
        return None

    def get(self, path: str) -> Awaitable[None]:
        return self._answer(path)

    def head(self, path: str) -> Awaitable[None]:
        return self._answer(path)

    def options(self, path: str) -> None:
        self.set_header("Allow", ", ".join(ALLOWED))
        self.set_status(204)

    async def _answer(self, path: str) -> None:
        try:
            found = await self._root.fetch(path, self.request.headers.get("Accept-Encoding", ""))
        except OSError as error:
            raise HTTPError(503, "%s cannot be opened: %s", path, os.strerror(error.errno or 0)) from error
        if found is None:
            raise HTTPError(404)
        if found is Found.FOLDER:
            self._add_slash()
        else:
            with found:
                await self._send(found)

    def _add_slash(self) -> None:
        """Redirect to the same path with a slash at its end, never to another host."""
        path = self.request.path
        if not path.startswith("/") or path[1:2] in ("/", "\\"):
            raise HTTPError(404)  # a browser reads //name and /\name as a host; only an unusual route gets here
        self.set_header("Cache-Control", "no-cache")
        self.redirect(f"{path}/" + (f"?{self.request.query}" if self.request.query else ""), permanent=True)

    async def _send(self, file: OpenFile) -> None:
        status = precondition(self.request.headers, file.etag, file.modified_at)
        if status == 412:
            raise HTTPError(412)
        self._describe(file)
        if status == 304:
            self.set_status(304)
            return
        try:
            part = self._part(file)
        except Unsatisfiable:
            self._refuse_range(file)
            return
        if part is not None:
            self.set_status(206)
            self.set_header("Content-Range", part.content_range(file.size))
        part = part or ByteRange(0, file.size)
        self.set_header("Content-Length", str(part.length))
        if self.request.method == "GET":
            await self._stream(file, part)

    def _describe(self, file: OpenFile) -> None:
        self.set_header("Cache-Control", freshness(self._cache(), is_protected=self.is_protected))
        self.set_header("Content-Type", content_type(file.name))
        self.set_header("Accept-Ranges", "bytes")
        if file.encoding:
            self.set_header("Content-Encoding", file.encoding)
        if file.varies:
            self.add_header("Vary", "Accept-Encoding")
        if file.etag:
            self.set_header("ETag", file.etag)
        if file.modified_at is not None:
            self.set_header("Last-Modified", http_date(file.modified_at))

    def _part(self, file: OpenFile) -> ByteRange | None:
        """Return the part that is asked for, `None` for the whole; only GET has ranges (RFC 9110, section 14.2)."""
        headers = self.request.headers
        if self.request.method != "GET" or "Range" not in headers:
            return None
        return parse_range(headers["Range"], file.size) if range_applies(headers, file.etag, file.modified_at) else None

    def _refuse_range(self, file: OpenFile) -> None:
        """Answer 416 without a body: `Content-Range` is the message, and `write_error` would lose it."""
        self.set_status(416)
        self.set_header("Content-Range", f"bytes */{file.size}")
        for name in ("Content-Type", "Content-Encoding", "ETag", "Last-Modified"):
            self.clear_header(name)

    async def _stream(self, file: OpenFile, part: ByteRange) -> None:
        """Send the bytes, waiting for the client before each next chunk is read."""
        if file.content is not None:
            self.write(file.read(part.start, part.length))
            return
        try:
            start = await self._send_ahead(file, part)
            await self._send_pieces(file, start, part.stop)
        except StreamClosedError:
            return
        except OSError as error:
            self._cut(f"{file.name} cannot be read: {os.strerror(error.errno or 0)}")

    async def _send_ahead(self, file: OpenFile, part: ByteRange) -> int:
        """Have the engine send all but the end where it knows how to, and return up to where it did.

        The end is read, and who reads it finds out whether the file is still what was promised.
        """
        connection: Any = self.request.connection
        count = part.length - READ_LAST
        if count <= 0 or self.application.transforms or not getattr(connection, "sends_files", False):
            return part.start
        await self.flush()
        sent: int = await connection.send_file(file.descriptor, part.start, count, self._root.run)
        return part.start + sent

    async def _send_pieces(self, file: OpenFile, start: int, stop: int) -> None:
        for offset in range(start, stop, CHUNK):
            wanted = min(CHUNK, stop - offset)
            chunk = await self._root.read(file, offset, wanted)
            if len(chunk) < wanted:
                self._cut(f"{file.name} changed while it was sent")
                return
            self.write(chunk)
            await self.flush()

    def _cut(self, reason: str) -> None:
        """Close the connection: what was promised can't be sent any more, and must not be taken for whole."""
        _log.warning("%s; the connection is cut", reason)
        try:
            self.finish()  # with less than Content-Length, which closes the connection and says so
        except HTTPOutputError:
            self.finish()  # of the closed connection: the request is logged and done
