"""Health: whether the process lives, and whether it wants requests. For load balancers and supervisors."""

from __future__ import annotations

from wshttp.web.site_handler import SiteHandler


class Live(SiteHandler):
    """`GET /health/live`: 200 as long as the event loop turns."""

    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.finish({"status": "live"})


class Ready(SiteHandler):
    """`GET /health/ready`: 503 while it drains."""

    def get(self) -> None:
        draining = self.site.draining
        self.set_status(503 if draining else 200)
        self.set_header("Cache-Control", "no-store")
        self.finish({"status": "draining" if draining else "ready"})
