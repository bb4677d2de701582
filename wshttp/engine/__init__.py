"""Bytes: listeners, addresses and proxies, TLS, and the HTTP server under the Tornado application.

It knows no sessions.
`listeners`, `acceptor`, `preamble` and `refusals` are a connection's way in; `address` and `proxy_protocol` say who it is,
`limits`, `rates` and `tls` what it may; `link` is the record of one that was let in.
`server` is what both engines share, `stock` the engine on stock Tornado, `native` the one that speaks HTTP itself:
`http_head`, `http_body` and `http_parser` are pure, `http_protocol` is one connection, `http_answer` one answer on it.
`websocket` has the framing.
`install()` puts the native engine under any Tornado program, without the rest of this package:

    import asyncio
    import tornado.web
    from wshttp.engine import install

    install()
    application = tornado.web.Application([...])
    application.listen(8888)
"""

from wshttp.engine.address import TrustedProxies
from wshttp.engine.install import install, uninstall
from wshttp.engine.limits import Limits
from wshttp.engine.native import NativeServer

__all__ = ["Limits", "NativeServer", "TrustedProxies", "install", "uninstall"]
