"""What every route answers besides its own methods: HEAD, OPTIONS, and 405 with `Allow` (RFC 9110, section 9)."""

from __future__ import annotations

from typing import Any

from tornado.web import RequestHandler


class Methods(RequestHandler):
    """HEAD and OPTIONS, for handlers that have none of their own."""

    def head(self, *args: str, **kwargs: str) -> Any:
        """Answer as GET does; Tornado leaves the body away."""
        return self.get(*args, **kwargs)

    def options(self, *args: str, **kwargs: str) -> None:
        """Say which methods there are."""
        self.set_header("Allow", ", ".join(self.allowed_methods()))
        self.set_status(204)

    def allowed_methods(self) -> list[str]:
        """Return the methods that this handler implements."""
        own = [
            name
            for name in ("GET", "POST", "PUT", "PATCH", "DELETE")
            if getattr(type(self), name.lower()) is not getattr(RequestHandler, name.lower())
        ]
        return own + (["HEAD"] if "GET" in own else []) + ["OPTIONS"]
