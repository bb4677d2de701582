"""This process's connections: by session, user and topic; the only place that knows them all.

It is the session list's notifier: what happens to a session, the hub tells its sockets.
Every connection is registered before its handshake is answered, so an end that comes in between finds it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from wshttp.addresses import bucket
from wshttp.config import Settings
from wshttp.errors import LimitReached, SessionEnded, WshttpError
from wshttp.realtime.close_codes import GOING_AWAY, KICKED, PING_TIMEOUT, RENEWED, session_ended
from wshttp.realtime.connection import Connection
from wshttp.realtime.format import ENVELOPE, Format, Message, size_of, to_json
from wshttp.realtime.presence import Member, Presence
from wshttp.sessions.callbacks import Callbacks
from wshttp.sessions.clock import Clock, SystemClock
from wshttp.sessions.data import Json
from wshttp.sessions.record import Reason, Record
from wshttp.sessions.session import Session
from wshttp.sessions.slices import Slices

BEAT: Final = 1.0
"""Seconds between looks at who has to be pinged, has not answered, or has left a topic for good."""

LAST_PARTINGS: Final = 1.0
"""Seconds that `on_disconnect` of the last connections has when the hub stops; those of sessions have had theirs."""

LONGEST_LAST_MESSAGE: Final = 30.0
"""Seconds for which `on_disconnect` waits for the handler of the last message, where `session.callback_timeout` is 0."""

CLEANING_UP: Final = 1.0
"""Seconds that a cancelled handler gets before it is left to itself."""

Filter: TypeAlias = Callable[[Connection], bool] | Collection[Connection]

_log = logging.getLogger("wshttp.connections")


@dataclass(slots=True)
class HubStatistics:
    """Totals since the start of the process."""

    opened: int = 0
    received: int = 0
    received_bytes: int = 0
    sent: int = 0
    sent_bytes: int = 0
    slow: int = 0
    """Messages that met a full buffer."""

    def count_sent(self, message: Message) -> None:
        self.sent += 1
        self.sent_bytes += size_of(message)

    def count_received(self, message: Message) -> None:
        self.received += 1
        self.received_bytes += size_of(message)


class Hub:
    """Connections, and what is sent to several of them."""

    def __init__(self, settings: Settings, callbacks: Callbacks, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.statistics = HubStatistics()
        self._callbacks = callbacks
        self._connections: dict[str, Connection] = {}
        self._by_session: dict[str, dict[Connection, None]] = {}
        self._by_topic: dict[str, dict[Connection, None]] = {}
        self._per_address: Counter[str] = Counter()
        self._partings: dict[str, set[asyncio.Future[None]]] = {}
        self._slices = Slices()
        self._heart: asyncio.Task[None] | None = None
        self.presence = Presence(settings.session.presence_grace)
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Take over settings; connections that are open stay."""
        self.settings = settings.websocket
        self.touch = settings.session.touch
        self.max_per_session = settings.session.max_connections_per_session
        self.max_connections = settings.server.max_connections
        self.max_per_address = settings.server.max_connections_per_ip
        self.ipv6_prefix = settings.session.ipv6_prefix
        self.write_timeout = settings.server.write_timeout
        self.presence.grace = settings.session.presence_grace

    # --- connections --------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._connections.values()))

    def get(self, connection_id: str) -> Connection | None:
        """Find an open connection."""
        return self._connections.get(connection_id)

    def of_session(self, ref: str) -> list[Connection]:
        """Return a session's open connections, oldest first."""
        return list(self._by_session.get(ref, ()))

    def register(self, connection: Connection) -> None:
        """Take in a connection whose handshake is about to be answered. Raises `SessionEnded` and `LimitReached`."""
        session = connection.session
        if session is not None and session.ended is not None:
            raise SessionEnded(session.ref, session.ended)
        self._check_limits(connection)
        if session is not None:
            self._by_session.setdefault(session.ref, {})[connection] = None
        self._per_address[self._address(connection)] += 1
        self._connections[connection.id] = connection
        self.statistics.opened += 1
        if self._heart is None:
            self._heart = asyncio.create_task(self._beat_while_needed())
        if session is not None:
            self.changed(session.record)

    def _check_limits(self, connection: Connection) -> None:
        """Raise `LimitReached` where one more is too many.

        The engine counts clients that connect themselves; those behind a trusted proxy are known here only.
        """
        if self.max_connections and len(self) >= self.max_connections:
            raise LimitReached("server.max_connections", self.max_connections, in_all=True)
        if connection.remote_ip and 0 < self.max_per_address <= self._per_address[self._address(connection)]:
            raise LimitReached("server.max_connections_per_ip", self.max_per_address, in_all=False)
        if connection.session is not None and 0 < self.max_per_session <= self.connections(connection.session.ref):
            raise LimitReached("session.max_connections_per_session", self.max_per_session, in_all=False)

    def _address(self, connection: Connection) -> str:
        return bucket(connection.remote_ip, self.ipv6_prefix)

    def part(self, connection: Connection, last: asyncio.Future[None] | None = None) -> asyncio.Future[None]:
        """Take out a connection that closes. What is returned is done when its `on_disconnect` has run, after `last`."""
        self._forget(connection)
        parting = asyncio.ensure_future(self._disconnect(connection, last))
        held = self._partings.setdefault(_member_ref(connection), set())
        held.add(parting)
        parting.add_done_callback(lambda _: self._parted(_member_ref(connection), parting))
        return parting

    def _parted(self, ref: str, parting: asyncio.Future[None]) -> None:
        held = self._partings[ref]
        held.discard(parting)
        if not held:
            del self._partings[ref]

    def _forget(self, connection: Connection) -> None:
        if self._connections.pop(connection.id, None) is None:
            return
        address = self._address(connection)
        self._per_address[address] -= 1
        if not self._per_address[address]:
            del self._per_address[address]
        for topic in list(connection.topics):
            self._leave(connection, topic, on_purpose=False)
        session = connection.session
        if session is None:
            return
        held = self._by_session.get(session.ref, {})
        held.pop(connection, None)
        if not held:
            self._by_session.pop(session.ref, None)
        elif session.ended is None:
            self.changed(session.record)

    def kick(self, connection_id: str) -> bool:
        """Close a connection for good, as an administrator does; tell whether it was there."""
        connection = self._connections.get(connection_id)
        if connection is not None:
            connection.close(*KICKED)
        return connection is not None

    async def _disconnect(self, connection: Connection, last: asyncio.Future[None] | None) -> None:
        """Run `on_disconnect`, once per connection that `on_connect` let in."""
        if last is not None:
            await self._let_finish(connection, last)
        if await connection.admission and self._callbacks["disconnect"]:
            code, reason = connection.closed or (None, None)
            await self._callbacks.notify("disconnect", connection, code, reason)

    async def _let_finish(self, connection: Connection, last: asyncio.Future[None]) -> None:
        """Wait for the handler of the last messages. Nobody is there to hear it: in the end it is cancelled."""
        patience = self._callbacks.timeout or LONGEST_LAST_MESSAGE
        _, hanging = await asyncio.wait({last}, timeout=patience)
        if hanging:
            _log.error(
                "a handler of %s is cancelled: its client left %g s ago", connection.path or "a connection", patience
            )
            last.cancel()
            await asyncio.wait({last}, timeout=CLEANING_UP)

    # --- sending ------------------------------------------------------------------------------------

    async def send(
        self,
        message: Json | bytes,
        *,
        connection: str | None = None,
        session: Session | str | None = None,
        user: str | None = None,
        topic: str | None = None,
        include: Filter | None = None,
        exclude: Filter | None = None,
    ) -> int:
        """Send a message to a connection, a session, a user, a topic or, with none of them, to all; return to how many.

        Several conditions must all hold. `include` and `exclude` are functions of a connection, or collections of them.
        Never waits for a receiver: `websocket.on_slow` says what happens to a slow one.
        """
        receivers = self._chosen(connection, session, user, topic)
        return await self._post(receivers, lambda form: form.message(message), include, exclude)

    async def publish(
        self,
        topic: str,
        data: Json | bytes,
        *,
        sender: Connection | None = None,
        include: Filter | None = None,
        exclude: Filter | None = None,
    ) -> int:
        """Publish on a topic and return to how many it went; `wshttp.v1` clients get it with topic and sender.

        Raises `SessionEnded` and `ConnectionClosed` where `sender` has nothing to say any more: see
        `Connection.require_open`.
        """
        if sender is not None:
            sender.require_open()
        origin = None if sender is None else {"ref": _member_ref(sender), "user": sender.user}
        receivers = self._chosen(None, None, None, topic)
        return await self._post(receivers, lambda form: form.published(topic, data, origin), include, exclude)

    def _chosen(
        self, connection: str | None, session: Session | str | None, user: str | None, topic: str | None
    ) -> list[Connection]:
        """Return the connections for which all that is given holds, starting from the smallest set known."""
        ref = session.ref if isinstance(session, Session) else session
        if connection is not None:
            found = self._connections.get(connection)
            base: Iterable[Connection] = () if found is None else (found,)
        elif ref is not None:
            base = self._by_session.get(ref, ())
        elif topic is not None:
            base = self._by_topic.get(topic, ())
        else:
            base = self._connections.values()
        return [
            each
            for each in base
            if (ref is None or (each.session is not None and each.session.ref == ref))
            and (topic is None or topic in each.topics)
            and (user is None or _user_of(each) == user)
        ]

    async def _post(
        self,
        receivers: Iterable[Connection],
        form: Callable[[Format], Message],
        include: Filter | None = None,
        exclude: Filter | None = None,
    ) -> int:
        """Form a message once per format and give it to each receiver."""
        formed: dict[Format, Message] = {}
        count = 0
        for connection in receivers:
            if (include is not None and not _passes(include, connection)) or (
                exclude is not None and _passes(exclude, connection)
            ):
                continue
            if connection.format not in formed:
                formed[connection.format] = form(connection.format)
            count += connection.post(formed[connection.format])
            await self._slices.pause()
        return count

    def tell(self, connections: Iterable[Connection], envelope: dict[str, Json]) -> None:
        """Send an envelope of `wshttp.v1` to those who speak it."""
        text = to_json(envelope)
        for connection in list(connections):
            if connection.format is ENVELOPE:
                connection.post(text)

    # --- topics and presence ------------------------------------------------------------------------

    def subscribe(self, connection: Connection, topic: str) -> None:
        """Put a connection into a topic."""
        if topic in connection.topics or connection.closed is not None:
            return
        connection.topics.add(topic)
        self._by_topic.setdefault(topic, {})[connection] = None
        member = self.presence.join(topic, _member_ref(connection), _user_of(connection))
        if member is not None:
            self._announce("joined", topic, member, but=connection)

    def unsubscribe(self, connection: Connection, topic: str) -> None:
        """Take a connection out of a topic, at once: there is grace only for those whose connection goes away."""
        if topic in connection.topics:
            self._leave(connection, topic, on_purpose=True)

    def _leave(self, connection: Connection, topic: str, *, on_purpose: bool) -> None:
        connection.topics.discard(topic)
        held = self._by_topic.get(topic, {})
        held.pop(connection, None)
        if not held:
            self._by_topic.pop(topic, None)
        now = self.clock.monotonic()
        member = self.presence.leave(topic, _member_ref(connection), now, on_purpose=on_purpose)
        if member is not None:
            self._announce("left", topic, member)

    def topics(self) -> dict[str, int]:
        """Return how many connections each topic has."""
        return {topic: len(held) for topic, held in self._by_topic.items()}

    def _announce(self, what: str, topic: str, member: Member, but: Connection | None = None) -> None:
        receivers = [each for each in self._by_topic.get(topic, ()) if each is not but]
        self.tell(receivers, {"type": what, "topic": topic, "member": member.describe()})

    # --- the session list's notifier ----------------------------------------------------------------

    def connections(self, ref: str) -> int:
        return len(self._by_session.get(ref, ()))

    def changed(self, record: Record) -> None:
        held = self._by_session.get(record.ref)
        if held:
            session = next(iter(held)).session
            if session is not None:
                self.tell(held, {"type": "session", "session": session.describe()})

    def expiring(self, record: Record, seconds: float) -> None:
        self.tell(self._by_session.get(record.ref, ()), {"type": "expiring", "seconds": int(seconds)})

    def renewed(self, record: Record) -> None:
        for connection in self.of_session(record.ref):
            connection.close(*RENEWED)

    def ended(self, record: Record, reason: Reason) -> Awaitable[None] | None:
        connections = self.of_session(record.ref)
        self.tell(connections, {"type": "ended", "reason": str(reason)})
        for connection in connections:
            connection.close(*session_ended(reason))
        for topic, member in self.presence.remove(record.ref):
            self._announce("left", topic, member)
        partings = self._partings.get(record.ref)
        return _all_done(set(partings)) if partings else None

    # --- heartbeat ----------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Cease to ping, close what is still open, and let `on_disconnect` come to its end."""
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.gather(self._heart, return_exceptions=True)
            self._heart = None
        for connection in list(self._connections.values()):
            connection.close(*GOING_AWAY)
        partings = [parting for held in self._partings.values() for parting in held]
        if partings:
            _, hanging = await asyncio.wait(partings, timeout=LAST_PARTINGS)
            for parting in hanging:
                parting.cancel()

    async def _beat_while_needed(self) -> None:
        while self._connections or self.presence.anybody_leaving:
            await asyncio.sleep(BEAT)
            try:
                await self.beat(self.clock.monotonic())
            except Exception:
                _log.exception("a heartbeat failed; the next one follows")
        self._heart = None

    async def beat(self, now: float) -> None:
        """Ping who was silent, close who did not answer, let go who left; `now` is in monotonic seconds."""
        for topic, member in self.presence.due(now):
            self._announce("left", topic, member)
        for connection in list(self._connections.values()):
            connection.check_pulse(now, self.settings.ping_interval, self.settings.ping_timeout, PING_TIMEOUT)
            await self._touch_for(connection)
            await self._slices.pause()

    async def _touch_for(self, connection: Connection) -> None:
        """Touch a session because its socket is open, or was heard, where that counts as activity."""
        session = connection.session
        if session is None or session.ended is not None:
            return
        if "open" in self.touch or ("pong" in self.touch and connection.heard_anew()):
            try:
                await session.touch()
            except WshttpError as error:
                _log.debug("session %s was not kept alive: %s", session.ref, error)

    async def drain(self, seconds: float) -> None:
        """Ask all to come back elsewhere (1001), spread evenly over `seconds` so that they do not all come at once."""
        waiting = list(self._connections.values())
        began = time.monotonic()
        for number, connection in enumerate(waiting):
            wait = began + seconds * number / len(waiting) - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            connection.close(*GOING_AWAY)


def _member_ref(connection: Connection) -> str:
    """Who a connection counts as in a topic: its session, or itself where sessions are off."""
    return connection.id if connection.session is None else connection.session.ref


def _user_of(connection: Connection) -> str | None:
    """Who is logged in, whoever's unit of work it is that asks: the hub keeps its own books."""
    return None if connection.session is None else connection.session.record.user


def _passes(chosen: Filter, connection: Connection) -> bool:
    return chosen(connection) if callable(chosen) else connection in chosen


async def _all_done(futures: Collection[asyncio.Future[None]]) -> None:
    await asyncio.wait(futures)
