"""WebSocket framing (RFC 6455) and permessage-deflate (RFC 7692) over asyncio's transports.

From the bytes up: `masking`, `frames`, `utf8`, `deflate`, `messages` are pure, and take what comes in any pieces.
`handshake` says what a 101 answers; `inbox`, `outlet` and `heartbeat` keep a socket's order, pace and pulse;
`protocol` is what a Tornado handler gets of them.
"""
