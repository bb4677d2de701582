"""A wire that can be cut: it carries bytes between a node and its Redis until it is told otherwise.

    with Proxy(("127.0.0.1", 6379)) as proxy:
        ...  # connect to 127.0.0.1:{proxy.port}
        proxy.cut()

Both ends see what a network does to them: a reset, a silence, half a connection, half a reply.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from typing import Literal, TypeAlias

from faults.background import Background
from processes import PATIENCE

Way: TypeAlias = Literal["there", "back"]
"""`there` is from the node to Redis."""

Target: TypeAlias = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""

_CHUNK = 64 * 1024
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on a free port of 127.0.0.1, and carries each connection to the target. Its methods are for any thread."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.port = 0
        self.delay = 0.0
        """Seconds that each piece takes longer."""
        self.refuses = False
        """Whether each new connection is reset at once."""
        self._free: dict[Way, asyncio.Event] = {}
        self._kept = {"there": threading.Event(), "back": threading.Event()}
        self._fuse: dict[Way, int] = {}
        self._wires: set[_Wire] = set()
        self._background = Background()
        self._server = self._background.do(self._listen())

    async def _listen(self) -> asyncio.Server:
        for way in ("there", "back"):
            self._free[way] = asyncio.Event()
            self._free[way].set()
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._server.close)
        self.cut()
        self._background.close()

    def __len__(self) -> int:
        """Count the connections that are open."""
        return len(self._wires)

    # --- faults -------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset all connections; new ones are carried."""
        self._do(lambda: [wire.cut() for wire in list(self._wires)])

    def refuse(self) -> None:
        """Reset all connections, and new ones at once."""
        self.refuses = True
        self.cut()

    def stall(self, *ways: Way) -> None:
        """Deliver nothing on these ways (none named: on both). Connections stay open, and what comes is kept."""
        for way in ways or self._free:
            self._kept[way].clear()
        self._do(lambda: [self._free[way].clear() for way in ways or self._free])

    def keeps(self, way: Way) -> bool:
        """Wait until there is something that a stalled way has not delivered; `False`: it never came."""
        return self._kept[way].wait(PATIENCE)

    def half_close(self, way: Way) -> None:
        """End all connections on one way, as `shutdown` does; the other way stays open."""
        self._do(lambda: [wire.end(way) for wire in list(self._wires)])

    def cut_after(self, way: Way, count: int) -> None:
        """Reset the connection that carries the last of the next so many bytes: in the midst of a command or a reply."""
        self._do(lambda: self._fuse.update({way: count}))

    def heal(self) -> None:
        """Carry everything again, what was kept first."""
        self.refuses, self.delay = False, 0.0
        self._do(self._fuse.clear)
        self._do(lambda: [event.set() for event in self._free.values()])

    def _do(self, work: Callable[[], object]) -> None:
        async def done() -> None:
            work()

        self._background.do(done())

    # --- carrying -----------------------------------------------------------------------------------

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = _Wire(reader, writer)
        self._wires.add(wire)
        try:
            if not self.refuses and await wire.connect(self.target):
                await asyncio.wait([wire.start(way, self._piece) for way in self._free])
        finally:
            wire.cut()
            self._wires.discard(wire)

    async def _piece(self, way: Way, data: bytes) -> tuple[bytes, bool]:
        """Wait until a piece may go on; return what of it does, and whether the connection is cut after that."""
        if self.delay:
            await asyncio.sleep(self.delay)
        if not self._free[way].is_set():
            self._kept[way].set()
            await self._free[way].wait()
        if way not in self._fuse:
            return data, False
        left = self._fuse[way]
        self._fuse[way] = left - len(data)
        if left > len(data):
            return data, False
        del self._fuse[way]
        return data[:left], True


class _Wire:
    """One connection, from end to end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._readers: dict[Way, asyncio.StreamReader] = {"there": reader}
        self._writers: dict[Way, asyncio.StreamWriter] = {"back": writer}
        self._tasks: dict[Way, asyncio.Task[None]] = {}

    async def connect(self, target: Target) -> bool:
        """Reach the target; tell whether it is there."""
        try:
            if isinstance(target, str):
                reader, writer = await asyncio.open_unix_connection(target)
            else:
                reader, writer = await asyncio.open_connection(*target)
        except OSError:
            return False
        self._readers["back"], self._writers["there"] = reader, writer
        return True

    def start(self, way: Way, piece: Callable[..., object]) -> asyncio.Task[None]:
        self._tasks[way] = asyncio.create_task(self._copy(way, piece))
        return self._tasks[way]

    async def _copy(self, way: Way, piece: Callable[..., object]) -> None:
        reader, writer = self._readers[way], self._writers[way]
        try:
            while data := await reader.read(_CHUNK):
                data, last = await piece(way, data)  # type: ignore[misc]
                writer.write(data)
                await writer.drain()
                if last:
                    self.cut()
            self.end(way)
        except OSError:
            self.cut()

    def end(self, way: Way) -> None:
        """Deliver nothing more on a way, and tell the receiver so."""
        writer = self._writers[way]
        if not writer.transport.is_closing():
            writer.write_eof()
        if way in self._tasks and self._tasks[way] is not asyncio.current_task():
            self._tasks[way].cancel()

    def cut(self) -> None:
        for task in self._tasks.values():
            if task is not asyncio.current_task():
                task.cancel()
        for writer in self._writers.values():
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as a connection does that is cut; of a Unix socket, which knows none, with an end."""
    if not writer.transport.is_closing():
        ours = writer.get_extra_info("socket")
        if ours.family != socket.AF_UNIX:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
