"""The page of administration: files that come with the package, for those who may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wshttp.web.admin.access import AdminGate
from wshttp.web.admin.desk import Desk
from wshttp.web.file_root import FileRoot
from wshttp.web.files import FilesHandler

POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Nothing from elsewhere nor to there, no script in the page itself, and no frame around it: a click ends sessions."""


class AdminPage(FilesHandler, AdminGate):  # type: ignore[misc]  # its methods take the path, as FilesHandler's do
    """`GET /admin/`."""

    def initialize(self, desk: Desk, root: FileRoot, cache: Callable[[], float]) -> None:  # type: ignore[override]  # it is two
        AdminGate.initialize(self, desk)
        FilesHandler.initialize(self, root, cache)

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Referrer-Policy", "no-referrer")


class AdminEntrance(AdminGate):
    """`GET /admin`: the page's address without its slash."""

    def get(self) -> None:
        self.redirect(f"{self.site.prefix}/admin/")
