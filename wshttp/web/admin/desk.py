"""What a node keeps for its administrators, from its beginning: lives, watchers, refusals, numbers."""

from __future__ import annotations

from wshttp.sessions.happenings import Happening
from wshttp.sessions.slices import Slices
from wshttp.web.admin.lives import Lives
from wshttp.web.admin.refusals import Refusals
from wshttp.web.admin.watchers import Watchers
from wshttp.web.metrics import Metrics
from wshttp.web.site import Site


class Desk:
    """Look on, from when this is made."""

    def __init__(self, site: Site, metrics: Metrics) -> None:
        self.metrics = metrics
        self.lives = Lives()
        self.watchers = Watchers()
        self.refusals = Refusals(site.hub.clock)
        self.slices = Slices()
        """For long answers: a thousand sessions are some 20 ms of work."""
        self.began_at = site.hub.clock.monotonic()
        """On the monotonic clock."""
        site.sessions.happenings.watch(self._look)
        site.on_drain += [self.watchers.close, self.refusals.flush]

    def _look(self, happening: Happening) -> None:
        self.lives.take(happening)
        self.watchers.tell(happening)
