"""How we talk to Redis and Valkey: one connection that all share, another for what is published.

redis-py does the connecting (TLS, log-in, Unix sockets) and reads the replies; it is an extra, and this package is
imported only where a setting chose it. What is stored there is `stores.redis`; what is published, `realtime`.
"""

from __future__ import annotations

from importlib.util import find_spec

from wshttp.errors import ConfigurationError

if not all(map(find_spec, ("redis", "hiredis"))):
    raise ConfigurationError(["store.kind: redis needs the package redis: pip install 'wshttp[redis]'"])
