"""A request, as a function endpoint sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from tornado.httputil import HTTPHeaders, HTTPServerRequest

from wshttp.errors import BadRequest
from wshttp.sessions.data import read_json
from wshttp.sessions.session import Session
from wshttp.web.body import RequestBody
from wshttp.web.paths import decoded_path
from wshttp.web.site import Site
from wshttp.web.uploads import Upload, save_upload
from wshttp.web.visit import Visit


class Request:
    """One HTTP request with its session.

    The body is read when it is asked for: `await request.body()`, `text()`, `json()`, `form()`,
    `async for chunk in request.stream()`, `await request.save_upload(folder)`; once.
    """

    def __init__(
        self, http: HTTPServerRequest, visit: Visit, path_params: dict[str, str], body: RequestBody | None
    ) -> None:
        self.http = http
        """Tornado's request behind this one, for what is not here."""
        self.path_params = path_params
        """What the route's parameters matched, decoded."""
        self._visit = visit
        self._coming = body

    @property
    def site(self) -> Site:
        """The parts of the server."""
        return self._visit.site

    # --- what was asked -----------------------------------------------------------------------------

    @property
    def method(self) -> str:
        """`GET`, `POST` and so on, in capitals."""
        return self.http.method or ""

    @property
    def path(self) -> str:
        """The path, decoded once and normalised."""
        return decoded_path(self.http.path)

    @property
    def headers(self) -> HTTPHeaders:
        """All header lines, under names of any case; without those in which only a trusted proxy may speak."""
        return self.http.headers

    @property
    def remote_ip(self) -> str:
        """The client's address, as trusted proxies report it; empty on a Unix socket without one."""
        return self.http.remote_ip or ""

    @property
    def scheme(self) -> str:
        """`http` or `https`, as the client used it."""
        return self.http.protocol

    @property
    def host(self) -> str:
        """The host that the client asked for, with its port."""
        return self.http.host

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of several with one name the last. See `query_list`."""
        return {name: values[-1].decode("utf-8", "replace") for name, values in self.http.query_arguments.items()}

    def query_list(self, name: str) -> list[str]:
        """Return all values of a query parameter."""
        return [value.decode("utf-8", "replace") for value in self.http.query_arguments.get(name, [])]

    # --- who asks -----------------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The client's session. Raises `SessionEnded` (401) where it has none."""
        return self._visit.require_session()

    @property
    def has_session(self) -> bool:
        """Whether the client has a session."""
        return self._visit.session is not None

    @property
    def user(self) -> str | None:
        """Who is logged in, by session or by a password that came with the request."""
        return self._visit.user

    async def start_session(self) -> Session:
        """Start a session, or return the one there is."""
        return await self._visit.start()

    async def end_session(self) -> None:
        """End the session, with reason `logout`; its sockets close."""
        await self._visit.end()

    # --- the body -----------------------------------------------------------------------------------

    async def body(self) -> bytes:
        """Return the body. Raises `ContentTooLarge` (413) above `server.max_body_size`."""
        return await self._body.read(self.site.settings.server.max_body_size)

    async def text(self) -> str:
        """Return the body as UTF-8 text. Raises `BadRequest` where it is none."""
        try:
            return (await self.body()).decode()
        except UnicodeDecodeError:
            raise BadRequest("the body is not UTF-8") from None

    async def json(self) -> Any:
        """Return the body as JSON. Raises `BadRequest` where it is none."""
        try:
            return read_json(await self.text())
        except (ValueError, RecursionError):
            raise BadRequest("the body is not JSON") from None

    async def form(self) -> dict[str, str]:
        """Return the fields of a URL-encoded form; of several with one name the last. Files: `save_upload`."""
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise BadRequest("the body is not a URL-encoded form")
        try:
            return dict(parse_qsl(await self.text(), keep_blank_values=True, max_num_fields=1000, errors="strict"))
        except ValueError:
            raise BadRequest("the form has more than 1000 fields, or is not UTF-8") from None

    def stream(self) -> AsyncIterator[bytes]:
        """Return the body's chunks as they come, without a limit; the client waits until each is taken."""
        return self._body.__aiter__()

    async def save_upload(
        self,
        folder: str | Path,
        *,
        max_file_size: int | None = None,
        max_files: int | None = None,
        accept: Callable[[str], bool] | None = None,
        need_session: bool = True,
    ) -> Upload:
        """Stream the files of a multipart form into a folder, under names of our own, and return what came.

        Limits default to `uploads.max_file_size` (bytes) and `uploads.max_files`; `accept` sees each file's name
        (for display only) and may refuse it. Nothing is left behind by an upload that fails.
        Raises `SessionEnded` (401) without a session unless `need_session` is false, `BadRequest`,
        `ContentTooLarge` (413), `StorageFull` (507).
        """
        if need_session:
            _ = self.session
        limits = self.site.settings.uploads
        return await save_upload(
            self.stream(),
            self.headers.get("Content-Type", ""),
            Path(folder),
            max_file_size=limits.max_file_size if max_file_size is None else max_file_size,
            max_files=limits.max_files if max_files is None else max_files,
            accept=accept,
        )

    @property
    def _body(self) -> RequestBody:
        if self._coming is None:
            self._coming = RequestBody.of(b"")
        return self._coming

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}>"
