"""What a node says to other nodes, and what it does with what it hears.

Words are hints; the store has the truth. They may come late, twice or not at all, and nothing bad comes of it, except that
a message that is lost is lost: messages are delivered at most once.

| word | says | late, doubled or lost |
| --- | --- | --- |
| `["drop", ref]` | the session was changed; said by the scripts of the Redis store, without a sender: heard by all | one copy less; lost: all copies are dropped, see below |
| `["emptied"]` | the store has lost all it had; said by its scripts, as `drop`: copies are dropped, and the store is asked | asked once more; lost: see below |
| `["ended", ref, reason]` | it is over: its sockets close, and a copy of it is dropped | a ref means one life, never its successor |
| `["renewed", ref]` | it was renewed: the store is asked, and sockets from before close with 4000 | asked once more |
| `["changed", [ref, ...]]` | facts that clients are told changed: nodes that have sockets of it ask the store | asked once more |
| `["expiring", ref, seconds]` | warn its sockets | a warning too many, or none |
| `["message", whom, form, published, from, life, offset]` + data | give this to the connections that it is for; with its place in the topic's history, where there is one | never doubled; lost is lost, or read from the history with the next one |
| `["queued", ref]` | a message waits for a session: who has a socket of it gives it what waits | looked once more; lost: given at the next connection |
| `["received", connection, ref, from, number]` + message | the session has sent this for a connection of its own, by a request; said to the one node that the connection's name ends with, which gives `from` a `receipt` | lost is lost |
| `["receipt", number, what]` | what became of it: `taken`, `full` or `unknown`; said to the one node that asked | lost: it counts as taken |
| `["kick", connection]` | close this one with 4008 | no connection has the name of another |
| `["hello", node, to]` | says that `node` knows nothing; `to` (`null`: all) answer with `all` | asked once more |
| `["all", node, part, parts, entries]` | all that the node has, in parts of 250 entries | where one is missing, `hello` is said again |
| `["here", node, entries]` | what has changed since | corrected by the next `all` |
| `["alive", node]` | every third of the lease | a node that is not heard for a lease is gone, and comes back by its next word |
| `["bye", node]` | its connections are closed; who was in a topic may be back within `session.presence_grace` | gone after the lease |

An entry is `[topic, ref, connections, user]`: how many connections of a session are in a topic, or, with `null` for the
topic, are open; `null` connections: none any more. `whom` has any of `connection`, `session`, `user`, `topic`, `include` and
`exclude` (lists of connection ids); all that is given must hold.
A word to one node is said on a topic that no client can name: its inbox.
Words of other names are of a newer version, and are ignored.

A broker that may have lost a word says so. Then the store is asked, many at a time, for every session that has sockets
here. Those that are over close with their reason, those that were renewed with 4000; where nobody knows any more why one
is over, its sockets close with 1001: their clients come back, and are told what is to be told. All copies are dropped, and
every node says anew what it has. What was published meanwhile on topics with history is read from there.

What changes fast is said slowly: entries and changes are gathered for `FLUSH`, so that a page that joins and leaves as fast
as it can costs others twenty words a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import count, takewhile
from typing import Final, Protocol, TypeVar

from wshttp.errors import UnknownReason
from wshttp.realtime.broker import Broker
from wshttp.realtime.directory import Directory, Entry, News
from wshttp.realtime.doubts import Doubts
from wshttp.realtime.elsewhere import Nobody
from wshttp.realtime.format import Message
from wshttp.realtime.hub import Hub
from wshttp.realtime.letter import Letter
from wshttp.realtime.mailbox import Mailbox
from wshttp.realtime.presence import Member
from wshttp.realtime.receipt import Receipt
from wshttp.realtime.words import Word, decode, decode_letter, encode, encode_letter
from wshttp.sessions.data import Json
from wshttp.sessions.record import Reason
from wshttp.sessions.session_list import SessionList
from wshttp.sessions.slices import Slices

FLUSH: Final = 0.05
"""Seconds for which changes are gathered before they are said: nobody sees that presence is so much behind."""

CHUNK: Final = 250
"""Entries in one word: it is read in about half a millisecond (own measurement), and takes some tens of kilobytes."""

BEAT: Final = 1.0
"""Seconds between looks at which nodes are gone, at most."""

END_REMEMBERED: Final = 10.0
"""Seconds for which an end is remembered that was heard of: longer than a session may be on its way from the store to
the handshake that wants it."""

LONGEST_RECEIPT: Final = 2.0
"""Seconds in which a node that lives says what became of a message; it stands still, or one of the words is lost."""

Item = TypeVar("Item")

_log = logging.getLogger("wshttp.nodes")


class Copies(Protocol):
    """What keeps copies of sessions that others may change."""

    def drop(self, ref: str, /) -> None:
        """Keep no copy of this session that was made before."""

    def trust(self, complete: bool, /) -> None:
        """Say whether every change is heard of from now on. When that begins, copies made before are no good."""


class Relay:
    """A hub's `elsewhere`, over a broker.

        relay = Relay(hub, sessions, broker, lease=15)
        await relay.open()          # after the store
        ...
        await relay.close()         # when the sockets are closed, and before the store

    `node` is a name that no other process has, or has had; `lease` is in seconds.
    """

    def __init__(
        self,
        hub: Hub,
        sessions: SessionList,
        broker: Broker,
        *,
        node: str | None = None,
        lease: float = 15.0,
        copies: Copies | None = None,
    ) -> None:
        self.node = node or secrets.token_hex(8)
        self.mark = mark_of(self.node)
        self.directory = Directory(lease)
        self._hub = hub
        self._sessions = sessions
        self._broker = broker
        self._copies = copies
        self._doubts = Doubts(hub, sessions, self._take_note)
        self._mailbox = Mailbox(hub.deliver)
        self._slices = Slices()
        self._counted: dict[tuple[str | None, str], None] = {}
        self._changed: dict[str, None] = {}
        self._silent: set[str] = set()
        """Topics without connections here that are still listened to."""
        self._ended: dict[str, tuple[float, Reason]] = {}
        self._asked: set[str] = set()
        self._receipts: dict[int, asyncio.Future[Receipt]] = {}
        self._numbers = count()
        self._owes_all = False
        self._telling: asyncio.Task[None] | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._heart: asyncio.Task[None] | None = None
        self._alive_at = 0.0
        self._beat_at: float | None = None
        self._actions: dict[str, Callable[[Word], None]] = {
            "drop": self._heard_drop,
            "emptied": lambda word: self._doubt_everything(),
            "ended": self._heard_ended,
            "renewed": self._heard_renewed,
            "changed": lambda word: self._doubts.add(word.facts[0], tell=True),
            "expiring": lambda word: self._hub.warn(*word.facts[:2]),
            "message": lambda word: self._mailbox.put(decode_letter(word), len(word.payload)),
            "queued": lambda word: self._hub.give_queued(word.facts[0]),
            "received": self._heard_received,
            "receipt": self._heard_receipt,
            "kick": lambda word: _nothing(self._hub.kick_here(word.facts[0])),
            "hello": self._heard_hello,
            "all": self._heard_all,
            "here": self._heard_here,
            "alive": self._heard_alive,
            "bye": self._heard_bye,
        }

    # --- life ---------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Join the other nodes. Raises what `Broker.open` does."""
        await self._broker.open(self.heard, self.lost, self.back)
        self._broker.listen(_inbox(self.mark))
        self._hub.elsewhere = self
        for topic in self._hub.topics:
            self._broker.listen(topic)
        self._trust(True)
        self._introduce()
        self._heart = asyncio.create_task(self._beat_for_ever())

    async def close(self) -> None:
        """Say goodbye, and leave."""
        if self._heart is None:
            return
        self._owes_all = False
        self.flush()
        self._trust(False)
        self._hub.elsewhere = Nobody()
        self._say("bye", self.node)
        tasks = [task for task in (self._heart, self._telling) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self._doubts.close(), self._mailbox.close(), return_exceptions=True)
        self._heart = self._telling = None
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        await self._broker.close()

    def lost(self) -> None:
        """Take note that words may be missed; what is known of others stands for their lease."""
        self._trust(False)

    def back(self) -> None:
        """Make good what may have been missed."""
        self.directory.keep(self._now())
        self._introduce()
        self._doubt_everything()

    def _doubt_everything(self) -> None:
        self._trust(False)  # a gap among the words is told by `back` alone: trust has to begin anew, not to go on
        self._trust(True)
        self.doubt_all()
        self._hub.topics.feeds.look()

    def doubt_all(self) -> None:
        """Ask the store about all sessions that have sockets here, or are kept here."""
        self._doubts.add([*self._hub.sessions(), *self._sessions.pinned])

    def _trust(self, complete: bool) -> None:
        if self._copies is not None:
            self._copies.trust(complete)

    def _introduce(self) -> None:
        self._say("hello", self.node, None)
        self._owe_all()

    async def _beat_for_ever(self) -> None:
        while True:
            try:
                self.beat(self._now())
            except Exception:
                _log.exception("a beat between nodes failed; the next one follows")
            await asyncio.sleep(min(BEAT, self.directory.lease / 3))

    def beat(self, now: float) -> None:
        """Say that this node lives, and let go who is gone; `now` is in monotonic seconds."""
        if self._beat_at is not None and now - self._beat_at > self.directory.lease / 2:
            self.directory.keep(now)  # it was this process that stood still
        self._beat_at = now
        self._asked.clear()
        if now >= self._alive_at:
            self._alive_at = now + self.directory.lease / 3
            self._say("alive", self.node)
        for ref in [ref for ref, _ in takewhile(lambda ended: ended[1][0] <= now, self._ended.items())]:
            del self._ended[ref]
        for topic in self._silent:
            self._broker.unlisten(topic)
        self._silent.clear()
        self._tell(self.directory.expire(now))

    def _now(self) -> float:
        return self._hub.clock.monotonic()

    # --- what is known (the hub's port) -------------------------------------------------------------

    def nodes(self) -> dict[str, int]:
        return self.directory.nodes()

    def connections(self, ref: str) -> int:
        return self.directory.connections(ref)

    def members(self, topic: str) -> list[Member]:
        return self.directory.members(topic)

    def has(self, topic: str, ref: str, user: str | None = None, *, any_user: bool = False) -> bool:
        users = self.directory.users(topic, ref)
        return bool(users) if any_user else user in users

    def ended_of(self, ref: str) -> Reason | None:
        _, reason = self._ended.get(ref, (0.0, None))
        return reason

    # --- what is said (the hub's port) --------------------------------------------------------------

    def counted(self, topic: str | None, ref: str) -> None:
        self._counted[topic, ref] = None
        self._flush_soon()

    def changed(self, ref: str) -> None:
        if self.directory.connections(ref):
            self._changed[ref] = None
            self._flush_soon()

    def listen(self, topic: str) -> None:
        if topic in self._silent:
            self._silent.discard(topic)
        else:
            self._broker.listen(topic)

    def unlisten(self, topic: str) -> None:
        self._silent.add(topic)

    def listening(self) -> Awaitable[None]:
        return self._broker.listening()

    def send(self, letter: Letter) -> None:
        self._broker.say(encode_letter(letter), topic=letter.topic)

    def queued(self, ref: str) -> None:
        self._say("queued", ref)

    async def received(self, connection_id: str, ref: str, message: Message) -> Receipt:
        mark = connection_id[-len(self.mark) :]
        if mark not in map(mark_of, self.directory.names()):
            return Receipt.UNKNOWN
        number = next(self._numbers)
        receipt = self._receipts[number] = asyncio.get_running_loop().create_future()
        payload = message.encode() if isinstance(message, str) else message
        self._say_to(mark, encode("received", connection_id, ref, self.mark, number, payload=payload))
        try:
            return await asyncio.wait_for(receipt, LONGEST_RECEIPT)
        except TimeoutError:
            return Receipt.TAKEN
        finally:
            del self._receipts[number]

    def kick(self, connection_id: str) -> None:
        self._say("kick", connection_id)

    def expiring(self, ref: str, seconds: float) -> None:
        self._say("expiring", ref, int(seconds))

    def renewed(self, ref: str) -> None:
        self._say("renewed", ref)

    def ended(self, ref: str, reason: Reason) -> list[tuple[str, Member]]:
        self._say("ended", ref, str(reason))
        return self._forget(ref, reason)

    def doubt(self, ref: str) -> None:
        self._doubts.add([ref])

    def _say(self, name: str, *facts: Json) -> None:
        self._broker.say(encode(name, *facts))

    def _say_to(self, mark: str, word: bytes) -> None:
        self._broker.say(word, topic=_inbox(mark))

    def _flush_soon(self) -> None:
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(FLUSH, self.flush)

    def flush(self) -> None:
        """Say what has been gathered. While all is being said, changes wait: they come after it."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        if self._telling is not None:
            return
        if self._owes_all:
            self._telling = asyncio.create_task(self._say_all())
            return
        counted, changed, self._counted, self._changed = self._counted, self._changed, {}, {}
        for entries in _chunks(list(counted)):
            self._say("here", self.node, self._facts(entries))
        for refs in _chunks(list(changed)):
            self._say("changed", list[Json](refs))

    def _owe_all(self) -> None:
        self._owes_all = True
        self._flush_soon()

    async def _say_all(self) -> None:
        """Say all that is here. What changes meanwhile may be said as it was: it is said again after this."""
        self._owes_all = False
        try:
            everything: list[tuple[str | None, str]] = [(None, ref) for ref in self._hub.sessions()]
            everything += [(topic, member.ref) for topic, member in self._hub.topics.presence]
            parts = list(_chunks(everything)) or [[]]
            for part, entries in enumerate(parts):
                self._say("all", self.node, part, len(parts), self._facts(entries))
                await self._broker.room()
                await self._slices.pause()
        finally:
            self._telling = None
            self._flush_soon()

    def _facts(self, entries: Iterable[tuple[str | None, str]]) -> list[Json]:
        return [self._entry(topic, ref).facts() for topic, ref in entries]

    def _entry(self, topic: str | None, ref: str) -> Entry:
        if topic is None:
            return Entry(None, ref, self._hub.connections_here(ref) or None)
        member = self._hub.topics.presence.find(topic, ref)
        return Entry(topic, ref, None) if member is None else Entry(topic, ref, member.connections, member.user)

    # --- what is heard ------------------------------------------------------------------------------

    def heard(self, raw: bytes) -> None:
        """Do what another node says. What is not understood is ignored: that node may be newer."""
        word = decode(raw)
        action = self._actions.get(word.name) if word is not None else None
        if word is None or action is None:
            return
        try:
            action(word)
        except Exception:
            _log.warning("a word of another node could not be followed: %s", word.name, exc_info=True)

    def _heard_drop(self, word: Word) -> None:
        self._drop(word.facts[0])

    def _drop(self, ref: str) -> None:
        if self._copies is not None:
            self._copies.drop(ref)

    def _heard_renewed(self, word: Word) -> None:
        self._drop(word.facts[0])
        self._doubts.add(word.facts[:1])

    def _heard_ended(self, word: Word) -> None:
        ref, text = word.facts[:2]
        self._drop(ref)
        try:
            reason = Reason(text)
        except UnknownReason:
            self._doubts.add([ref])  # of a newer version: it is over, as the store will say
            return
        self._take_note(ref, reason)

    def _take_note(self, ref: str, reason: Reason | None) -> None:
        """Let go of a session that has ended elsewhere."""
        self._sessions.take_note(ref, reason)
        self._hub.part_with(ref, reason, self._forget(ref, reason))

    def _forget(self, ref: str, reason: Reason | None) -> list[tuple[str, Member]]:
        if reason is not None:
            self._ended.pop(ref, None)  # the first to be forgotten stay first
            self._ended[ref] = (self._now() + END_REMEMBERED, reason)
        return self.directory.forget(ref)

    def _heard_received(self, word: Word) -> None:
        connection_id, ref, asking, number = word.facts[:4]
        receipt = self._hub.receive_here(connection_id, ref, word.payload)
        self._say_to(asking, encode("receipt", number, str(receipt)))

    def _heard_receipt(self, word: Word) -> None:
        receipt = self._receipts.get(word.facts[0])
        if receipt is not None and not receipt.done():
            receipt.set_result(Receipt(word.facts[1]))

    def _heard_hello(self, word: Word) -> None:
        _, to = word.facts[:2]
        if to in (None, self.node):
            self._owe_all()

    def _heard_all(self, word: Word) -> None:
        node, part, parts, facts = word.facts[:4]
        news = self.directory.take_part(node, part, parts, [Entry.of(each) for each in facts], self._now())
        if news is None:
            self._ask(node)
        else:
            self._tell(news)

    def _heard_here(self, word: Word) -> None:
        node, facts = word.facts[:2]
        if self.directory.knows(node):
            self._tell(self.directory.update(node, [Entry.of(each) for each in facts], self._now()))
        else:
            self._ask(node)

    def _heard_alive(self, word: Word) -> None:
        if not self.directory.alive(word.facts[0], self._now()):
            self._ask(word.facts[0])

    def _ask(self, node: str) -> None:
        """Ask a node what it has, once a beat."""
        if node not in self._asked:
            self._asked.add(node)
            self._say("hello", self.node, node)

    def _heard_bye(self, word: Word) -> None:
        self._tell(self.directory.leave(word.facts[0], self._now(), self._hub.topics.presence.grace))
        self._tell(self.directory.expire(self._now()))

    def _tell(self, news: News) -> None:
        """Tell the sockets of this node what has changed on others."""
        for topic, member in news.left:
            self._hub.topics.left(topic, member)
        for topic, member in news.joined:
            self._hub.topics.joined(topic, member)
        for ref in news.counted:
            self._hub.tell_session(ref)


def _chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def mark_of(node: str) -> str:
    """Return what stands for a node in the names of its connections: of any name as many hexadecimal digits."""
    return hashlib.blake2s(node.encode(), digest_size=6).hexdigest()


def _inbox(mark: str) -> str:
    return f"\0{mark}"  # a control character, which no topic of a client's has


def _nothing(_: object) -> None:
    """A word gets no answer."""
