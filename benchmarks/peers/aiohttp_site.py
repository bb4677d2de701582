"""aiohttp on uvloop, with aiohttp-session in the encrypted cookie that its documentation begins with."""

from __future__ import annotations

import argparse
import os

import uvloop
from aiohttp import WSMsgType, web
from aiohttp_session import get_session, setup
from aiohttp_session.cookie_storage import EncryptedCookieStorage
from listening import listen

parser = argparse.ArgumentParser()
parser.add_argument("files", help="the folder of the static files")
arguments = parser.parse_args()


async def hello(request: web.Request) -> web.Response:
    return web.Response(text="Hello, world")


async def count(request: web.Request) -> web.Response:
    session = await get_session(request)
    session["count"] = session.get("count", 0) + 1
    return web.json_response({"count": session["count"]})


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    return socket


counting = web.Application()
setup(counting, EncryptedCookieStorage(os.urandom(32)))
counting.add_routes([web.get("", count)])

application = web.Application()
application.add_routes([web.get("/hello", hello), web.get("/echo", echo)])
application.add_routes([web.static("/files", os.path.join(arguments.files, "files"))])
application.add_subapp("/count", counting)
web.run_app(application, sock=listen(), loop=uvloop.new_event_loop(), access_log=None, print=None)
