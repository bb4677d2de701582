"""Sessions: list them, look at one, end one or many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from wshttp.errors import BadRequest, NotFound
from wshttp.sessions.data import Json
from wshttp.sessions.record import Reason
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import SessionList
from wshttp.web.admin.access import AdminCall, read_cursor, read_limit
from wshttp.web.admin.choice import Choice, as_facts
from wshttp.web.admin.lives import entry
from wshttp.web.admin.progress import Progress
from wshttp.web.admin.views import connection_view, data_view, moment, session_view

STEP: Final = 100
"""Sessions that are taken from the store at a time, where nobody says otherwise."""

AT_ONCE: Final = 250
"""Sessions that one answer of the store may have: each comes with all its data."""

LOOKS: Final = 100
"""Times that the store is asked for one page: a condition that it has no index for may meet one session in many."""

_CHOICE: Final = ("user", "ip", "before")
_ALONE: Final = ("expired", "all")
_PAGING: Final = ("limit", "cursor")


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the sessions that were chosen, and where to go on; the empty cursor is the end."""

    sessions: list[Session]
    cursor: str


async def page_of(sessions: SessionList, choice: Choice, cursor: str, limit: int) -> Page:
    """Return at most `limit` sessions; fewer, too, where it took many looks to find them."""
    found: list[Session] = []
    for _ in range(LOOKS):
        maximum = min(limit - len(found), AT_ONCE)
        some, cursor = await sessions.page(cursor, user=choice.user, remote_ip=choice.address, maximum=maximum)
        found += [session for session in some if choice.admits(session)]
        # The cursor stands behind all that was looked at, so each look is for what there is room for: with little left,
        # the next page gets it in one look instead of this one in many.
        if not cursor or len(found) > limit * 3 // 4:
            break
    return Page(found, cursor)


class Sessions(AdminCall):
    """`/admin/api/sessions`."""

    _done: Mapping[str, Any] | None = None

    async def get(self) -> None:
        given = self.parameters(*_CHOICE, *_PAGING)
        choice = self._choice(given)
        sessions = self.site.sessions
        page = await page_of(sessions, choice, read_cursor(given.get("cursor")), read_limit(given.get("limit"), STEP))
        total = None
        if choice.is_indexed:
            total = await sessions.count(user=choice.user, remote_ip=choice.address)
        shown = await self._shown(page.sessions)
        self.answer({"sessions": shown, "total": total, "cursor": page.cursor or None})

    async def _shown(self, sessions: list[Session]) -> list[dict[str, Json]]:
        shown, now = [], self.site.sessions.now()
        for session in sessions:
            shown.append(session_view(session, now))
            await self.desk.slices.pause()
        return shown

    async def delete(self) -> None:
        given = self.parameters(*_CHOICE, *_ALONE, *_PAGING)
        _require_choice(given)
        facts = as_facts(given)
        if "expired" in given:
            await self._end_expired(facts)
            return
        sessions = self.site.sessions
        choice, so_far = self._choice(given), Progress.read(given.get("cursor"), sessions.now())
        if choice.user is None:  # who starts a session meanwhile keeps it; one who is to be locked out does not
            choice = replace(choice, until=so_far.began_at)
        await self._end(choice, so_far, read_limit(given.get("limit"), 0), facts)

    async def _end_expired(self, facts: Mapping[str, object]) -> None:
        self.record("sessions ending", **facts)
        with self._ending(facts) as done:
            async for _ in self.site.sessions.end_due():
                done["count"] += 1
        self.answer({"ended": done["count"], "cursor": None})

    async def _end(self, choice: Choice, so_far: Progress, limit: int, facts: Mapping[str, object]) -> None:
        """End a page of sessions, or with a limit of 0 page after page."""
        sessions, cursor = self.site.sessions, so_far.cursor
        self.record("sessions ending", **facts)  # at each step: a cursor is the client's, and no proof of one before
        with self._ending(facts) as done:
            while True:
                page = await page_of(sessions, choice, cursor, limit or STEP)
                async for _ in sessions.end_each(page.sessions, Reason.ADMIN):
                    done["count"] += 1
                cursor = page.cursor
                if limit or not cursor:
                    break
        self.answer({"ended": done["count"], "cursor": so_far.after(cursor)})

    @contextmanager
    def _ending(self, facts: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        """Have the audit log, and the answer, say how many ended, come what may: they are counted as `count`."""
        with self.recording("sessions ended", **facts, count=0) as done:
            self._done = done
            yield done

    def problem_facts(self) -> dict[str, Any]:
        return {"ended": self._done["count"]} if self._done else {}

    def _choice(self, given: Mapping[str, str]) -> Choice:
        return Choice.read(given, self.site.hub.clock.time())


def _require_choice(given: Mapping[str, str]) -> None:
    """Raise `BadRequest` where it is not clear beyond doubt who is to be ended."""
    for name in (*_CHOICE, *_ALONE, *_PAGING):
        if given.get(name) == "":
            raise BadRequest(f"{name} is empty")
    for name in _ALONE:
        if given.get(name, "1") != "1":
            raise BadRequest(f"{name} is 1, or is left out")
    chosen = [name for name in (*_CHOICE, *_ALONE) if name in given]
    if not chosen:
        raise BadRequest("say whose sessions are to end: user, ip, before, expired=1 or all=1")
    if len(chosen) > 1 and not set(_ALONE).isdisjoint(chosen):
        raise BadRequest(f"{' and '.join(chosen)} do not go together")
    if "expired" in given and not set(_PAGING).isdisjoint(given):
        raise BadRequest("expired=1 takes no limit and no cursor")


class OneSession(AdminCall):
    """`/admin/api/sessions/{ref}`."""

    async def get(self, ref: str) -> None:
        self.parameters()
        session = await self._find(ref)
        sessions, hub = self.site.sessions, self.site.hub
        started = {"what": "started", "at": moment(session.created_at)}
        self.answer(
            {
                "session": session_view(session, sessions.now()),
                "user_agent": session.record.user_agent,
                "idle_timeout": session.record.idle_timeout,
                "absolute_timeout": session.record.absolute_timeout,
                "data": data_view(session),
                "connections": [connection_view(each) for each in hub.of_session(ref)],
                "history": [started, *(entry(happening) for happening in self.desk.lives.of(ref))],
                "node": hub.elsewhere.node,
            }
        )

    async def delete(self, ref: str) -> None:
        self.parameters()
        session = await self._find(ref)
        record = session.record
        with self.recording("session ended", ref=ref, user=record.user, remote_ip=record.remote_ip):
            if not await self.site.sessions.end(session, Reason.ADMIN):
                raise _no_such(ref)
        self.set_status(204)

    async def _find(self, ref: str) -> Session:
        session = await self.site.sessions.get_by_ref(ref)
        if session is None:
            raise _no_such(ref)
        return session


def _no_such(ref: str) -> NotFound:
    return NotFound(f"there is no live session {ref}")
