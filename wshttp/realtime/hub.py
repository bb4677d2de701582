"""This process's connections: by session, user and topic; the only place that knows them all.

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
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from wshttp.addresses import bucket
from wshttp.config import Settings
from wshttp.errors import LimitReached, SessionEnded, TooManyRequests, WshttpError
from wshttp.realtime.close_codes import GOING_AWAY, KICKED, PING_TIMEOUT, RATE, RENEWED, VANISHED, session_ended
from wshttp.realtime.connection import Connection
from wshttp.realtime.elsewhere import Elsewhere, Nobody
from wshttp.realtime.feeds import Feeds
from wshttp.realtime.format import ENVELOPE, Format, Message, size_of, to_json
from wshttp.realtime.history import History
from wshttp.realtime.letter import Letter
from wshttp.realtime.offline import Offline, queueing
from wshttp.realtime.place import Place
from wshttp.realtime.presence import Member, Presence
from wshttp.realtime.queues import Queues
from wshttp.realtime.reader import Reader
from wshttp.sessions.callbacks import Callbacks
from wshttp.sessions.clock import Clock, SystemClock
from wshttp.sessions.data import Json
from wshttp.sessions.happenings import Happenings, What
from wshttp.sessions.record import Reason, Record
from wshttp.sessions.session import Session
from wshttp.sessions.shared import Shared
from wshttp.sessions.slices import Slices

BEAT: Final = 1.0
"""Seconds between looks at who has to be pinged, has not answered, or has left a topic for good."""

LAST_PARTINGS: Final = 1.0
"""Seconds that `on_disconnect` of the last connections has when the hub stops; those of sessions have had theirs."""

LONGEST_LAST_MESSAGE: Final = 30.0
"""Seconds for which `on_disconnect` waits for the handler of the last message, where `session.callback_timeout` is 0."""

CLEANING_UP: Final = 1.0
"""Seconds that a cancelled handler gets before it is left to itself."""

LONGEST_LISTENING: Final = 1.0
"""Seconds that a client who joins a topic waits for other nodes to be heard; while the broker is away, they are not."""

Filter: TypeAlias = Callable[[Connection], bool] | Collection[Connection | str]
"""Which connections: a function of one, or a collection of them or of their ids."""

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
    closed: Counter[int] = field(default_factory=Counter)
    """Connections that closed, by code."""
    on_handled: Callable[[float], None] | None = None
    """Called with the seconds that the handling of a message took, without waiting for a store that is away."""

    def count_sent(self, message: Message) -> None:
        self.sent += 1
        self.sent_bytes += size_of(message)

    def count_received(self, message: Message) -> None:
        self.received += 1
        self.received_bytes += size_of(message)


class Hub:
    """Connections, and what is sent to several of them."""

    def __init__(
        self, settings: Settings, callbacks: Callbacks, clock: Clock | None = None, shared: Shared | None = None
    ) -> None:
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
        self.elsewhere: Elsewhere = Nobody()
        self.presence = Presence(settings.session.presence_grace)
        self.happenings: Happenings | None = None
        """Who is told of connections that come and go."""
        self._history = None if shared is None else Feeds(self, History(shared, self.clock), self._give)
        self._offline = None if shared is None else Offline(self, Queues(shared, self.clock))
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
        code = VANISHED if connection.closed is None else connection.closed.code
        self.statistics.closed[code] += 1
        self._tell_of("disconnected", connection, code)
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
        queue: bool = False,
    ) -> int:
        """Send a message to a connection, a session, a user, a topic or, with none of them, to all, on all nodes.

        Several conditions must all hold. Returns to how many connections of this node it went.
        `include` and `exclude` are collections of connections or their ids, or functions of a connection; a function is
        asked on this node only, so that with one the message goes to no other.
        Never waits for a receiver: `websocket.on_slow` says what happens to a slow one.
        With `queue`, a message to a session that has no socket waits until it has one: `websocket.queue` says how many do.
        Then it may raise `StoreUnavailable`.
        """
        ref = session.ref if isinstance(session, Session) else session
        if queue and self._is_away(queueing(ref, connection, user, topic, include, exclude)):
            return await self._keep(ref, message)
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
        Raises `StoreUnavailable` where there is a history and the store is away, and `SessionEnded` and
        `ConnectionClosed` where `sender` has nothing to say any more: see `Connection.require_open`.
        """
        if sender is not None:
            sender.require_open()
        origin = None if sender is None else {"ref": _member_ref(sender), "user": sender.user}
        letter = Letter(data, topic=topic, published=True, origin=origin)
        if self._history is not None and self.settings.history and include is exclude is None:
            return await self._history.publish(letter, topic, self.settings.history)
        return await self._distribute(letter, include, exclude)

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
        if letter.place is not None and letter.topic is not None and self._history is not None:
            self._history.put(letter, letter.topic, letter.place)
            return 0
        return await self._give(letter, include, exclude)

    async def _give(self, letter: Letter, include: Filter | None = None, exclude: Filter | None = None) -> int:
        formed: dict[Format, Message] = {}
        count = 0
        for connection in self._chosen(letter):
            if (include is not None and not _passes(include, connection)) or (
                exclude is not None and _passes(exclude, connection)
            ):
                continue
            if letter.place is not None and not _is_next(letter, connection):
                continue
            if connection.format not in formed:
                formed[connection.format] = letter.form(connection.format)
            count += connection.post(formed[connection.format])
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

    def tell(self, connections: Iterable[Connection], envelope: dict[str, Json]) -> None:
        """Send an envelope of `wshttp.v1` to those who speak it."""
        text = to_json(envelope)
        for connection in list(connections):
            if connection.format is ENVELOPE:
                connection.post(text)

    # --- queues, and what comes by requests -----------------------------------------------------------

    def _is_away(self, ref: str) -> bool:
        """Whether a session has no socket that could be sent to."""
        return not self.elsewhere.connections(ref) and not any(each.is_open for each in self._by_session.get(ref, ()))

    async def _keep(self, ref: str | None, message: Json | bytes) -> int:
        if self._offline is not None and ref is not None and self.settings.queue:
            await self._offline.keep(ref, message, self.settings.queue)
        return 0

    async def give_waiting(self, connection: Connection) -> None:
        """Give a connection that has just opened what has waited for its session."""
        if self._offline is not None and self.settings.queue:
            await self._offline.give(connection)

    def give_queued(self, ref: str) -> None:
        """Give a session what waits for it, if it has got a socket here."""
        if self._offline is not None:
            self._offline.give_soon(ref)

    def receive(self, connection_id: str, ref: str, message: Message) -> bool:
        """Take a message that a session sends for a connection of its own; tell whether there is such a one, or may be.

        If it is not here, the other nodes are told. Raises `TooManyRequests` where the connection's inbox is full.
        """
        connection = self._connections.get(connection_id)
        if connection is not None and connection.paused:
            raise TooManyRequests(1.0, "the messages before this one are still being handled")
        if self.receive_here(connection_id, ref, message):
            return True
        if connection is not None or not self.elsewhere.connections(ref):
            return False
        self.elsewhere.received(connection_id, ref, message)
        return True

    def receive_here(self, connection_id: str, ref: str, message: Message) -> bool:
        """Take such a message, if the connection is here, and that of this session."""
        connection = self._connections.get(connection_id)
        if connection is None or connection.session is None or connection.session.ref != ref:
            return False
        if connection.paused:
            connection.close(*RATE)
        else:
            connection.received(message)
        return True

    # --- topics and presence ------------------------------------------------------------------------

    def look_for_missed(self) -> None:
        """Give what others have published while they were not heard, as far as it is kept."""
        if self._history is not None:
            self._history.look()

    @property
    def keeps_history(self) -> bool:
        """Whether what is published is kept for those who come back."""
        return self._history is not None and self.settings.history > 0

    def has_topic(self, topic: str) -> bool:
        """Whether connections of this node are in a topic."""
        return topic in self._by_topic

    def subscribe_reading(self, connection: Connection, topic: str) -> Reader:
        """Put a connection into a topic with history; what is published waits until `resume` has told it the rest."""
        reader = connection.readers[topic] = Reader()
        self.subscribe(connection, topic)
        return reader

    async def resume(self, connection: Connection, topic: str, reader: Reader, after: Place | None) -> None:
        """Give a connection that has come into a topic what it missed, and go on. It leaves the topic where that fails."""
        if self._history is None:
            return
        try:
            await self._history.resume(connection, topic, reader, after)
        except BaseException:
            self.unsubscribe(connection, topic)
            raise

    def subscribe(self, connection: Connection, topic: str) -> None:
        """Put a connection into a topic."""
        if topic in connection.topics or connection.closed is not None:
            return
        connection.topics.add(topic)
        if topic not in self._by_topic:
            self._by_topic[topic] = {}
            self.elsewhere.listen(topic)
        self._by_topic[topic][connection] = None
        ref, user = _member_ref(connection), _user_of(connection)
        member = self.presence.join(topic, ref, user)
        if member is not None and not self.elsewhere.has(topic, ref, user):
            self._announce("joined", topic, member, but=connection)
        self.elsewhere.counted(topic, ref)

    def unsubscribe(self, connection: Connection, topic: str) -> None:
        """Take a connection out of a topic, at once: there is grace only for those whose connection goes away."""
        if topic in connection.topics:
            self._leave(connection, topic, on_purpose=True)

    def _leave(self, connection: Connection, topic: str, *, on_purpose: bool) -> None:
        connection.topics.discard(topic)
        connection.readers.pop(topic, None)
        held = self._by_topic.get(topic, {})
        held.pop(connection, None)
        if not held and self._by_topic.pop(topic, None) is not None:
            self.elsewhere.unlisten(topic)
            if self._history is not None:
                self._history.drop(topic)
        ref, now = _member_ref(connection), self.clock.monotonic()
        member = self.presence.leave(topic, ref, now, on_purpose=on_purpose)
        if member is not None:
            self._left(topic, member)
        else:
            self.elsewhere.counted(topic, ref)

    def _left(self, topic: str, member: Member) -> None:
        """Say that a member has left for good, unless it is still there on another node."""
        self.elsewhere.counted(topic, member.ref)
        if not self.elsewhere.has(topic, member.ref, any_user=True):
            self._announce("left", topic, member)

    async def listening(self) -> None:
        """Wait, a second at most, until what other nodes publish on topics that were joined here is heard."""
        listening = self.elsewhere.listening()
        if listening is None:
            return
        try:
            await asyncio.wait_for(listening, LONGEST_LISTENING)
        except TimeoutError:
            pass  # while the broker is away, nobody is heard, and what is said here still counts

    def members(self, topic: str) -> list[Member]:
        """Return who is in a topic, on all nodes: first those of this one, in order of arrival."""
        found = {member.ref: member for member in self.presence.members(topic)}
        for member in self.elsewhere.members(topic):
            here = found.get(member.ref)
            found[member.ref] = member if here is None else here.joined_with(member)
        return list(found.values())

    def topics(self) -> dict[str, int]:
        """Return how many connections of this node each topic has."""
        return {topic: len(held) for topic, held in self._by_topic.items()}

    def _announce(self, what: str, topic: str, member: Member, but: Connection | None = None) -> None:
        receivers = [each for each in self._by_topic.get(topic, ()) if each is not but]
        self.tell(receivers, {"type": what, "topic": topic, "member": member.describe()})

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
        partings = self._partings.get(record.ref)
        return _all_done(set(partings)) if partings else None

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
            self.tell(self._by_session[ref], {"type": "session", "session": session.describe()})

    def warn(self, ref: str, seconds: float) -> None:
        """Tell a session's sockets that it ends soon."""
        self.tell(self._by_session.get(ref, ()), {"type": "expiring", "seconds": int(seconds)})

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
            self.left(topic, member)
        connections = self.of_session(ref)
        if reason is not None:
            self.tell(connections, {"type": "ended", "reason": str(reason)})
        for connection in connections:
            connection.close(*(GOING_AWAY if reason is None else session_ended(reason)))
        for topic, member in self.presence.remove(ref):
            self._left(topic, member)
        if self._offline is not None:
            self._offline.forget(ref)

    def joined(self, topic: str, member: Member) -> None:
        """Announce who came into a topic on another node, unless it is known here."""
        here = self.presence.find(topic, member.ref)
        if here is None or here.user != member.user:
            self._announce("joined", topic, member)

    def left(self, topic: str, member: Member) -> None:
        """Announce who left a topic on the last of the other nodes, unless it is here."""
        if self.presence.find(topic, member.ref) is None:
            self._announce("left", topic, member)

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
        if self._history is not None and self._offline is not None:
            await asyncio.gather(self._history.close(), self._offline.close())

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
            self._left(topic, member)
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


def _member_ref(connection: Connection) -> str:
    """Who a connection counts as in a topic: its session, or itself where sessions are off."""
    return connection.id if connection.session is None else connection.session.ref


def _user_of(connection: Connection) -> str | None:
    """Who is logged in, whoever's unit of work it is that asks: the hub keeps its own books."""
    return None if connection.session is None else connection.session.record.user


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


async def _all_done(futures: Collection[asyncio.Future[None]]) -> None:
    await asyncio.wait(futures)
