"""The library websockets on uvloop, as its documentation shows it."""

from __future__ import annotations

import argparse
import asyncio

import uvloop
from listening import listen
from websockets.asyncio.server import ServerConnection, serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

parser = argparse.ArgumentParser()
parser.add_argument("files", help="not used")
parser.add_argument("--compression", action="store_true")
arguments = parser.parse_args()

# At the level of the others.
DEFLATE = ServerPerMessageDeflateFactory(compress_settings={"level": 1, "memLevel": 5})


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def main() -> None:
    extensions = [DEFLATE] if arguments.compression else None
    async with serve(echo, sock=listen(), compression=None, extensions=extensions):
        await asyncio.Event().wait()


uvloop.run(main())
