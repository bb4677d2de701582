"""One connection of one session: a WebSocket, or a stream in its place.

Messages are handled one at a time, in the order in which they came: where they come in, if the handler never waits, and
else by a task that lives only while there are some. The transport goes on reading meanwhile, so a busy handler still
answers pings.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from contextvars import Context, copy_context
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from wshttp.close_codes import VANISHED
from wshttp.errors import ConnectionClosed, SessionEnded, StoreUnavailable, answer_for
from wshttp.realtime.close_codes import BYE, INTERNAL_ERROR, RATE, RENEWED, SLOW, Close, sendable
from wshttp.realtime.format import PLAIN, Format, Message, size_of
from wshttp.realtime.parcel import Parcel
from wshttp.realtime.rate import TokenBucket
from wshttp.realtime.reader import Reader
from wshttp.realtime.transport import Transport
from wshttp.sessions.data import Json
from wshttp.sessions.session import Session
from wshttp.sessions.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from wshttp.realtime.hub import Hub

INBOX: Final = 64
"""Messages that wait for a busy handler before the transport stops reading."""

INBOX_BYTES: Final = 1024 * 1024
"""Bytes of such messages: of large ones, fewer may wait."""

AT_ONCE: Final = 64
"""Messages that are handled where they come in before everybody else on the loop has a turn: many may come at a time."""

LONGEST_EXCUSE: Final = 60.0
"""Seconds on one message after which a busy handler excuses a silent peer no longer, with its inbox full: as nothing is
read meanwhile, nobody would ever notice that the peer has gone."""

_NO_READERS: Final[Mapping[str, Reader]] = MappingProxyType({})

LAST_ANSWERS: Final = 5.0
"""Seconds for which a close of the peer's, or a broken rule, waits for answers to what came before: as long as Tornado
waits for a close frame."""

MessageHandler: TypeAlias = Callable[["Connection", Message], Awaitable[None] | None]

_log = logging.getLogger("wshttp.connections")


class Connection:
    """An open WebSocket or stream, as an application sees it.

    `session` is its session (with a durable store: as it was at the last message), `None` where sessions are off.
    `remote_ip`, `path` and `subprotocol` are those of its handshake, and `over` says what it is; `opened_at` is in Unix
    seconds.
    `local` holds what the application wants to remember of it.
    """

    # There are tens of thousands of them that do nothing: what is seldom used is made when it is.
    __slots__ = (
        "_admitted",
        "_awaits_store",
        "_busy_since",
        "_handled_at_once",
        "_handler",
        "_heard_at",
        "_hub",
        "_inbox",
        "_inbox_bytes",
        "_is_abandoned",
        "_is_busy",
        "_key",
        "_last_write",
        "_local",
        "_ping_sent_at",
        "_rate",
        "_readers",
        "_restarted_at",
        "_room",
        "_topics",
        "_transport",
        "_was_closed_here",
        "_worker",
        "closed",
        "disconnected",
        "format",
        "id",
        "opened_at",
        "over",
        "path",
        "remote_ip",
        "session",
        "subprotocol",
        "user_agent",
    )

    def __init__(
        self,
        hub: Hub,
        session: Session | None,
        *,
        remote_ip: str,
        path: str = "",
        user_agent: str | None = None,
        subprotocol: str | None = None,
        format: Format = PLAIN,
        over: Literal["WebSocket", "stream"] = "WebSocket",
    ) -> None:
        self.id = secrets.token_hex(8) + hub.elsewhere.mark
        self.session = session
        self._key = None if session is None else session.record.key
        self._restarted_at = 0.0 if session is None else session.record.restarted_at
        self.remote_ip = remote_ip
        self.path = path
        self.user_agent = user_agent
        self.subprotocol = subprotocol
        self.format = format
        self.over = over
        self.opened_at = hub.clock.time()
        self._topics: set[str] | None = None
        self._readers: dict[str, Reader] | None = None
        self._local: dict[str, Any] | None = None
        self.closed: Close | None = None
        """Code and reason, from the moment at which either side closes."""
        self.disconnected: asyncio.Future[None] | None = None
        """Done when `on_disconnect` has run."""
        self._admitted: bool | asyncio.Future[bool] | None = None
        self._was_closed_here = False
        self._ping_sent_at: float | None = None
        self._heard_at = 0.0
        self._hub = hub
        self._transport: Transport | None = None
        self._handler: MessageHandler | None = None
        self._inbox: list[tuple[Message, Context]] = []
        self._inbox_bytes = 0
        self._is_busy = False
        self._worker: asyncio.Task[None] | None = None
        """What handles the messages, where it has to wait."""
        self._handled_at_once = 0
        self._busy_since = 0.0
        self._awaits_store = False
        self._is_abandoned = False
        self._room: asyncio.Future[None] | None = None
        rate = hub.settings.max_messages_per_second
        self._rate = TokenBucket(rate, hub.clock.monotonic()) if rate else None
        self._last_write: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.session!r}>"

    @property
    def local(self) -> dict[str, Any]:
        """What the application wants to remember of it, on this node and as long as it is open."""
        if self._local is None:
            self._local = {}
        return self._local

    @property
    def topics(self) -> AbstractSet[str]:
        """The topics that it is in; `subscribe` and `unsubscribe` change that."""
        return self._topics or frozenset()

    @property
    def readers(self) -> Mapping[str, Reader]:
        """How far it is in the topics with history that it joined by itself."""
        return self._readers or _NO_READERS

    @property
    def user(self) -> str | None:
        """Who is logged in."""
        return None if self.session is None else self.session.user

    @property
    def known_user(self) -> str | None:
        """Who is logged in, whoever's unit of work it is that asks: the hub keeps its own books."""
        return None if self.session is None else self.session.record.user

    @property
    def member_ref(self) -> str:
        """Who it counts as in a topic: its session, or itself where sessions are off."""
        return self.id if self.session is None else self.session.ref

    @property
    def is_outdated(self) -> bool:
        """Whether its session has been renewed since; an id that says who the client is stays the same in that."""
        if self.session is None:
            return False
        return self.session.record.key != self._key or self.session.record.restarted_at > self._restarted_at

    @property
    def is_open(self) -> bool:
        """Whether it can be sent to: its handshake is through, and nobody has closed it."""
        return self._transport is not None and self.closed is None

    @property
    def paused(self) -> bool:
        """Whether handlers are so far behind that nothing more is read from the peer."""
        return self._room is not None

    def require_open(self) -> None:
        """Raise where nothing that was asked for over this connection may take effect any more.

        `SessionEnded` if its session has ended, `ConnectionClosed` if it was closed here. What a peer sent before it
        closed the connection itself still counts.
        """
        if self.session is not None and self.session.ended is not None:
            raise SessionEnded(self.session.ref, self.session.ended)
        if self.closed is not None and self._was_closed_here:
            raise ConnectionClosed(*self.closed)

    # --- admission ----------------------------------------------------------------------------------

    def admit(self, admitted: bool) -> None:
        """Take note of what `on_connect` decided: there is an `on_disconnect` for those only that it let in."""
        waiting, self._admitted = self._admitted, admitted
        if isinstance(waiting, asyncio.Future) and not waiting.done():
            waiting.set_result(admitted)

    async def was_admitted(self) -> bool:
        """Tell whether `on_connect` let it in, once that is known."""
        if self._admitted is None:
            self._admitted = asyncio.get_running_loop().create_future()
        return self._admitted if isinstance(self._admitted, bool) else await self._admitted

    # --- sending ------------------------------------------------------------------------------------

    async def send(self, message: Json | bytes) -> None:
        """Send a message: text, bytes, or a JSON value.

        Waits while more than `websocket.send_buffer_limit` bytes are unsent, so a fast sender takes the receiver's pace;
        a receiver that takes nothing for `server.write_timeout` is closed with 1013.
        Raises `ConnectionClosed`.
        """
        parcel = Parcel(self.format.message(message))
        if self._last_write is not None:
            await self._take_turn(self._last_write, parcel)
        self._write(parcel)

    async def send_formed(self, data: Message) -> None:
        """Send what is already formed, at the receiver's pace, as `send` does."""
        parcel = Parcel(data)
        if self._last_write is not None:
            await self._take_turn(self._last_write, parcel)
        self._write(parcel)

    async def _take_turn(self, write: asyncio.Future[None] | None, parcel: Parcel) -> None:
        while write is not None and self.closed is None and not self._has_room(parcel):
            if write.done():
                break  # what waits is none of the messages
            await self._wait_for_room(write)
            write = self._last_write

    def post(self, data: Message) -> bool:
        """Send what is already formed, without waiting; tell whether it went out.

        A slow receiver is treated as `websocket.on_slow` says: closed with 1013, or the message is dropped.
        """
        return self.deliver(Parcel(data))

    def deliver(self, parcel: Parcel) -> bool:
        """Send, as `post` does, what may be on its way to others, too."""
        if self.closed is not None or self._transport is None:
            return False
        if self._last_write is not None and not self._has_room(parcel):
            self._hub.statistics.slow += 1
            if self._hub.settings.on_slow == "close":
                self.close(*SLOW)
            return False
        try:
            self._write(parcel)
        except ConnectionClosed:
            return False  # the transport reports the close itself
        return True

    def _has_room(self, parcel: Parcel) -> bool:
        limit = self._hub.settings.send_buffer_limit
        unsent = self._transport.unsent if self._transport is not None else 0
        return not limit or unsent == 0 or unsent + parcel.size <= limit

    async def _wait_for_room(self, write: asyncio.Future[None]) -> None:
        try:
            await asyncio.wait_for(asyncio.shield(write), self._hub.write_timeout or None)
        except TimeoutError:
            self.close(*SLOW)
        except Exception:
            _log.debug("connection %s closed while a message was on its way", self.id)

    def _write(self, parcel: Parcel) -> None:
        """Hand over to the transport. Raises `ConnectionClosed`, also where the socket is gone and we don't know yet."""
        if self.closed is not None or self._transport is None:
            raise ConnectionClosed(*(self.closed or (None, None)))
        write = self._transport.write(parcel)
        if write is not None and write is not self._last_write:
            write.add_done_callback(_retrieve)
        self._last_write = write
        statistics = self._hub.statistics
        statistics.sent += 1
        statistics.sent_bytes += parcel.size

    # --- receiving ----------------------------------------------------------------------------------

    def opened(
        self, transport: Transport, handler: MessageHandler, begin: Callable[[], Awaitable[None] | None]
    ) -> None:
        """Go on: the handshake is through. `begin` runs before the first message, and what it sends goes out first.

        A connection that was closed meanwhile closes now.
        """
        self._handler = handler
        self._is_busy = True
        self._busy_since = self._hub.clock.monotonic()
        worker = self._hub.eager.run(self._begin(transport, begin))
        if worker is not None:
            self._employ(worker)

    async def _begin(self, transport: Transport, begin: Callable[[], Awaitable[None] | None]) -> None:
        self._transport = transport
        try:
            if self.closed is None:
                await self._open(begin)
                await self._catch_up()
            else:
                transport.close(*self.closed)
        finally:
            self._finish()

    async def _open(self, begin: Callable[[], Awaitable[None] | None]) -> None:
        """Call what the application has for the beginning, as one unit of work, and commit it."""
        with UnitOfWork() as unit:
            if self.session is not None and self._key is not None:
                unit.bind(self.session.ref, self._key)
            try:
                opening = begin()
                if opening is not None:
                    await opening
                if unit.dirty:
                    await self.commit(unit)
            except Exception as error:
                self._failed(error)

    def received(self, message: Message) -> asyncio.Future[None] | None:
        """Take a message from the transport; while the returned future is not done, it should read no more."""
        if self.closed is not None:
            return None
        hub, rate = self._hub, self._rate
        now = hub.clock.monotonic()
        hub.statistics.received += 1
        hub.statistics.received_bytes += size_of(message)
        if rate is not None and not rate.take(now):
            self.close(*RATE)
            return None
        reflex = self.format.reflex(message)
        if reflex is not None:
            self.post(reflex)
            return self._room
        if self._is_busy:
            return self._keep(message)
        self._is_busy = True
        self._busy_since = now
        self._handled_at_once += 1
        if self._handled_at_once < AT_ONCE:
            worker = hub.eager.run(self._work(message))
        else:
            self._handled_at_once = 0
            worker = asyncio.create_task(self._work(message))
        if worker is not None:
            self._employ(worker)
        return None

    def _employ(self, worker: asyncio.Task[None]) -> None:
        """Have a task go on with the messages."""
        self._worker = worker
        if self.closed is not None:  # in its first step
            self._hub.partings.outlast(self, worker)

    def _keep(self, message: Message) -> asyncio.Future[None] | None:
        """Have a message wait for its turn."""
        self._inbox.append((message, copy_context()))
        self._inbox_bytes += size_of(message)
        if self._room is None and (len(self._inbox) >= INBOX or self._inbox_bytes >= INBOX_BYTES):
            self._room = asyncio.get_running_loop().create_future()
        return self._room

    async def _work(self, message: Message) -> None:
        """Handle a message, and those that come in meanwhile."""
        try:
            await self._handle(message)
            if self._inbox:
                await self._catch_up()
        finally:
            self._finish()

    async def _catch_up(self) -> None:
        """Handle what came in meanwhile, one by one, each in its own context."""
        while self._inbox:
            message, context = self._next()
            self._busy_since = self._hub.clock.monotonic()
            handling = context.run(self._hub.eager.run, self._handle(message))
            if handling is not None:
                await handling

    async def _go_on(self) -> None:
        try:
            await self._catch_up()
        finally:
            self._finish()

    def _finish(self) -> None:
        """Have those messages handled that a cancelled one has left, or rest."""
        if self._inbox and self.closed is None:
            self._employ(asyncio.create_task(self._go_on()))
            return
        self._is_busy = False
        self._worker = None
        if self._inbox or self._room is not None:
            self._empty()  # those that wait never will be handled

    def _next(self) -> tuple[Message, Context]:
        """Take out the message whose turn it is."""
        message, context = self._inbox.pop(0)
        self._inbox_bytes -= size_of(message)
        if len(self._inbox) < INBOX // 2 and self._inbox_bytes < INBOX_BYTES // 2:
            self._make_room()
        return message, context

    def _empty(self) -> None:
        self._inbox.clear()
        self._inbox_bytes = 0
        self._make_room()

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    async def _handle(self, message: Message) -> None:
        """Handle a message as one unit of work: load and touch the session, call the handler, commit."""
        unit = UnitOfWork()
        unit.enter()
        try:
            if self._handler is not None and (self.session is None or await self._load(self.session, unit)):
                handling = self._handler(self, message)
                if handling is not None:
                    await handling
                if unit.dirty:
                    await self.commit(unit)
        except Exception as error:
            self._failed(error)
        on_handled = self._hub.statistics.on_handled
        if on_handled is not None:
            on_handled(self._hub.clock.monotonic() - self._busy_since)

    async def _load(self, session: Session, unit: UnitOfWork) -> bool:
        """Bring the session up to date, and touch it if messages count as activity; tell whether it is the client's yet."""
        step = session.touch if "message" in self._hub.touch else session.refresh
        outage: StoreUnavailable | None = None
        try:
            await step()
        except StoreUnavailable as error:
            outage = error
        if outage is not None:
            await self._store_back(outage)
            await self._through_outages(step)
        if self._key is None or session.record.key != self._key:
            self.close(*RENEWED)  # on another node, or its notice is still on its way
            return False
        unit.bind(session.ref, self._key)
        return True

    async def commit(self, unit: UnitOfWork) -> None:
        """Write what a message has changed; while the store is away, wait. Raises as `UnitOfWork.commit` does."""
        try:
            await self._through_outages(unit.commit)
        except (StoreUnavailable, asyncio.CancelledError):
            _log.warning("connection %s closed while the store was away; what it changed last is lost", self.id)
            raise

    async def _through_outages(self, step: Callable[[], Awaitable[None]]) -> None:
        """Try a step until the store answers; the messages after it wait in the inbox, and the peer when that is full.

        Where nobody waits for the outcome any more, since the connection was closed here, it is given up.
        """
        while True:
            try:
                return await step()
            except StoreUnavailable as error:
                outage = error
            await self._store_back(outage)

    async def _store_back(self, error: StoreUnavailable) -> None:
        if self.session is None or self._is_abandoned:
            raise error
        self._awaits_store = True
        try:
            await self.session.store_back()
        finally:
            self._awaits_store = False
            self._busy_since = self._hub.clock.monotonic()  # an outage is no fault of the peer's, however long

    def _failed(self, error: Exception) -> None:
        """Draw the consequences of an error in what was to be done for an event."""
        if isinstance(error, ConnectionClosed):
            return  # the client left while it was being answered
        if isinstance(error, SessionEnded) and self.session is not None and error.ref == self.session.ref:
            self._hub.elsewhere.doubt(error.ref)  # if it ended here, its sockets are being closed
            return
        answer = answer_for(error)
        if answer is None:
            _log.error("a handler of %s failed", self.path or "a connection", exc_info=error)
            self.close(*INTERNAL_ERROR)
        else:
            _log.warning("connection %s: %s", self.id, error)
            if answer.close_code is not None:
                self.close(answer.close_code, answer.close_reason)

    # --- heartbeat ----------------------------------------------------------------------------------

    def check_pulse(self, now: float, interval: float, timeout: float, verdict: Close) -> None:
        """Ping a peer that was silent for `interval` seconds; close one that stays silent for `timeout` more.

        While a handler is busy the transport may have stopped reading: for a while that proves nothing against the peer.
        """
        if self._transport is None or not interval:
            return
        if self._ping_sent_at is not None and self._transport.heard_at >= self._ping_sent_at:
            self._ping_sent_at = None
        if self.paused and not self._awaits_store and now - self._busy_since >= LONGEST_EXCUSE:
            self.vanished(verdict)
        elif self.paused:
            self._ping_sent_at = None if self._ping_sent_at is None else now
        elif self._ping_sent_at is None:
            if now - self._transport.heard_at >= interval:
                self._ping_sent_at = now
                self._transport.ping()
        elif timeout and now - self._ping_sent_at >= timeout:
            self.vanished(verdict)

    def heard_anew(self) -> bool:
        """Whether the peer sent anything, a pong included, since this was last asked."""
        heard_at = self._transport.heard_at if self._transport is not None else 0.0
        is_new, self._heard_at = heard_at > self._heard_at, heard_at
        return is_new

    def vanished(self, verdict: Close) -> None:
        """Close a connection whose peer is gone: nobody will answer a close frame.

        The message in hand is still handled before `on_disconnect`, as long as the hub waits for it.
        """
        transport = self._transport
        self._close(verdict, self._worker)
        if transport is not None:
            transport.abort()

    # --- closing ------------------------------------------------------------------------------------

    def close(self, code: int = BYE.code, reason: str = BYE.reason) -> None:
        """Close: from now on nothing is sent or handled any more. Closing twice is no error.

        Raises `UsageError` for a code, or a reason over 123 bytes, that no close frame may carry.
        """
        self._close(sendable(code, reason))

    def _close(self, verdict: Close, last: asyncio.Future[None] | None = None) -> None:
        if self.closed is not None:
            return
        self.closed = verdict
        self._was_closed_here = True
        self._empty()
        self._is_abandoned = last is None
        if self._is_abandoned and self._worker is not None:
            if self._awaits_store:
                self._worker.cancel()
            else:
                self._hub.partings.outlast(self, self._worker)
        self.disconnected = self._hub.part(self, last)
        if self._transport is not None:
            self._transport.close(*verdict)

    def unfinished(self) -> asyncio.Future[Any] | None:
        """Return what is done when the messages that have come are handled, or have had their time; `None`: they are.

        For a store that is away nobody waits.
        """
        if self._worker is None or self._awaits_store:
            return None
        return asyncio.ensure_future(asyncio.wait({self._worker}, timeout=LAST_ANSWERS))

    def lost(self, code: int | None, reason: str | None) -> None:
        """Take note that the peer closed, or vanished (1006); what it sent before is still handled."""
        if self.closed is not None:
            return
        self.closed = Close(code or VANISHED, reason or "")
        self.disconnected = self._hub.part(self, self._worker)

    # --- topics -------------------------------------------------------------------------------------

    def subscribe(self, topic: str) -> None:
        """Join a topic; joining twice is no error."""
        self._hub.topics.join(self, topic)

    def unsubscribe(self, topic: str) -> None:
        """Leave a topic; no error where it was never joined."""
        self._hub.topics.leave(self, topic)

    def joined(self, topic: str) -> None:
        """Take note that it is in a topic, as `Topics` says."""
        if self._topics is None:
            self._topics = set()
        self._topics.add(topic)

    def reads(self, topic: str, reader: Reader) -> None:
        """Take note of how far it is in a topic with history."""
        if self._readers is None:
            self._readers = {}
        self._readers[topic] = reader

    def left(self, topic: str) -> None:
        """Take note that it is in a topic no more."""
        if self._topics is not None:
            self._topics.discard(topic)
        if self._readers is not None:
            self._readers.pop(topic, None)


def _retrieve(write: asyncio.Future[None]) -> None:
    """Take note of a failed write: the transport's close is reported on its own."""
    if not write.cancelled():
        write.exception()
