"""Health: whether the process lives, and whether it wants requests. For load balancers and supervisors."""

from __future__ import annotations

from tornado.web import RequestHandler

from wshttp.web.site import site_of


class Live(RequestHandler):
    """`GET /health/live`: 200 as long as the event loop turns."""

    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.finish({"status": "live"})

    head = get  # Tornado leaves the body away


class Ready(RequestHandler):
    """`GET /health/ready`: 503 while it drains or its store is away."""

    def get(self) -> None:
        site = site_of(self)
        ready = site.ready() and not site.draining
        self.set_status(200 if ready else 503)
        self.set_header("Cache-Control", "no-store")
        self.finish({"status": "ready" if ready else "draining" if site.draining else "store-unavailable"})

    head = get  # Tornado leaves the body away
