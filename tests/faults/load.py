"""Clients of several nodes, who work, log in, open sockets, log out and leave, and remember what they were told.

with fleet(...) as nodes, load(nodes) as clients:
    clients.answers(100)
    ...  # a fault
    verdict = clients.judge()
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from faults.background import Background
from faults.fleet import Fleet, Node
from faults.history import Asked, Held, History, now
from faults.http_connection import HttpConnection
from faults.verdict import Allowed, Verdict
from processes import PATIENCE
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

WORK: Final = {"hit": 60, "tabs": 10, "update": 10, "message": 15, "socket": 6, "logout": 5, "short": 3, "login": 3}
"""How often clients do what."""

MAX_SOCKETS: Final = 3

NOTHING: Final = Allowed()

LATER: Final = 0.05
"""Seconds for which a client leaves a server in peace that was not there, or answered 503 (its `Retry-After` says more)."""

NO_ANSWER: Final = 5.0
"""Seconds after which a message will not be answered: its handler has failed, as handlers do that need the store."""

LONGEST: Final = 2 * PATIENCE
"""Seconds after which a client gives up; no node is ever paused for as long."""


class Load:
    """Clients that work in the background, until `finish`. `history` has what they were told."""

    def __init__(self, fleet: Fleet, clients: int, work: Mapping[str, int], seed: int) -> None:
        self.fleet = fleet
        self.work = work
        self.history = History()
        self.over = False
        self._answered, self._refused = threading.Semaphore(0), threading.Semaphore(0)
        self._background = Background()
        self._clients = [Client(self, f"client-{seed}-{number}") for number in range(clients)]
        self._running = asyncio.run_coroutine_threadsafe(self._run(), self._background.loop)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(client.run())

    def count(self, asked: Asked) -> None:
        """Take note of an answer."""
        if asked.ok:
            self._answered.release()
        elif asked.status == 503:
            self._refused.release()

    def answers(self, count: int) -> None:
        """Wait until so many more requests were answered."""
        self._wait(self._answered, count)

    def refusals(self, count: int) -> None:
        """Wait until so many more requests were answered that the store is away."""
        self._wait(self._refused, count)

    def _wait(self, counter: threading.Semaphore, count: int) -> None:
        while counter.acquire(blocking=False):
            pass  # those of before
        for _ in range(count):
            assert counter.acquire(timeout=LONGEST), "no answers come"
            if self._running.done():
                self._running.result()

    def judge(self, allowed: Allowed = NOTHING) -> Verdict:
        """Have clients cease to work, end all sessions, and judge what came of it."""
        self.over = True
        self._running.result(LONGEST)
        self.fleet.end_all()
        self._background.do(self._closed(), LONGEST)
        return Verdict(self.fleet.lines(), self.history, allowed)

    async def _closed(self) -> None:
        """Wait until all sockets are closed, or for too long: the verdict says which."""
        reading = [socket.reading for client in self._clients for socket in client.sockets]
        if reading:
            await asyncio.wait(reading, timeout=PATIENCE)

    def close(self) -> None:
        self.over = True
        self._background.do(self._let_go(), LONGEST)
        self._background.close()

    async def _let_go(self) -> None:
        for client in self._clients:
            client.close()
        await self._closed()


@contextmanager
def load(fleet: Fleet, clients: int = 8, work: Mapping[str, int] = WORK, seed: int = 0) -> Iterator[Load]:
    """Have clients work on a fleet."""
    load = Load(fleet, clients, work, seed)
    try:
        yield load
    finally:
        load.close()


class Client:
    """A browser: a cookie, some sockets, and in each session that it has a key of its own."""

    def __init__(self, load: Load, name: str) -> None:
        self.sockets: list[Socket] = []
        self._load = load
        self._name = name
        self._random = random.Random(name)
        self._connections: dict[str, HttpConnection] = {}
        self._cookie = ""
        self._ref = ""
        self._value = 0
        self._unnamed: dict[str, list[Asked]] = {}
        self._does = {
            "hit": self._hit, "tabs": self._tabs, "update": self._update, "message": self._message, "socket": self._open_socket,
            "logout": self._log_out, "short": self._stay_short, "login": self._log_in,
        }  # fmt: skip

    async def run(self) -> None:
        while not self._load.over:
            nodes = self._load.fleet.up
            if not nodes:
                await asyncio.to_thread(self._load.fleet.nodes[0].listening.wait, LONGEST)
                continue
            node = self._random.choice(nodes)
            [what] = self._random.choices(list(self._load.work), list(self._load.work.values()))
            await (self._does[what] if self._ref else self._hit)(node)

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        for socket in self.sockets:
            socket.close()

    # --- what it does ---------------------------------------------------------------------------------

    async def _hit(self, node: Node) -> None:
        self._value += 1
        key = f"{self._name}-{node.name}".replace(" ", "-")  # one per node: it is asked one after the other
        asked = Asked("hit", self._ref, node.name, key, self._value)
        await self._ask(node, asked, f"/hit?key={key}&value={self._value}")
        if self._cookie and not self._ref:  # it began a session, and could not finish
            self._unnamed.setdefault(self._cookie, []).append(asked)

    async def _tabs(self, node: Node) -> None:
        """Ask all nodes at once."""
        await asyncio.gather(*(self._hit(each) for each in self._load.fleet.up))

    async def _update(self, node: Node) -> None:
        """Change one key atomically."""
        self._value += 1
        asked = Asked("update", self._ref, node.name, f"{self._name}-most", self._value)
        await self._ask(node, asked, f"/update?key={asked.key}&value={asked.value}")

    async def _stay_short(self, node: Node) -> None:
        """Have the session end soon, and leave it."""
        await self._ask(node, Asked("short", self._ref, node.name), "/short")
        self._leave()

    async def _log_out(self, node: Node) -> None:
        """And see that all nodes know it."""
        cookie, ref = self._cookie, self._ref
        asked = Asked("logout", ref, node.name)
        await self._ask(node, asked, "/wshttp/session", method="DELETE")
        self._leave()
        for each in self._load.fleet.up if asked.ok else []:
            await self._ask(each, Asked("look", ref, each.name), "/wshttp/session?touch=0", cookie=cookie)

    async def _log_in(self, node: Node) -> None:
        asked = Asked("login", self._ref, node.name)
        basic = b64encode(f"{self._name}:right".encode()).decode()
        await self._ask(node, asked, "/wshttp/login", method="POST", authorization=f"Basic {basic}")
        if not asked.ok:
            self._leave()  # nobody knows whether the cookie is renewed

    async def _open_socket(self, node: Node) -> None:
        self.sockets = [socket for socket in self.sockets if not socket.held.closed]
        if len([socket for socket in self.sockets if socket.held.ref == self._ref]) >= MAX_SOCKETS:
            return
        socket = await Socket.open(node, self._cookie)
        if socket is not None:
            self.sockets.append(socket)
            self._load.history.held.append(socket.held)

    async def _message(self, node: Node) -> None:
        """Send a message on a socket of this session, and wait for the answer."""
        own = [socket for socket in self.sockets if socket.held.ref == self._ref and not socket.held.closed]
        if own:
            socket = self._random.choice(own)
            asked = Asked("message", self._ref, socket.held.node)
            self._load.history.asked.append(asked)
            await socket.ask(asked)
            self._load.count(asked)

    def _name_session(self, ref: str) -> None:
        """Learn which session it is that the cookie is for: another one, where the last is gone."""
        self._ref = ref
        for earlier in self._unnamed.pop(self._cookie, []):
            earlier.ref = ref

    def _leave(self) -> None:
        self._cookie = self._ref = ""
        self._value = 0

    # --- how it asks ----------------------------------------------------------------------------------

    async def _ask(
        self, node: Node, asked: Asked, path: str, *, method: str = "GET", cookie: str = "", authorization: str = ""
    ) -> None:
        address = node.address
        if not address:
            return  # it has just been killed
        self._load.history.asked.append(asked)
        connection = self._connections.setdefault(address, HttpConnection(address))
        headers = {"Cookie": cookie or self._cookie, "Authorization": authorization}
        try:
            async with asyncio.timeout(LONGEST):
                answer = await connection.ask(method, path, {k: v for k, v in headers.items() if v})
        except OSError:  # also a time-out
            connection.close()
            await asyncio.sleep(LATER)
            return
        asked.answered, asked.status, asked.told = now(), answer.status, answer.json()
        given = answer.headers.get("set-cookie")
        if given is not None and not cookie:
            self._cookie = given.partition(";")[0]
        if asked.ok and not cookie and asked.found:
            self._name_session(asked.found)
        self._load.count(asked)
        if answer.status >= 500:
            await asyncio.sleep(LATER)


class Socket:
    """A WebSocket of a session, which reads until it is closed."""

    def __init__(self, wire: ClientConnection, held: Held) -> None:
        self.held = held
        self._wire = wire
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, node: Node, cookie: str) -> Socket | None:
        """Open a socket on a node; `None` where it does not let us."""
        address = node.address
        url = address.replace("http", "ws") + "/wshttp/socket"
        try:
            wire = await connect(
                url, additional_headers={"Cookie": cookie}, origin=address, subprotocols=[Subprotocol("wshttp.v1")],
                compression=None, ping_interval=None, proxy=None, open_timeout=LONGEST, close_timeout=1,
            )  # fmt: skip
        except (OSError, WebSocketException, ValueError):
            return None
        try:
            welcome = json.loads(await wire.recv())
        except ConnectionClosed:
            return None
        return cls(wire, Held(welcome["session"]["ref"], node.name))

    async def ask(self, asked: Asked) -> None:
        """Send a message, and wait for its answer; there is none where the socket is closed, or the handler fails."""
        self._number += 1
        waiting = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        try:
            await self._wire.send(json.dumps({"type": "app", "data": self._number}))
        except ConnectionClosed:
            return
        await asyncio.wait({waiting, self.reading}, timeout=NO_ANSWER, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            asked.answered, asked.status, asked.told = now(), 200, waiting.result()

    async def _read(self) -> None:
        try:
            async for text in self._wire:
                message = json.loads(text)
                if message["type"] == "app":
                    self._waiting.pop(message["data"]["to"]).set_result(message["data"])
        except ConnectionClosed:
            pass
        self.held.closed, self.held.code = now(), self._wire.close_code

    def close(self) -> None:
        self._wire.transport.abort()
