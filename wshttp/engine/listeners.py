"""Listening sockets, and the files that they need."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from wshttp.errors import ConfigurationError

BACKLOG = 1024
"""Connections that may wait to be accepted; the kernel caps it (Linux: net.core.somaxconn)."""

UNIX_MODE = 0o660
"""Who may connect to a Unix socket: its owner and its group. A proxy gets in by the group, and nobody else does."""

RESERVED_FILES = 256
"""File descriptors besides those of the connections: listeners, refusals, stores, logs, some static files."""

_PORT_ZERO_ATTEMPTS = 16
_LOCALHOST = (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6))


@dataclass(frozen=True, eq=False)
class Listener:
    """A bound socket and what is spoken on it: TLS or not, a PROXY header first or not.

    `file` is that of a Unix socket, where it goes with the listener.
    """

    socket: socket.socket
    tls: bool = False
    proxy_protocol: bool = False
    file: str | None = None

    @property
    def address(self) -> str:
        """The address as a person writes it: `http://127.0.0.1:8080`, `https://[::1]:8443`, `unix:/path`."""
        name = self.socket.getsockname()
        if is_unix(self.socket):
            return f"unix:{os.fsdecode(name)}"
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"{'https' if self.tls else 'http'}://{host}:{name[1]}"

    def twin(self) -> Listener:
        """Return a second socket on the same address, for another process; the first must be one of `bind_tcp(shared=True)`.

        It takes part in the connections from when it listens, which is not yet: the kernel deals them out by the client's
        address. A Unix socket cannot be bound twice; there both are one, and whoever is first takes a connection.
        """
        if is_unix(self.socket):
            return replace(self, socket=self.socket.dup())
        return replace(self, socket=_bind(self.socket.family, self.socket.getsockname(), join=True))

    def close(self) -> None:
        """Stop listening; the file of a Unix socket goes with it."""
        if self.socket.fileno() < 0:
            return
        self.socket.close()
        self.remove_file()

    def remove_file(self) -> None:
        """Remove the file of a Unix socket, unless somebody listens on it."""
        # Another server may have taken the path over meanwhile.
        if self.file is not None and not _somebody_listens(self.file):
            Path(self.file).unlink(missing_ok=True)


def is_unix(sock: socket.socket) -> bool:
    """Tell whether a socket has a path for its address; Windows knows none of these."""
    return sock.family == getattr(socket, "AF_UNIX", None)


class FileLimit(NamedTuple):
    """How many files this process may have open (`got`), and how many it needs at least (`wanted`)."""

    got: int
    wanted: int


def bind_tcp(
    host: str,
    port: int,
    *,
    tls: bool = False,
    proxy_protocol: bool = False,
    shared: bool = False,
    backlog: int = BACKLOG,
) -> list[Listener]:
    """Listen on all addresses of `host`, one socket each.

    `localhost` is 127.0.0.1 and ::1 (one of them where the machine has only that), `""` and `*` all addresses.
    Port 0 takes one free port for all of them.
    With `shared`, listeners may have a `twin`; whoever comes without one still finds the port in use.
    Raises `ConfigurationError` that names `server.host` or `server.port`.
    """
    targets = _targets(host, port)
    for attempt in range(_PORT_ZERO_ATTEMPTS):
        try:
            sockets = _bind_all(targets, backlog, optional_ipv6=host in ("localhost", "", "*"))
        except OSError as error:
            # The port that was free on the first address may be taken on the next: draw another.
            if port == 0 and error.errno == errno.EADDRINUSE and attempt < _PORT_ZERO_ATTEMPTS - 1:
                continue
            raise _bind_mistake(error, host, port) from error
        for sock in sockets if shared else ():
            # Not before `bind`: that would let a second server of the same user in unnoticed.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return [Listener(sock, tls, proxy_protocol) for sock in sockets]
    raise AssertionError("the last attempt returns or raises")


def bind_unix(path: str, *, mode: int = UNIX_MODE, proxy_protocol: bool = False, backlog: int = BACKLOG) -> Listener:
    """Listen on a Unix socket, in place of one that nobody listens on any more. It speaks no TLS.

    Raises `ConfigurationError` that names `server.unix_socket`.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_way(path)
        sock.setblocking(False)
        sock.bind(path)
        os.chmod(path, mode)  # before `listen`: until then nobody can connect, whatever the umask
        sock.listen(backlog)
    except ConfigurationError:
        sock.close()
        raise
    except (OSError, ValueError) as error:  # ValueError: a path that cannot even be asked for
        sock.close()
        raise ConfigurationError([f"server.unix_socket: cannot listen on {path}: {_reason(error)}"]) from error
    # An empty path is a name in Linux's abstract namespace, which has no file.
    return Listener(sock, proxy_protocol=proxy_protocol, file=path or None)


