"""What a life owes to others: its start, its warnings, its scheduled events, its end.

    start      on_session_start                                                    then the first answer
    end        on_session_ending, sockets closed, on_disconnect, on_session_end    then nothing, ever

Everything of one session runs in order. Sockets are closed in a queue of their own, so that a slow `on_session_end`
of one session never keeps the sockets of another open.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Collection
from functools import partial
from typing import Any, Final

from wshttp.errors import StoreUnavailable
from wshttp.sessions.callbacks import Callbacks, current_event
from wshttp.sessions.deliveries import Deliveries
from wshttp.sessions.happenings import Happenings
from wshttp.sessions.ids import new_event_id
from wshttp.sessions.notifier import NoSockets, Notifier
from wshttp.sessions.record import Event, Reason, Record
from wshttp.sessions.session import Session
from wshttp.sessions.slices import Slices
from wshttp.sessions.statistics import Statistics
from wshttp.sessions.store import Store

LAST_WORD: Final = 1.0
"""Seconds that `on_session_ending` has while the sockets of a session are still open."""

NO_LIMIT: Final = 30.0
"""Seconds taken for `session.callback_timeout` where that is 0: an end waits for nobody without a bound."""

CLEANING_UP: Final = 5.0
"""Seconds beyond the time-outs of a last message and its `on_disconnect` for which an end waits: both may clean up."""

_log = logging.getLogger("wshttp.sessions")


class Lifecycle:
    """Deliver what the ledger owes for sessions of this process."""

    def __init__(
        self, store: Store, callbacks: Callbacks, statistics: Statistics, slices: Slices, happenings: Happenings
    ) -> None:
        self.notifier: Notifier = NoSockets()
        self._store = store
        self._callbacks = callbacks
        self._statistics = statistics
        self._happenings = happenings
        self._closings = Deliveries(slices)
        self._deliveries = Deliveries(slices)
        self._unsettled: dict[str, Event] = {}
        self._postponed: list[tuple[Session, Event]] = []
        self._starts: dict[str, asyncio.Future[None]] = {}  # by ref: those that are not settled yet
        self._waits: set[asyncio.Task[None]] = set()

    async def begin(self, session: Session, event: Event) -> None:
        """Run the start callbacks of a new session, and wait for them."""
        self._statistics.started += 1
        self._happenings.tell("started", session.record)
        _log.info("session started", extra=facts(session.record))
        if self._callbacks["session_start"]:
            await asyncio.shield(self.start(session, event))
        else:
            self._expect_start(session)
            await self._settle_start(session, event)

    def start(self, session: Session, event: Event) -> asyncio.Future[None]:
        """Run the start callbacks of a session; nobody gets it before the returned future is done."""
        self._expect_start(session)
        session.starting = self._deliveries.deliver(session.ref, partial(self._start, session, event))
        return session.starting

    def _expect_start(self, session: Session) -> None:
        if session.ref not in self._starts:
            self._starts[session.ref] = asyncio.get_running_loop().create_future()

    async def _start(self, session: Session, event: Event) -> None:
        try:
            await self._callbacks.notify("session_start", session, event=event)
            await self._settle_start(session, event)
        finally:
            session.starting = None

    async def _settle_start(self, session: Session, event: Event) -> None:
        """Strike a start. Where another node has taken it over meanwhile, the session is starting as long as it is there."""
        if await self._settle(event):
            session.record.starting = False

    async def _settle(self, event: Event) -> bool:
        """Strike an entry; where the store is away, when it is back: what has run is not to run again for that.

        False where another node has taken it over, as far as is known.
        """
        try:
            is_struck = await self._store.settle(event)
        except StoreUnavailable:
            self._unsettled[event.id] = event
        except asyncio.CancelledError:
            self._unsettled[event.id] = event
            raise
        except Exception:
            self._is_struck(event)  # a fault of ours, which would keep all others from being struck, too
            raise
        else:
            self._is_struck(event)
            return is_struck
        return True

    async def settle_again(self) -> None:
        """Strike, and deliver, what an outage, or who gave up, has left. Raises `StoreUnavailable` while it lasts."""
        for event in list(self._unsettled.values()):
            await self._settle(event)
            if event.id in self._unsettled:
                raise StoreUnavailable
        if self._store.available:
            postponed, self._postponed = self._postponed, []
            for session, event in postponed:
                self.fire(session, event)

    def _is_struck(self, event: Event) -> None:
        self._unsettled.pop(event.id, None)
        start = self._starts.pop(event.ref, None) if event.kind == "start" else None
        if start is not None:
            start.set_result(None)

    def warn(self, session: Session) -> None:
        """Say that a session is about to expire."""
        seconds = session.expires_in
        self._happenings.tell("warned", session.record)
        self.notifier.expiring(session.record, seconds)
        if self._callbacks["session_expiring"]:
            self._deliveries.deliver(session.ref, partial(self._warn, session, seconds))

    async def _warn(self, session: Session, seconds: float) -> None:
        try:
            lives = await self._lives(session)
        except StoreUnavailable:
            return  # nobody is owed a warning
        if lives:
            event = Event(new_event_id(), "session_expiring", session.ref)
            await self._callbacks.notify("session_expiring", session, seconds, event=event)

    def fire(self, session: Session, event: Event) -> None:
        """Run the callback of a scheduled event."""
        self._deliveries.deliver(session.ref, partial(self._fire, session, event))

    async def _fire(self, session: Session, event: Event) -> None:
        try:
            lives = await self._lives(session)
        except StoreUnavailable:
            self._postponed.append((session, event))
            return
        if lives:
            await self._callbacks.notify_scheduled(event, session)
        await self._settle(event)

    async def _lives(self, session: Session) -> bool:
        """Tell whether a session lives; ask the store where others may have ended it, since their word can be lost.

        Raises `StoreUnavailable` where nobody can tell.
        """
        if session.ended is not None or not self._store.lease:
            return session.ended is None
        # First by its key: that many are looked up at once is for those who trust no copies, which words keep right.
        [found] = await self._store.load_many([session.record.key])
        if not isinstance(found, Record) or found.ref != session.ref:  # it may live on under another key
            found = await self._store.load_ref(session.ref, touch=False)
        if not self._store.available:
            raise StoreUnavailable  # what was found is a copy
        return found is not None and session.ended is None

    def conclude(self, session: Session, event: Event, *, elsewhere: bool = False) -> asyncio.Future[None]:
        """Carry out an end that the store has decided: the only way in which one is delivered.

        `elsewhere`: up to the sockets; the node that is given the entry later does the rest (see `Ended`).
        The returned future is done when the session's sockets are told.
        """
        reason = session.record.reason
        if reason is None:
            raise ValueError("the store ended a session without a reason")
        if elsewhere or event.attempt == 1:
            self._statistics.ended[reason] += 1
            self._happenings.tell("ended", session.record, reason)
            _log.info("session ended", extra=facts(session.record) | {"reason": str(reason)})
        close = partial(self._close, session, event, reason, has_end=not elsewhere)
        return self._closings.deliver(session.ref, close, after=session.starting)

    def finish(self, session: Session, event: Event, reason: Reason) -> None:
        """Do what `conclude` left to whoever is given the entry."""
        self._closings.deliver(session.ref, partial(self._close, session, event, reason, has_ending=False))

    async def _close(
        self, session: Session, event: Event, reason: Reason, *, has_ending: bool = True, has_end: bool = True
    ) -> None:
        earlier: set[asyncio.Future[None]] = set()
        if has_ending and self._callbacks["session_ending"]:
            # Functions that are cancelled, reported and tried again may take longer in all; the sockets don't wait.
            earlier.add(asyncio.create_task(self._last_word(session, reason)))
            await asyncio.wait(earlier, timeout=LAST_WORD)
        parting = self._part(session, reason)
        if parting is not None:
            earlier.add(asyncio.ensure_future(parting))
        if not has_end:
            return
        end = partial(self._end, session, event, reason)
        has_earlier = earlier or session.ref in self._starts
        self._deliveries.deliver(session.ref, end, after=self._all_of(earlier, session) if has_earlier else None)

    async def _last_word(self, session: Session, reason: Reason) -> None:
        event = Event(new_event_id(), "session_ending", session.ref, reason=reason)
        await self._callbacks.notify("session_ending", session, reason, event=event, timeout=LAST_WORD)

    def _part(self, session: Session, reason: Reason) -> Awaitable[None] | None:
        """Have the sockets closed. A fault in that must not keep the end itself from being delivered."""
        try:
            return self.notifier.ended(session.record, reason)
        except Exception:
            _log.exception("the sockets of a session were not told of its end", extra=facts(session.record))
            return None

    def _all_of(self, earlier: Collection[asyncio.Future[None]], session: Session) -> asyncio.Task[None]:
        """Wait for what comes before an end, in a task that may be let go of."""
        wait = asyncio.create_task(self._wait_for(earlier, session))
        self._waits.add(wait)
        wait.add_done_callback(self._waits.discard)
        return wait

    async def _wait_for(self, earlier: Collection[asyncio.Future[None]], session: Session) -> None:
        patience = 2 * (self._callbacks.timeout or NO_LIMIT) + CLEANING_UP
        if earlier:
            _, hanging = await asyncio.wait(earlier, timeout=patience)
            if hanging:
                _log.error(
                    "the end of a session waits no longer for what should come before", extra=facts(session.record)
                )
        start = self._starts.get(session.ref)
        if start is not None:
            # Without a bound: who runs an end before its start is struck has the start run after it, if the process dies.
            await asyncio.shield(start)

    async def _end(self, session: Session, event: Event, reason: Reason) -> None:
        await self._callbacks.notify("session_end", session, reason, event=event)
        await self._settle(event)

    async def room(self) -> None:
        """Wait until the closing of sockets keeps up; in a callback, which it may be waiting for, return at once."""
        if current_event() is None:
            await self._closings.room()

    def keeps_up(self, most: int) -> bool:
        """Return whether fewer than `most` sessions have callbacks that have not run, or this is one of them."""
        return max(len(self._closings.refs), len(self._deliveries.refs)) < most or current_event() is not None

    async def caught_up(self, most: int) -> None:
        """Wait while `most` sessions or more have callbacks that have not run."""
        for queue in (self._closings, self._deliveries):
            await queue.room(most)

    async def settled(self, timeout: float | None = None) -> bool:
        """Wait until nothing is owed any more, at most `timeout` seconds; tell whether that is so."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.busy:
            for queue in (self._closings, self._deliveries):
                if not await queue.settled(None if until is None else max(0.0, until - time.monotonic())):
                    return False
        return True

    @property
    def busy(self) -> bool:
        """Whether anything is owed."""
        return bool(self._closings.refs or self._deliveries.refs)

    @property
    def undelivered(self) -> int:
        """How many sessions have callbacks that have not run."""
        return len(self._closings.refs | self._deliveries.refs)

    async def stop(self) -> None:
        """Give up what is left."""
        await self._closings.stop()
        await self._deliveries.stop()
        for wait in self._waits:  # last: what they keep from running must not run now
            wait.cancel()
        self._starts.clear()


def facts(record: Record) -> dict[str, Any]:
    """Return what the log says of a session; never its id."""
    return {"ref": record.ref, "identity": record.identity, "user": record.user, "remote_ip": record.remote_ip}
