"""What is measured, beside whom, and what is to be reached. "The best of several" is each of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from benchmarks.engine.answers import counts, has_size, says_hello
from benchmarks.engine.load import Broadcast, IdleSockets, Latency, Messages, Requests
from benchmarks.engine.peer import Peer
from benchmarks.engine.row import Rival, Row

# --- the programs -----------------------------------------------------------------------------------------


def _wshttp(engine: str, *options: str) -> Peer:
    name = "wshttp" if engine == "native" else "wshttp, `engine: tornado`"
    return Peer(name, "wshttp_site.py", ("--engine", engine, *options), ours=True)


def _plain(peer: Peer) -> Rival:
    """Return the same, not compiled."""
    return Rival(replace(peer, name="wshttp, not compiled", plain=True))


NATIVE = _wshttp("native")
NATIVE_BY_IP = _wshttp("native", "--identity", "ip")
NATIVE_DEFLATING = _wshttp("native", "--identity", "ip", "--compression")

ON_STOCK = _wshttp("tornado")
ON_STOCK_BY_IP = _wshttp("tornado", "--identity", "ip")
ON_STOCK_DEFLATING = _wshttp("tornado", "--identity", "ip", "--compression")

NATIVE_HANDLER = _wshttp("native", "--handler")
ON_STOCK_HANDLER = _wshttp("tornado", "--handler")

INSTALLED = Peer("Tornado after `install()`", "tornado_site.py", ("--install",), ours=True)
TORNADO = Peer("Tornado", "tornado_site.py", ours=True)
TORNADO_DEFLATING = Peer("Tornado", "tornado_site.py", ("--compression",), ours=True)

AIOHTTP = Peer("aiohttp, aiohttp-session", "aiohttp_site.py")
STARLETTE = Peer("Starlette, uvicorn", "starlette_site.py")
EXPRESS = Peer("express, express-session", "express_site.js")
WS = Peer("Node `ws`", "ws_site.js")
WS_DEFLATING = Peer("Node `ws`", "ws_site.js", ("--compression",))
WEBSOCKETS = Peer("websockets", "websockets_site.py")
WEBSOCKETS_DEFLATING = Peer("websockets", "websockets_site.py", ("--compression",))
PICOWS = Peer("picows, bare", "picows_site.py")
LIMIT = Peer("uvloop, nothing parsed", "limit_site.py", pretends=True)
NGINX = Peer("nginx", "nginx_site.py", needs="nginx")

# --- the work ---------------------------------------------------------------------------------------------

COUNT = Requests("/count", counts, cookies=True)

KIB, MIB = 1024, 1024 * 1024

FILES: Final = {"4k.bin": 4 * KIB, "1m.bin": MIB}
"""The static files, by name, with their size in bytes."""

ROWS: Final = (
    Row(
        "ip", "function endpoint that counts in its session, `ip` identity", COUNT, NATIVE_BY_IP,
        (
            Rival(AIOHTTP, 2.5), Rival(STARLETTE, 2.5), Rival(TORNADO, 2.5), Rival(EXPRESS, 3), _plain(NATIVE_BY_IP),
            Rival(ON_STOCK_BY_IP), Rival(LIMIT),
        ),
    ),
    Row(
        "cookie", "the same with `cookie` identity", COUNT, NATIVE,
        (Rival(AIOHTTP, 2), Rival(STARLETTE, 2), Rival(TORNADO, 2), Rival(EXPRESS, 2), _plain(NATIVE), Rival(ON_STOCK)),
    ),
    Row(
        "handler", "`SessionHandler` that counts in its session, `cookie` identity", COUNT, NATIVE_HANDLER,
        (
            Rival(ON_STOCK_HANDLER, 2.5), Rival(AIOHTTP, 1.4), Rival(STARLETTE, 1.4), Rival(TORNADO, 1.4),
            _plain(NATIVE_HANDLER),
        ),
    ),
    Row(
        "hello", "Tornado's `RequestHandler`, no session", Requests("/hello", says_hello), INSTALLED,
        (Rival(TORNADO, 2), Rival(AIOHTTP), Rival(STARLETTE), Rival(EXPRESS), _plain(INSTALLED)),
    ),
    Row(
        "file-4k", "static file of 4 KiB", Requests("/files/4k.bin", has_size(4 * KIB)), NATIVE,
        (Rival(AIOHTTP, 2), Rival(STARLETTE, 2), Rival(TORNADO), Rival(ON_STOCK), Rival(NGINX)),
    ),
    Row(
        "file-1m", "static file of 1 MiB", Requests("/files/1m.bin", has_size(MIB)), NATIVE,
        (Rival(AIOHTTP, 1.5), Rival(STARLETTE, 1.5), Rival(TORNADO), Rival(ON_STOCK), Rival(NGINX)),
    ),
    Row(
        "echo", "WebSocket echo, 64 B, touching a session", Messages(64), NATIVE_BY_IP,
        (
            Rival(TORNADO, 8), Rival(WS, 1.7), Rival(PICOWS, 0.75), _plain(NATIVE_BY_IP), Rival(ON_STOCK_BY_IP),
            Rival(AIOHTTP), Rival(WEBSOCKETS), Rival(LIMIT),
        ),
    ),
    Row(
        "echo-64k", "WebSocket echo, 64 KiB, touching a session", Messages(64 * KIB), NATIVE_BY_IP,
        (Rival(TORNADO, 2), _plain(NATIVE_BY_IP), Rival(ON_STOCK_BY_IP), Rival(WS), Rival(PICOWS)),
    ),
    Row(
        "deflate", "WebSocket echo, 1 KiB of JSON, permessage-deflate", Messages(KIB, deflate=True), NATIVE_DEFLATING,
        (
            Rival(TORNADO_DEFLATING, 2), _plain(NATIVE_DEFLATING), Rival(ON_STOCK_DEFLATING), Rival(WS_DEFLATING),
            Rival(WEBSOCKETS_DEFLATING),
        ),
    ),
    Row(
        "broadcast", "one message to 5,000 sockets, each with its session", Broadcast(5_000), NATIVE,
        (Rival(TORNADO, 5), _plain(NATIVE), Rival(ON_STOCK), Rival(WS)),
    ),
    Row(
        "memory", "resident memory of an idle socket with its session, 10,000 of them", IdleSockets(10_000), NATIVE,
        (_plain(NATIVE), Rival(ON_STOCK), Rival(TORNADO), Rival(WS), Rival(PICOWS)),
        limit=10.0,
    ),
    Row(
        "latency", "the first row at half the rate that each can do", Latency(COUNT), NATIVE_BY_IP,
        (Rival(STARLETTE, 1), Rival(AIOHTTP), _plain(NATIVE_BY_IP), Rival(ON_STOCK_BY_IP)),
    ),
)  # fmt: skip