def adopt(
    sockets: Iterable[socket.socket], *, tls: bool = False, proxy_protocol: bool = False, backlog: int = BACKLOG
) -> list[Listener]:
    """Listen on sockets that somebody else has bound, whose file, if there is one, stays theirs."""
    listeners = [Listener(sock, tls, proxy_protocol) for sock in sockets]
    for listener in listeners:
        listener.socket.setblocking(False)
        listener.socket.listen(backlog)
    return listeners


def addresses(listeners: list[Listener]) -> list[str]:
    """Return where the listeners can be reached, as `Listener.address`, in their order."""
    return [listener.address for listener in listeners]


def raise_file_limit(max_connections: int) -> FileLimit:
    """Raise this process's limit of open files so that `max_connections` and the rest of the server fit.

    There is room for a static file on each connection, too, where the system allows so many.
    It is never lowered. `got` below `wanted` means that the operator must raise the hard limit.
    """
    import resource  # here, as Windows has none, where the rest of this package is of use all the same

    def files_of(limit: int) -> int:
        return sys.maxsize if limit == resource.RLIM_INFINITY else limit

    wanted = max_connections + RESERVED_FILES
    best = wanted + max_connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files_of(soft) < best:
        # Beyond the hard limit takes privileges; without them, up to it is what there is.
        attempts = [(best, hard)] if files_of(hard) >= best else [(best, best), (hard, hard)]
        for attempt in attempts:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, attempt)
                break
            except (ValueError, OSError):
                continue
    got = files_of(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return FileLimit(got, wanted)


def _targets(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    if not 0 <= port <= 65535:  # `getaddrinfo` would take it modulo 65536
        raise ConfigurationError([f"server.port: {port} is not within 0 and 65535"])
    if host == "localhost":  # whatever the machine's hosts file says
        return [(family, (ip, port)) for ip, family in _LOCALHOST]
    name = None if host in ("", "*") else host
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, ValueError) as error:  # ValueError: a name that cannot even be asked for
        raise ConfigurationError([f"server.host: {host!r} is no address and cannot be looked up: {error}"]) from error
    unique = {(family, address): None for family, _, _, _, address in found}
    return sorted(unique, key=lambda target: target[0])  # IPv4 first


def _bind_all(
    targets: list[tuple[socket.AddressFamily, Any]], backlog: int, *, optional_ipv6: bool
) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, address in targets:
            if address[1] == 0 and sockets:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            try:
                sockets.append(_bind(family, address))
                sockets[-1].listen(backlog)
            except OSError as error:
                absent = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
                if not (absent and optional_ipv6 and len(targets) > 1):
                    raise
                last_error = error
        if not sockets:
            raise last_error
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind(family: socket.AddressFamily, address: Any, *, join: bool = False) -> socket.socket:
    """Bind a socket; with `join` to an address that others have, too, and share."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if join:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # IPv4 has its own socket; without this, ours for IPv6 would take its port.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_mistake(error: OSError, host: str, port: int) -> ConfigurationError:
    match error.errno:
        case errno.EADDRINUSE:
            text = f"server.port: {port} is in use: another server listens on {host or '*'}"
        case errno.EACCES | errno.EPERM:
            text = f"server.port: no permission to listen on port {port} of {host or '*'}"
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            text = f"server.host: {host} is not an address of this machine"
        case _:
            text = f"server.host: cannot listen on {host or '*'}, port {port}: {_reason(error)}"
    return ConfigurationError([text])


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _make_way(path: str) -> None:
    """Remove a socket that nobody listens on; raise `ConfigurationError` for anything else that is there."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(there.st_mode):
        raise ConfigurationError([f"server.unix_socket: {path} exists and is not a socket"])
    if _somebody_listens(path):
        raise ConfigurationError([f"server.unix_socket: another server listens on {path}"])
    os.unlink(path)


def _somebody_listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # its backlog is full
        except OSError:
            return False
        return True
