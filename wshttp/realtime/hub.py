"""This process's connections: by session and user, and by topic in `topics`; the only place that knows them all.

It is the session list's notifier: what happens to a session, the hub tells its sockets.
Every connection is registered before its handshake is answered, so an end that comes in between finds it.
Connections of other nodes are reached through `elsewhere`; where there are none, that is `Nobody`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Final, TypeAlias

from wshttp.addresses import bucket
from wshttp.close_codes import VANISHED
from wshttp.config import Settings
from wshttp.eager import Eager
from wshttp.errors import LimitReached, SessionEnded, TooManyRequests, WshttpError
from wshttp.realtime.close_codes import GOING_AWAY, KICKED, PING_TIMEOUT, RENEWED, session_ended
from wshttp.realtime.connection import Connection
from wshttp.realtime.elsewhere import Elsewhere, Nobody
from wshttp.realtime.format import Format, Message, envelope
from wshttp.realtime.letter import Letter
from wshttp.realtime.message_types import ToClient
from wshttp.realtime.offline import Offline, queueing, require_fit
from wshttp.realtime.parcel import Parcel
from wshttp.realtime.partings import Partings
from wshttp.realtime.presence import Member
from wshttp.realtime.queues import Queues
from wshttp.realtime.receipt import Receipt
from wshttp.realtime.statistics import HubStatistics
from wshttp.realtime.topics import Topics
from wshttp.sessions.callbacks import Callbacks
from wshttp.sessions.clock import Clock, SystemClock
from wshttp.sessions.data import Json
from wshttp.sessions.happenings import Happenings, What
from wshttp.sessions.kept import Kept
from wshttp.sessions.record import Reason, Record
from wshttp.sessions.session import Session
from wshttp.sessions.slices import Slices

BEAT: Final = 1.0
"""Seconds between looks at who has to be pinged, has not answered, or has left a topic for good."""

Filter: TypeAlias = Callable[[Connection], bool] | Collection[Connection | str]
"""Which connections: a function of one, or a collection of them or of their ids."""

_log = logging.getLogger("wshttp.connections")


class Hub:
    """Connections, and what is sent to several of them."""

    def __init__(self, settings: Settings, callbacks: Callbacks, kept: Kept, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.statistics = HubStatistics()
        self._connections: dict[str, Connection] = {}
        self._by_session: dict[str, dict[Connection, None]] = {}
        self._per_address: Counter[str] = Counter()
        self.partings = Partings(callbacks)
        self._slices = Slices()
        self._heart: asyncio.Task[None] | None = None
        self.elsewhere: Elsewhere = Nobody()
        self.happenings: Happenings | None = None
        """Who is told of connections that come and go."""
        self.lives: Callable[[str], Awaitable[bool]] = _supposedly
        """Tell whether a session is not over, as the store knows."""
        self.eager = Eager()
        """What handles messages."""
        self.topics = Topics(self, kept.histories, self._give)
        self._offline = Offline(self, Queues(kept.queues, self.clock))
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
        self.topics.presence.grace = settings.session.presence_grace

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
        if session is not None:
            self._require_alive(session)
        self._check_limits(connection)
        if session is not None:
            self._by_session.setdefault(session.ref, {})[connection] = None
        self._per_address[self._address(connection)] += 1
        self._connections[connection.id] = connection
        self.statistics.opened += 1
        if self._heart is None:
            self._heart = asyncio.create_task(self._beat_while_needed())
        self._tell_of("connected", connection)
        if session is not None:
            self._counted(session.ref)

    def _tell_of(self, what: What, connection: Connection, code: int | None = None) -> None:
        if self.happenings is not None:
            record = None if connection.session is None else connection.session.record
            self.happenings.tell_of_socket(what, connection.id, connection.remote_ip, record, code)

    def _require_alive(self, session: Session) -> None:
        """Raise `SessionEnded` also where another node said so while the session was on its way from the store."""
        reason = session.ended or self.elsewhere.ended_of(session.ref)
        if reason is not None:
            raise SessionEnded(session.ref, reason)

    def _counted(self, ref: str) -> None:
        """Say that a session has more or fewer sockets than before."""
        self.elsewhere.counted(None, ref)
        self.tell_session(ref)

    def _check_limits(self, connection: Connection) -> None:
        """Raise `LimitReached` where one more is too many.

        The engine counts clients that connect themselves; those behind a trusted proxy are known here only.
        A session's sockets count on all nodes, as of a moment ago: of those that open at the same time on several, a few
        too many may get in.
        """
        if self.max_connections and len(self) >= self.max_connections:
            raise LimitReached("server.max_connections", self.max_connections, in_all=True)
        if connection.remote_ip and 0 < self.max_per_address <= self._per_address[self._address(connection)]:
            raise LimitReached("server.max_connections_per_ip", self.max_per_address, in_all=False)
        if connection.session is not None and 0 < self.max_per_session <= self.connections(connection.session.ref):
            raise LimitReached("session.max_connections_per_session", self.max_per_session, in_all=False)

    def _address(self, connection: Connection) -> str:
        return bucket(connection.remote_ip, self.ipv6_prefix)

    def payer(self, connection: Connection) -> str:
        """Return who answers for what a client has the store keep: its user, or whoever is at its address."""
        user = connection.known_user
        if user is not None:
            return f"user:{user}"
        return f"ip:{self._address(connection)}" if connection.remote_ip else f"ref:{connection.member_ref}"

    def part(self, connection: Connection, last: asyncio.Future[None] | None = None) -> asyncio.Future[None]:
        """Take out a connection that closes. What is returned is done when its `on_disconnect` has run, after `last`."""
        self._forget(connection)
        return self.partings.begin(connection, last)

    def _forget(self, connection: Connection) -> None:
        if self._connections.pop(connection.id, None) is None:
            return
        code = VANISHED if connection.closed is None else connection.closed.code
        self.statistics.closed[code] += 1
        self._tell_of("disconnected", connection, code)
        address = self._address(connection)
        self._per_address[address] -= 1
        if not self._per_address[address]:
            del self._per_address[address]
        self.topics.part(connection)
        session = connection.session
        if session is None:
            return
        held = self._by_session.get(session.ref, {})
        held.pop(connection, None)
        if not held:
            self._by_session.pop(session.ref, None)
        if session.ended is None:
            self._counted(session.ref)
        else:
            self.elsewhere.counted(None, session.ref)

    def kick(self, connection_id: str) -> bool:
        """Close a connection for good, as an administrator does; tell whether it was here.

        If not, the other nodes are told, and whichever has it closes it.
        """
        if self.kick_here(connection_id):
            return True
        self.elsewhere.kick(connection_id)
        return False

    def kick_here(self, connection_id: str) -> bool:
        """Close a connection of this node for good; tell whether there is one."""
        connection = self._connections.get(connection_id)
        if connection is not None:
            connection.close(*KICKED)
        return connection is not None

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
        queue: bool = False,
    ) -> int:
        """Send a message to a connection, a session, a user, a topic or, with none of them, to all, on all nodes.

        Several conditions must all hold. Returns to how many connections of this node it went.
        `include` and `exclude` are collections of connections or their ids, or functions of a connection; a function is
        asked on this node only, so that with one the message goes to no other.
        Never waits for a receiver: `websocket.on_slow` says what happens to a slow one.
        With `queue`, a message to a session that has no socket waits until it has one: `websocket.queue` says how many do,
        and together they have up to a mebibyte. Then it may raise `StoreUnavailable`; and, socket or not, `UsageError` for a
        message over `websocket.max_message_size`.
        """
        ref = session.ref if isinstance(session, Session) else session
        if queue:
            require_fit(message, self.settings.max_message_size)
            receiver = queueing(ref, connection, user, topic, include, exclude)
            if self._is_away(receiver):
                return await self._keep(receiver, message)
        return await self._distribute(Letter(message, connection, ref, user, topic), include, exclude)

    async def publish(
        self,
        topic: str,
        data: Json | bytes,
        *,
        sender: Connection | None = None,
        include: Filter | None = None,
        exclude: Filter | None = None,
    ) -> int:
        """Publish on a topic, on all nodes; `wshttp.v1` clients get it with topic and sender.

        It is kept in the topic's history, unless `include` or `exclude` is given: then it is not for all who come back.
        `include`, `exclude` and what is returned are as for `send`.
        While the store is away it reaches those who are there, and is not kept: who comes back is told that it is not whole.
        Raises `SessionEnded` and `ConnectionClosed` where `sender` has nothing to say any more: see
        `Connection.require_open`.
        """
        if sender is not None:
            sender.require_open()
        origin = None if sender is None else {"ref": sender.member_ref, "user": sender.user}
        letter = Letter(data, topic=topic, published=True, origin=origin)
        if self.keeps_history and include is exclude is None:
            payer = None if sender is None else self.payer(sender)
            return await self.topics.feeds.publish(letter, topic, self.settings.history, payer)
        return await self._distribute(letter, include, exclude)

    @property
    def keeps_history(self) -> bool:
        """Whether what is published is kept for those who come back."""
        return self.settings.history > 0

    async def _distribute(self, letter: Letter, include: Filter | None, exclude: Filter | None) -> int:
        """Give a message to connections here, and to other nodes where it may be for theirs."""
        if letter.connection not in self._connections and not callable(include) and not callable(exclude):
            included, excluded = _ids(include), _ids(exclude)
            if included is None or included:
                self.elsewhere.send(replace(letter, include=included, exclude=excluded or frozenset()))
        return await self.deliver(letter, include, exclude)

    async def deliver(self, letter: Letter, include: Filter | None = None, exclude: Filter | None = None) -> int:
        """Give a message to those of this node that it is for; the letter's own `include` and `exclude` are not looked at.

        One that has a place in a history is given in its turn, and not counted.
        """
        if letter.place is not None and letter.topic is not None:
            self.topics.feeds.put(letter, letter.topic, letter.place)
            return 0
        return await self._give(letter, include, exclude)

    async def _give(self, letter: Letter, include: Filter | None = None, exclude: Filter | None = None) -> int:
        formed: dict[Format, Parcel] = {}
        count = 0
        for connection in self._chosen(letter):
            if (include is not None and not _passes(include, connection)) or (
                exclude is not None and _passes(exclude, connection)
            ):
                continue
            if letter.place is not None and not _is_next(letter, connection):
                continue
            parcel = formed.get(connection.format)
            if parcel is None:
                parcel = formed[connection.format] = Parcel(letter.form(connection.format))
            count += connection.deliver(parcel)
            await self._slices.pause()
        return count

    def _chosen(self, letter: Letter) -> list[Connection]:
        """Return the connections for which all that is given holds, starting from the smallest set known."""
        ref, topic, user = letter.session, letter.topic, letter.user
        if letter.connection is not None:
            found = self._connections.get(letter.connection)
            base: Iterable[Connection] = () if found is None else (found,)
        elif ref is not None:
            base = self._by_session.get(ref, ())
        elif topic is not None:
            base = self.topics.connections(topic)
        else:
            base = self._connections.values()
        return [
            each
            for each in base
            if (ref is None or (each.session is not None and each.session.ref == ref))
            and (topic is None or topic in each.topics)
            and (user is None or each.known_user == user)
        ]

    def tell(self, connections: Iterable[Connection], what: ToClient, **fields: Json) -> None:
        """Send a message of `wshttp.v1` to those who understand it."""
        parcel = Parcel(envelope(what, **fields))
        for connection in list(connections):
            if connection.format.is_told:
                connection.deliver(parcel)

    # --- queues, and what comes by requests -----------------------------------------------------------

    def _is_away(self, ref: str) -> bool:
        """Whether a session has no socket that could be sent to now."""
        if self._offline.is_giving(ref):
            return True  # it is sent in its turn
        return not self.elsewhere.connections(ref) and not any(each.is_open for each in self._by_session.get(ref, ()))

    async def _keep(self, ref: str, message: Json | bytes) -> int:
        if self.settings.queue:
            await self._offline.keep(ref, message, self.settings.queue)
        return 0

    async def give_waiting(self, connection: Connection) -> None:
        """Give a connection that has just opened what has waited for its session."""
        if self.settings.queue:
            await self._offline.give(connection)

    def give_queued(self, ref: str) -> None:
        """Give a session what waits for it, if it has got a socket here."""
        self._offline.give_soon(ref)

    async def receive(self, connection_id: str, ref: str, message: Message) -> bool:
        """Take a message that a session sends for a connection of its own, on any node; tell whether there is such a one.

        Raises `TooManyRequests` where the connection's inbox is full.
        """
        receipt = self.receive_here(connection_id, ref, message)
        if receipt is Receipt.UNKNOWN:
            receipt = await self.elsewhere.received(connection_id, ref, message)
        if receipt is Receipt.FULL:
            raise TooManyRequests(1.0, "the messages before this one are still being handled")
        return receipt is Receipt.TAKEN

    def receive_here(self, connection_id: str, ref: str, message: Message) -> Receipt:
        """Take such a message, if the connection is here, and that of this session."""
        connection = self._connections.get(connection_id)
        if connection is None or connection.session is None or connection.session.ref != ref:
            return Receipt.UNKNOWN
        if connection.paused:
            return Receipt.FULL
        connection.received(message)
        return Receipt.TAKEN

    # --- the session list's notifier ----------------------------------------------------------------

    def connections(self, ref: str) -> int:
        return self.connections_here(ref) + self.elsewhere.connections(ref)

    def changed(self, record: Record) -> None:
        self.tell_session(record.ref)
        self.elsewhere.changed(record.ref)

    def expiring(self, record: Record, seconds: float) -> None:
        self.warn(record.ref, seconds)
        self.elsewhere.expiring(record.ref, seconds)

    def renewed(self, record: Record) -> None:
        for connection in self.of_session(record.ref):
            connection.close(*RENEWED)
        self.elsewhere.renewed(record.ref)

    def ended(self, record: Record, reason: Reason) -> Awaitable[None] | None:
        away = self.elsewhere.ended(record.ref, reason)
        self.part_with(record.ref, reason, away)
        partings = self.partings.of(record.ref)
        return _all_done(partings) if partings else None

    # --- what befalls the sockets of this node ------------------------------------------------------

    def connections_here(self, ref: str) -> int:
        """Count a session's open sockets on this node."""
        return len(self._by_session.get(ref, ()))

    def sessions(self) -> list[str]:
        """Return the refs of all sessions that have sockets here."""
        return list(self._by_session)

    def session(self, ref: str) -> Session | None:
        """Return a session that has sockets here."""
        held = self._by_session.get(ref)
        return next(iter(held)).session if held else None

    def tell_session(self, ref: str) -> None:
        """Tell a session's sockets what is known of it."""
        session = self.session(ref)
        if session is not None:
            self.tell(self._by_session[ref], ToClient.SESSION, session=session.describe())

    def warn(self, ref: str, seconds: float) -> None:
        """Tell a session's sockets that it ends soon."""
        self.tell(self._by_session.get(ref, ()), ToClient.EXPIRING, seconds=int(seconds))

    def close_outdated(self, ref: str) -> None:
        """Close the sockets that came before their session was renewed."""
        for connection in self.of_session(ref):
            if connection.is_outdated:
                connection.close(*RENEWED)

    def part_with(self, ref: str, reason: Reason | None, away: Iterable[tuple[str, Member]]) -> None:
        """Close the sockets of a session that is over; `away` is in which topics it was on other nodes.

        Without a reason, since nobody knows it any more, they are asked to come back, and told then.
        """
        for topic, member in away:
            self.topics.left(topic, member)
        connections = self.of_session(ref)
        if reason is not None:
            self.tell(connections, ToClient.ENDED, reason=str(reason))
        for connection in connections:
            connection.close(*(GOING_AWAY if reason is None else session_ended(reason)))
        self.topics.remove(ref)
        self._offline.forget(ref)

    # --- heartbeat ----------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Cease to ping, close what is still open, and let `on_disconnect` come to its end."""
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.gather(self._heart, return_exceptions=True)
            self._heart = None
        for connection in list(self._connections.values()):
            connection.close(*GOING_AWAY)
        await self.partings.stop()
        await asyncio.gather(self.topics.feeds.close(), self._offline.close())

    async def _beat_while_needed(self) -> None:
        while self._connections or self.topics.presence.anybody_leaving:
            await asyncio.sleep(BEAT)
            try:
                await self.beat(self.clock.monotonic())
            except Exception:
                _log.exception("a heartbeat failed; the next one follows")
        self._heart = None

    async def beat(self, now: float) -> None:
        """Ping who was silent, close who did not answer, let go who left; `now` is in monotonic seconds."""
        self.topics.let_go(now)
        store_answers = True  # else each socket in turn would keep the next one's ping waiting for the store's time-out
        for connection in list(self._connections.values()):
            connection.check_pulse(now, self.settings.ping_interval, self.settings.ping_timeout, PING_TIMEOUT)
            store_answers = store_answers and await self._touch_for(connection)
            await self._slices.pause()

    async def _touch_for(self, connection: Connection) -> bool:
        """Touch a session because its socket is open, or was heard, where that counts as activity.

        Returns whether the store could be asked; idle clocks stand still while it is away.
        """
        session = connection.session
        if session is None or session.ended is not None:
            return True
        if "open" in self.touch or ("pong" in self.touch and connection.heard_anew()):
            try:
                await session.touch()
            except SessionEnded:
                self.elsewhere.doubt(session.ref)
            except WshttpError as error:
                _log.debug("session %s was not kept alive: %s", session.ref, error)
                return False
        return True

    async def drain(self, seconds: float) -> None:
        """Ask all to come back elsewhere (1001), spread evenly over `seconds` so that they do not all come at once."""
        waiting = list(self._connections.values())
        began = time.monotonic()
        for number, connection in enumerate(waiting):
            wait = began + seconds * number / len(waiting) - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            connection.close(*GOING_AWAY)


def _is_next(letter: Letter, connection: Connection) -> bool:
    """Whether a message of a topic's history goes to a connection now: not before what it missed, and not twice."""
    reader = connection.readers.get(letter.topic or "")
    return reader is None or reader.takes(letter)


def _passes(chosen: Filter, connection: Connection) -> bool:
    return chosen(connection) if callable(chosen) else connection in chosen or connection.id in chosen


def _ids(chosen: Filter | None) -> frozenset[str] | None:
    """Return what of a collection may be connections of other nodes: those that are only named."""
    if chosen is None or callable(chosen):
        return None
    return frozenset(each for each in chosen if isinstance(each, str))


async def _supposedly(ref: str) -> bool:
    return True


async def _all_done(futures: Collection[asyncio.Future[None]]) -> None:
    await asyncio.wait(futures)
