"""A line per answered request, and its numbers."""

from __future__ import annotations

import logging

from wshttp.web.metrics import Answered, Metrics
from wshttp.web.visit import Visit

_log = logging.getLogger("wshttp.access")


class AccessLog:
    """Tornado's `log_function`. The query is left out: it may hold what nobody else should know."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __call__(self, answered: Answered) -> None:
        self._metrics.observe(answered)
        if not _log.isEnabledFor(logging.INFO):
            return
        request = answered.request
        visit: Visit | None = getattr(answered, "visit", None)
        session = visit.session if visit is not None else None
        _log.info(
            "%s %s %d",
            request.method,
            request.path,
            answered.get_status(),
            extra={
                "remote_ip": request.remote_ip,
                "milliseconds": round(1000 * request.request_time(), 1),
                "ref": session.ref if session is not None else None,
                "user": visit.user if visit is not None and not visit.outdated else None,
            },
        )
