"""Health: whether the process lives, and whether it wants requests. For load balancers and supervisors."""

from __future__ import annotations

from wshttp.web.answering import Answering


class Live(Answering):
    """`GET /health/live`: 200 as long as the event loop turns."""

    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.finish({"status": "live"})


class Ready(Answering):
    """`GET /health/ready`: 503 while it drains or its store is away."""

    def get(self) -> None:
        site = self.site
        ready = site.ready() and not site.draining
        self.set_status(200 if ready else 503)
        self.set_header("Cache-Control", "no-store")
        self.finish({"status": "ready" if ready else "draining" if site.draining else "store-unavailable"})
