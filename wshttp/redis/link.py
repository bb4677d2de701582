"""One connection to the primary, on which the calls of all tasks travel together.

Replies come in the order of the calls, so one connection serves everybody, and what several tasks ask in one turn of the
loop is one write. A pool would only let calls overtake each other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from itertools import chain
from typing import Any, TypeAlias

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from wshttp.redis.greeting import Conversation, cut, send
from wshttp.redis.keeper import Keeper
from wshttp.redis.packing import Argument, pack
from wshttp.redis.refusals import ELSEWHERE, FAILING, RedisRefused, RedisUnavailable, is_reply, refusal
from wshttp.redis.script import Script
from wshttp.redis.topology import topology_of

__all__ = ["Argument", "Call", "RedisLink", "RedisRefused", "RedisUnavailable", "Script"]

Call: TypeAlias = Callable[..., Awaitable[Any]]
"""`RedisLink.call`, on a fresh connection that nobody else uses yet."""


class _Waiting:
    """A call that is not answered."""

    __slots__ = ("deadline", "packed", "reply", "sent_at", "whole")

    def __init__(
        self, packed: bytes, reply: asyncio.Future[Any], deadline: float, whole: Callable[[], bytes] | None
    ) -> None:
        self.packed = packed
        self.reply = reply
        self.deadline = deadline
        self.whole = whole
        """What to send to a server that does not know the script."""
        self.sent_at = 0.0


class RedisLink:
    """A connection that is made again whenever it is lost.

    No call waits longer than `timeout` seconds. Calls that were not answered when a connection was lost are sent again
    on the next one, so whatever changes something carries a token by which the server knows that it has done it.
    Once the server has been away for `timeout`, calls fail at once. A call that is cancelled, or waits no longer, may be
    carried out yet.

    `on_connect` is awaited on each fresh connection, the first and all later ones, before any other call; it is given
    a `call` of its own. What it raises keeps the link unavailable: the connection is cut and made again.
    `root` is a key (or `{tag}`) whose slot is that of all keys; it matters in a cluster.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        on_connect: Callable[[Call], Awaitable[None]] | None = None,
        client_name: str = "wshttp",
        root: str = "{wshttp}",
    ) -> None:
        self._topology = topology_of(url, root=root, timeout=timeout, client_name=client_name)
        self._timeout = timeout
        self._on_connect = on_connect
        self._unsent: deque[_Waiting] = deque()
        self._sent: deque[_Waiting] = deque()  # in the order in which the replies will come
        self._to_send = asyncio.Event()
        self._silent = asyncio.Event()
        self._heard_at = 0.0
        self._timer: asyncio.Handle | None = None
        self._keeper = Keeper(
            "connection to the store", connect=self._connect, duties=self._duties, lost=self._put_back, back=self._begin
        )

    @property
    def available(self) -> bool:
        """Whether there is a connection, and `on_connect` has run on it."""
        return self._keeper.available

    async def open(self) -> None:
        """Connect for the first time.

        Raises `RedisUnavailable` (a `StoreUnavailable`), `StoreUnusable` where trying again would not help, with what
        to do, and what `on_connect` raises.
        """
        self._loop = asyncio.get_running_loop()
        await self._keeper.open()
        self._begin()

    async def close(self) -> None:
        """Close the connection; calls that are not answered raise `RedisUnavailable`. It may be opened again."""
        await self._keeper.close()
        self._fail(chain(self._sent, self._unsent))
        self._sent.clear()
        self._unsent.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def call(self, *command: Argument) -> Any:
        """Send one command, and return its reply in RESP2: `bytes`, `int`, `None` or a list of these.

        Raises `RedisUnavailable` and `RedisRefused`.
        """
        return await self._ask(pack(*command))

    async def script(self, script: Script, root: Argument, *arguments: Argument) -> Any:
        """Run a script with one key, `root`, and any number of arguments; raises as `call`."""
        # The source travels where the server does not know it, just started or with its scripts flushed.
        return await self._ask(
            pack("EVALSHA", script.sha, 1, root, *arguments),
            lambda: pack("EVAL", script.source, 1, root, *arguments),
        )

    # --- calls ----------------------------------------------------------------------------------

    def _ask(self, packed: bytes, whole: Callable[[], bytes] | None = None) -> asyncio.Future[Any]:
        if not self._keeper.is_open:
            raise RedisUnavailable(self._keeper.reason)
        now = self._loop.time()
        away_since = self._keeper.away_since
        deadline = (now if away_since is None else away_since) + self._timeout
        if deadline <= now:
            raise RedisUnavailable(self._keeper.reason)
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._unsent.append(_Waiting(packed, reply, deadline, whole))
        self._to_send.set()
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._time_is_up)
        return reply

    def _answer(self, reply: Any) -> None:
        """Give the reply to the call whose turn it is. Raises `RedisUnavailable` where another server is to be asked."""
        refused = refusal(reply) if isinstance(reply, RedisError) else None
        if refused is not None and refused.code in ELSEWHERE:
            raise RedisUnavailable(str(refused), code=refused.code)
        waiting = self._sent.popleft()
        self._keeper.is_well()
        if waiting.reply.done():  # cancelled, or its time was up
            return
        if refused is None:
            waiting.reply.set_result(reply)
        elif refused.code == "NOSCRIPT" and waiting.whole is not None:
            waiting.packed, waiting.whole = waiting.whole(), None
            self._unsent.append(waiting)
            self._to_send.set()
        elif refused.code in FAILING:
            waiting.reply.set_exception(RedisUnavailable(str(refused), code=refused.code))
        else:
            waiting.reply.set_exception(refused)

    def _fail(self, calls: Iterable[_Waiting]) -> None:
        for waiting in calls:
            if not waiting.reply.done():
                waiting.reply.set_exception(RedisUnavailable(self._keeper.reason))

    def _time_is_up(self) -> None:
        # Where our own loop was late, replies may be here already: the reader, which was woken before us, has its turn.
        self._timer = self._loop.call_soon(self._expire)

    def _expire(self) -> None:
        """Fail the calls whose time is up, and give up a connection on which nothing comes any more."""
        now = self._loop.time()
        silent_since = max(self._sent[0].sent_at, self._heard_at) if self._sent else now
        if silent_since + self._timeout <= now:
            self._give_up(silent_since)
        live = [waiting for waiting in chain(self._sent, self._unsent) if not waiting.reply.done()]
        for waiting in live:
            if waiting.deadline <= now:
                waiting.reply.set_exception(RedisUnavailable(self._silence()))
        times = [waiting.deadline for waiting in live if waiting.deadline > now]
        if self._sent and silent_since + self._timeout > now:
            times.append(silent_since + self._timeout)
        self._timer = self._loop.call_at(min(times), self._time_is_up) if times else None

    def _give_up(self, silent_since: float) -> None:
        """Take the connection for lost since it fell silent; what waits has waited long enough."""
        self._keeper.lose(silent_since, self._silence())
        self._fail(chain(self._sent, self._unsent))
        self._silent.set()

    def _silence(self) -> str:
        return f"no answer within {self._timeout:g} s from {self._topology}"

    # --- the connection -------------------------------------------------------------------------

    async def _connect(self) -> AbstractConnection:
        """Return a connection on which `on_connect` has run."""
        connection = await self._topology.connect()
        try:
            if self._on_connect is not None:
                conversation = Conversation(connection, self._timeout, self._topology)
                await self._on_connect(conversation.ask)
                if conversation.lost is not None:
                    raise conversation.lost  # noqa: TRY301  # `on_connect` did not mind, but we do
        except BaseException:
            await cut(connection)
            raise
        return connection

    def _begin(self) -> None:
        """Be ready for a fresh connection."""
        self._heard_at = self._loop.time()
        self._silent.clear()
        self._to_send.set()

    def _put_back(self) -> None:
        """Have what was not answered sent again, in its order."""
        self._unsent.extendleft(waiting for waiting in reversed(self._sent) if not waiting.reply.done())
        self._sent.clear()

    def _duties(self, connection: AbstractConnection) -> Iterable[Coroutine[Any, Any, None]]:
        return self._write(connection), self._read(connection), self._listen()

    async def _listen(self) -> None:
        await self._silent.wait()
        raise RedisUnavailable(self._silence())

    async def _write(self, connection: AbstractConnection) -> None:
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            now = self._loop.time()
            packed = []
            while self._unsent:
                waiting = self._unsent.popleft()
                if not waiting.reply.done():
                    waiting.sent_at = now
                    self._sent.append(waiting)
                    packed.append(waiting.packed)
            if packed:
                await send(connection, packed)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            try:
                reply = await connection.read_response(disconnect_on_error=False)
            except RedisError as error:
                if not is_reply(error):
                    raise
                reply = error
            self._heard_at = self._loop.time()
            if not self._sent:
                raise RedisUnavailable("a reply came that nobody asked for")
            self._answer(reply)
