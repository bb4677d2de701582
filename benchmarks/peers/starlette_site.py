"""Starlette with its SessionMiddleware, on uvicorn with uvloop and httptools."""

from __future__ import annotations

import argparse
import os

import uvicorn
from listening import listen
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

parser = argparse.ArgumentParser()
parser.add_argument("files", help="the folder of the static files")
arguments = parser.parse_args()


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Hello, world")


async def count(request: Request) -> JSONResponse:
    counted = request.session.get("count", 0) + 1
    request.session["count"] = counted
    return JSONResponse({"count": counted})


sessions = Middleware(SessionMiddleware, secret_key="0123456789abcdef0123456789abcdef")
application = Starlette(
    routes=[
        Route("/hello", hello),
        Route("/count", count, middleware=[sessions]),  # what needs none pays for none
        Mount("/files", StaticFiles(directory=os.path.join(arguments.files, "files"))),
    ],
)
config = uvicorn.Config(application, loop="uvloop", http="httptools", access_log=False, log_level="critical")
uvicorn.Server(config).run(sockets=[listen()])
