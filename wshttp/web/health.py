"""Health: whether the process lives, and whether it wants requests. For load balancers and supervisors."""

from __future__ import annotations

from wshttp.web.site_handler import SiteHandler


class Live(SiteHandler):
    """`GET /health/live`: 200 as long as the event loop turns."""

    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.finish({"status": "live"})


class Ready(SiteHandler):
    """`GET /health/ready`: 503 while it drains, and while the store is away."""

    def get(self) -> None:
        status = self._status()
        self.set_status(200 if status == "ready" else 503)
        self.set_header("Cache-Control", "no-store")
        self.finish({"status": status})

    def _status(self) -> str:
        if self.site.draining:
            return "draining"
        return "ready" if self.site.sessions.store.available else "store-unavailable"
