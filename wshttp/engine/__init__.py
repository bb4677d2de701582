"""Bytes: listeners, addresses and proxies, TLS, and the HTTP server under the Tornado application.

It knows no sessions.
`stock` is the engine on stock Tornado; all other modules are what any engine stands on.
"""
