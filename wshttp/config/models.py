"""Every setting: its type, its default, what it is for, and whether it can change while the server runs.

The classes below are the only place where a setting is described.
What is read from YAML, what `SIGHUP` may change and what `docs/reference/configuration.md` says all come from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from wshttp.config.coherence import Contradictions, contradictions
from wshttp.config.kinds import (
    FILE_NAME,
    FROZEN,
    FUNCTION,
    GLOB,
    HOST,
    KEY_PREFIX,
    NETWORK,
    ORIGIN,
    OUTAGE,
    PARAMETER,
    PATH,
    PATH_GLOB,
    PROXY,
    REALM,
    REDIRECT,
    REDIS_URL,
    ROLE,
    SECRET,
    SOCKET_PATH,
    TOKEN,
    TOKEN_OR_EMPTY,
    UNIQUE,
    URL_PREFIX,
    USER,
    Count,
    Duration,
    Flag,
    Network,
    Rate,
    Shape,
    Size,
    at_least,
    choice,
    grace_of,
    or_none,
    several,
    whole,
)
from wshttp.config.shipped import shipped

IdentityName = Literal["credentials", "cookie", "header", "url", "ip"]
TouchName = Literal["http", "message", "pong", "open"]
EngineName = Literal["auto", "native", "tornado"]
DriftPolicy = Literal["off", "log", "prefix", "strict"]
OnLimit = Literal["oldest", "refuse"]
SameSite = Literal["Strict", "Lax", "None"]
Secure = Literal["auto", "on", "off"]
OnSlow = Literal["close", "drop"]
StoreKind = Literal["memory", "sqlite", "redis"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

Networks = Annotated[tuple[Annotated[Network, NETWORK], ...], several(NETWORK)]
Proxies = Annotated[tuple[Annotated[Network | Literal["unix"], PROXY], ...], several(PROXY)]
Hosts = Annotated[tuple[Annotated[str, HOST], ...], several(HOST)]
Origins = Annotated[tuple[Annotated[str, ORIGIN], ...], several(ORIGIN)]
Topics = Annotated[tuple[Annotated[str, GLOB], ...], several(GLOB)]
RoleNames = Annotated[tuple[Annotated[str, ROLE], ...], several(ROLE)]
UserNames = Annotated[tuple[Annotated[str, USER], ...], several(USER)]
Identities = Annotated[tuple[Annotated[IdentityName, choice(IdentityName)], ...], several(choice(IdentityName)), UNIQUE]
Touches = Annotated[tuple[Annotated[TouchName, choice(TouchName)], ...], several(choice(TouchName)), UNIQUE]


class Reload(Enum):
    """Whether a setting can change while the server runs; the value is the reference's word for it."""

    YES = "yes"
    NO = "no, at the next start"
    WHILE_SET = "yes; from or to null at the next start"


def live(default: object, description: str, reload: Reload = Reload.YES) -> Any:
    """Declare a setting that can change while the server runs."""
    return Field(default, description=description, json_schema_extra={"reload": reload.name})


def fixed(default: object, description: str, **options: Any) -> Any:
    """Declare a setting that needs a new start to change."""
    return Field(default, description=description, json_schema_extra={"reload": Reload.NO.name}, **options)


def group(section: type[Section]) -> Any:
    """Declare a section inside another."""
    return Field(default_factory=section)


class Section(BaseModel):
    """A group of settings: frozen, and without room for a key that does not exist."""

    # Inputs stay out of pydantic's own messages, because one of them may be a secret.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)


# --- server -------------------------------------------------------------------------------------


class TlsSettings(Section):
    """The certificate that the server shows; without one it speaks plain HTTP."""

    certificate: Annotated[str | None, or_none(PATH)] = live(
        None,
        "A PEM file with the certificate and those that lead to its authority, in this order.\n"
        "With it the server speaks HTTPS and WSS only, and cookies are `Secure`.",
        Reload.WHILE_SET,
    )
    key: Annotated[str | None, or_none(PATH)] = live(
        None, "A PEM file with the certificate's private key, not encrypted.", Reload.WHILE_SET
    )


class ServerSettings(Section):
    """Where the server listens, whom it believes, and how much it takes from one connection."""

    host: Annotated[str, HOST] = fixed(
        "127.0.0.1",
        "The address to listen on.\n"
        "`0.0.0.0` is every IPv4 address of the machine, `::` every IPv6 address.\n"
        "The default can be reached from this machine only, so that nothing is open by accident.",
    )
    port: Annotated[int, whole(0, 65535)] = fixed(
        8080, "The TCP port to listen on.\n`0` takes a free one; the line that the server prints at its start names it."
    )
    unix_socket: Annotated[str | None, or_none(SOCKET_PATH)] = fixed(
        None,
        "The path of a Unix socket to listen on, for a reverse proxy on the same machine.\n"
        "Behind one all clients look alike, so `ip` identity also needs `unix` in `server.trusted_proxies`.",
    )
    allowed_hosts: Hosts = live(
        [],
        "Host names that a request may name; empty: any, except on loopback.\n"
        "A server that listens on loopback only answers to these and to the loopback names, against DNS rebinding.",
    )
    trusted_proxies: Proxies = fixed(
        [],
        "The networks of the reverse proxies whose headers are believed, or `unix` for the peer on the Unix socket.\n"
        "A proxy that is listed here must itself replace or extend those headers, or clients choose their own address.",
    )
    proxy_header: Annotated[str, TOKEN] = fixed(
        "X-Forwarded-For",
        "The one header in which a trusted proxy names the client's address.\n"
        "It is read from right to left, up to the first hop that is not trusted or cannot be read.",
    )
    proxy_protocol: Flag = fixed(
        False,
        "Whether every connection from a trusted proxy begins with a PROXY protocol header, version 1 or 2.\n"
        "It is never guessed; others are then refused, so `server.trusted_proxies` must be set.",
    )
    tls: TlsSettings = group(TlsSettings)
    max_connections: Count = live(10_000, "Open connections in all; one above it is answered 503.\n`0`: no limit.")
    max_connections_per_ip: Count = live(
        0, "Open connections per client address (IPv6: per prefix); one above it is answered 429.\n`0`: no limit."
    )
    max_header_size: Size = live(
        "64KiB", "The size of a request's line and headers together.\n`0`: no limit but that of a read buffer, 100 MiB."
    )
    max_body_size: Size = live(
        "10MiB",
        "The size of a request's body; a larger one is refused.\n"
        "Uploads have their own limits: see `uploads`.\n`0`: no limit.",
    )
    header_timeout: Duration = live(
        "10s",
        "How long a client may take to send a request's headers, against clients that trickle them.\n`0`: no limit.",
    )
    idle_timeout: Duration = live(
        "75s",
        "How long a connection is kept open between two requests.\n"
        "Above a reverse proxy's own time-out, so that the proxy closes first.\n`0`: no limit.",
    )
    body_timeout: Duration = live(
        "60s", "How long a request's body may make no progress while the server is ready to read it.\n`0`: no limit."
    )
    write_timeout: Duration = live(
        "60s", "How long a client may take none of what the server has to send.\n`0`: no limit."
    )
    drain_timeout: Duration = live(
        "10s",
        "How long a stopping server waits for its requests, and over what time it spreads the closing of its sockets.\n"
        "End callbacks have 5 seconds more.\n`0`: it waits for no request, and closes all sockets at once.",
    )
    workers: Annotated[int, whole(1, 256)] = fixed(
        1,
        "Processes that serve this address together, under one parent that restarts those that die.\n"
        "More than 1 needs `store.kind: redis`, where they share their sessions; one per core is a good number.",
    )
    engine: Annotated[EngineName, choice(EngineName)] = fixed(
        "auto",
        "What reads and writes bytes, under the same application: `native`, the server's own engine on uvloop,"
        " `tornado`, which is stock Tornado's, or `auto`, which is `native` where uvloop is installed.\n"
        "uvloop comes with the server on Linux and macOS, for CPython.",
    )


# --- session ------------------------------------------------------------------------------------


class DriftSettings(Section):
    """What a change in the middle of a session's life means: a sign of theft, or of a train journey."""

    ip: Annotated[DriftPolicy, choice(DriftPolicy)] = fixed(
        "log",
        "What to do when the client's address changes.\n"
        "`off` ignores it, `log` writes it down, `strict` refuses the request, and `prefix` refuses it when the new address"
        " is in another network.",
    )
    user_agent: Annotated[DriftPolicy, choice(DriftPolicy)] = fixed(
        "off",
        "What to do when the `User-Agent` header changes: `off`, `log` and `strict` as for `session.drift.ip`;"
        " `prefix` compares it without version numbers, and refuses another browser but not a newer one.\n"
        "Browsers change it with every update, so it is off.",
    )


class CookieSettings(Section):
    """The cookie of `cookie` identity."""

    name: Annotated[str, TOKEN] = fixed("wshttp", "The cookie's name.")
    prefix: Annotated[str, TOKEN_OR_EMPTY] = fixed(
        "",
        "Text before the cookie's name, so that several applications on one host keep several sessions in one browser.",
    )
    secure: Annotated[Secure, choice(Secure)] = fixed(
        "auto",
        "Whether browsers send the cookie over HTTPS only.\n"
        "`auto` follows the request: on where it came over HTTPS, directly or by a trusted proxy.",
    )
    same_site: Annotated[SameSite, choice(SameSite)] = fixed(
        "Lax",
        "Whether the cookie comes along from other sites: `Strict` never, `Lax` when a link is followed, `None` always.\n"
        "`None` needs `secure` not to be `off`: browsers drop such a cookie.",
    )
    persistent: Flag = fixed(
        False,
        "Whether the cookie outlives the browser.\n"
        "Its lifetime never decides about the session's, which the server keeps itself.",
    )


class HeaderSettings(Section):
    """The header of `header` identity."""

    name: Annotated[str, TOKEN] = fixed(
        "Authorization", "The header that carries the token; in `Authorization` it stands as `Session <token>`."
    )


class UrlSettings(Section):
    """The query parameter of `url` identity."""

    parameter: Annotated[str, PARAMETER] = fixed(
        "session",
        "The query parameter that carries the token.\n"
        "URLs end up in logs, histories and `Referer` headers, so `url` is not among the identities by default.",
    )


class SessionSettings(Section):
    """How clients are told apart, how long a session lives, and how many there may be."""

    enabled: Flag = fixed(True, "Whether there are sessions at all.")
    auto_start: Flag = fixed(
        True, "Whether a request of a client without a session starts one; else `POST /session` or the program does."
    )
    identity: Identities = fixed(
        ["credentials", "cookie", "ip"],
        "The rules that turn a request into a session's id:\n"
        "\n"
        "- `credentials`: user, password and address, checked on every request;\n"
        "- `cookie`, `header`, `url`: a random token that the client keeps;\n"
        "- `ip`: the client's address, for anonymous sessions only, shared by all behind that address.\n"
        "\n"
        "New anonymous sessions start by the first of `ip`, `cookie`, `header`, `url` that is listed.",
    )
    idle_timeout: Duration = live(
        "20m",
        "A session without activity for this long ends, with reason `idle`.\n`0`: never.\n"
        "15 to 30 minutes is what OWASP advises where little is at risk, 2 to 5 where much is.",
    )
    absolute_timeout: Duration = live(
        "12h",
        "A session ends this long after its start or log-in, whatever its activity, with reason `absolute`.\n`0`: never.",
    )
    warn_before: Duration = live(
        "60s",
        "How long before its end a session is reported as expiring, to callback and browser.\n"
        "At most half of the idle time-out, also where a session has its own.\n`0`: no warning.",
    )
    touch: Touches = fixed(
        ["http", "message"],
        "What counts as activity: an `http` request, a WebSocket `message`, a `pong`, or an `open` socket by itself.\n"
        "With `pong` or `open` a forgotten tab keeps its session until the absolute time-out.",
    )
    secret: Annotated[str | None, or_none(SECRET)] = fixed(
        None,
        "The key under which ids are made from credentials and addresses.\n"
        "null: the memory store makes one for the life of this process; others make one once, and keep it.\n"
        "Setting it keeps it out of the store.\n"
        "`openssl rand -hex 32` makes a good one.",
        repr=False,
    )
    ipv6_prefix: Annotated[int, whole(48, 128, "a prefix length from 48 to 128")] = fixed(
        64,
        "How many leading bits of an IPv6 address stand for one client, in identity, limits and throttles.\n"
        "One household owns a /64 or more; below 48 whole companies would be one client.",
    )
    drift: DriftSettings = group(DriftSettings)
    max_sessions: Count = live(100_000, "Sessions in all.\n`0`: no limit.")
    max_sessions_per_user: Count = live(0, "Sessions per logged-in user.\n`0`: no limit.")
    max_sessions_per_ip: Count = live(0, "Sessions per client address (IPv6: per prefix).\n`0`: no limit.")
    max_connections_per_session: Count = live(
        100, "Open WebSockets and streams per session; one above it is answered 429.\n`0`: no limit."
    )
    on_limit: Annotated[OnLimit, choice(OnLimit)] = live(
        "oldest",
        "What happens at a limit on sessions.\n"
        "`oldest` ends the longest idle anonymous session (for a limit per user: that user's), with reason `limit`;"
        " never a logged-in one to let an anonymous one in, else it refuses.\n"
        "`refuse` refuses the new one.",
    )
    max_data: Size = live("64KiB", "The size of one session's data, as JSON.\n`0`: no limit.")
    callback_timeout: Duration = live(
        "30s",
        "How long a callback may take before it is cancelled and reported: each but `on_request` and `on_authenticate`,"
        " which belong to a request.\n"
        "`on_session_ending` has 1 second at most.\n"
        "A message's handler that still runs when its connection is closed has as long from then on.\n`0`: no limit.",
    )
    lease: Annotated[float, at_least(3.0)] = fixed(
        "15s",
        "How long a server that died, or cannot reach the `redis` store, counts as alive to the others.\n"
        "For so long its connections are counted, its locks held and the callbacks that it owes waited for;"
        " then others deliver them.\n"
        "At least 3s; it is renewed three times as often.",
    )
    tombstone: Duration = live(
        "5m",
        "How long the end of a session, or of a token that was renewed, is remembered.\n"
        "For so long a late client is told why, and a renewed token is refused without touching the client's cookie.\n"
        "`0`: nothing is remembered; a late client counts as one with an unknown token.",
    )
    presence_grace: Duration = live(
        "10s",
        "How long somebody without a connection still counts as present, so that a page reload is no leaving.\n"
        "`0`: they leave at once.",
    )
    cookie: CookieSettings = group(CookieSettings)
    header: HeaderSettings = group(HeaderSettings)
    url: UrlSettings = group(UrlSettings)
    announce: Flag = fixed(True, "Whether responses carry `Session-Expires-In`, from which a page knows the time left.")


# --- auth ---------------------------------------------------------------------------------------


class ProtectRule(Section):
    """A pattern of paths that only a logged-in user may reach."""

    path: Annotated[str, PATH_GLOB] = Field(description="The pattern; `*` also matches `/`.")
    roles: RoleNames = Field(default=(), description="The roles of which the user needs one; empty: any user.")
    redirect: Annotated[str | None, or_none(REDIRECT)] = Field(
        default=None, description="Where to send a browser instead of answering 401."
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_path(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str) else value


Protection = Annotated[
    tuple[ProtectRule, ...], Shape("a list, each entry a path such as /private/*, or {path, roles, redirect}")
]
Roles = Annotated[
    Mapping[Annotated[str, USER], RoleNames],
    Shape("a mapping of users to lists of roles, such as {alice: [admin]}"),
    FROZEN,
]


class AuthSettings(Section):
    """Who may log in, and what is for logged-in users only."""

    realm: Annotated[str, REALM] = fixed("wshttp", "The realm that browsers show when they ask for user and password.")
    users_file: Annotated[str | None, or_none(PATH)] = live(
        None,
        "A file of users in htpasswd form with bcrypt hashes; `wshttp passwd` makes and changes it.\n"
        "It is read again when it changes, and may not exist yet.\n"
        "null: no users but those whom `on_authenticate` lets in.",
    )
    roles: Roles = live({}, "The roles of users.")
    protect: Protection = live(
        [],
        "The paths that need a log-in: routes, files and sockets.\n"
        "`*` also matches `/`; the pattern is matched with the decoded, normalised path.\n"
        "An entry may ask for one of some roles, and may name where browsers are sent instead of a 401:"
        " `{path: /admin/*, roles: [admin], redirect: /login.html}`.",
    )
    cache: Duration = live(
        "5m",
        "How long a verified password is remembered, so that not every request costs a hash.\n"
        "Forgotten at once when the user's line in the file changes.\n`0`: every request is hashed.",
    )
    max_failures: Count = live(
        10,
        "Failed log-ins per account and address within `auth.failure_window` before further ones have to wait.\n"
        "The wait grows, and the answer is 429 with `Retry-After`.\n`0`: no limit.",
    )
    failure_window: Duration = live(
        "15m",
        "How long a failed log-in counts.\n"
        "`0`: not at all; only the bound of 100 failures in a row remains (see howto/login.md).",
    )
    threads: Annotated[int, whole(1, 64)] = fixed(
        2,
        "Threads that hash passwords.\nMore of them let more people log in at once and leave less of the machine to the rest.",
    )


# --- websocket ----------------------------------------------------------------------------------


class WebSocketSettings(Section):
    """What one WebSocket may send and must answer."""

    ping_interval: Duration = live("20s", "How often an otherwise quiet connection is pinged.\n`0`: never.")
    ping_timeout: Duration = live(
        "20s", "How long an answer may take before the connection is closed with 1011.\n`0`: no limit."
    )
    max_message_size: Size = live(
        "1MiB", "The size of one message; a larger one closes the connection with 1009.\n`0`: no limit but 2 GiB."
    )
    max_messages_per_second: Rate = live(
        0, "Messages per second and connection; one that keeps above it is closed with 1013.\n`0`: no limit."
    )
    compression: Flag = fixed(
        False,
        "Whether permessage-deflate is offered.\n"
        "It costs memory and time per connection, and lets an attacker guess secrets that share a message with their input.",
    )
    allowed_origins: Origins = live(
        [],
        "Origins of pages of other hosts that may open a WebSocket; pages of the server's own host always may.\n"
        "Compared as a whole: scheme, host and port.\n"
        "They hold for handshakes only: other hosts' pages may send no request that changes something.",
    )
    send_buffer_limit: Size = live(
        "1MiB",
        "How much may wait to be sent to one connection before it counts as slow, with what the messages take beside their"
        " bytes.\n`0`: no limit.",
    )
    on_slow: Annotated[OnSlow, choice(OnSlow)] = live(
        "close", "What happens to a slow connection: `close` with 1013, or `drop` the message."
    )
    topics: Topics = live(
        [],
        "Patterns of the topics that browsers may join and publish to, where no callback decides; `*` matches any text.",
    )
    history: Count = live(
        100,
        "How many messages are kept per topic, so that a client whose connection dropped is given what it missed.\n"
        "They are kept for an hour or two after the last one; of messages above 64 KiB only that there was one.\n"
        "They take up to 1 MiB per topic, 128 KiB where a client publishes, and up to 128 MiB in all, with Redis those of "
        "all servers: then those go that were not used for longest.\n"
        "One user, or one address of anonymous clients, begins histories of up to 100 topics in two hours; on more, "
        "messages go out without being kept. What the application publishes is not counted.\n"
        "With Redis, each message that is published then takes two round trips more.\n"
        "`0`: none, and clients are not told whether they missed anything.",
    )
    queue: Count = live(
        100,
        "How many messages that the application sends with `queue=True` are kept for a session while it has no "
        "connection; of more, or of more than 1 MiB in all, the oldest are dropped. One message has up to "
        "`max_message_size`.\n"
        "All that waits takes up to 64 MiB; above it, the queues go that were not used for longest.\n"
        "They wait in Redis, or else in memory: with `sqlite`, too, they are gone with the process.\n"
        "`0`: none.",
    )


# --- files --------------------------------------------------------------------------------------


class StaticSettings(Section):
    """The files that are served at `/`, after the routes."""

    root: Annotated[str, PATH] = fixed(
        "static",
        "The folder to serve.\n"
        "`static` is the one that comes with the package, whatever the working directory.\n"
        "Any other relative path is relative to the working directory: `./static` is a folder of your own.",
    )
    index: Annotated[str, FILE_NAME] = fixed("index.html", "The file that stands for its folder.")
    cache: Duration = live(
        "0s",
        "How long browsers may use a file without asking.\n`0`: they ask each time, and mostly hear that it is unchanged.",
    )

    @property
    def folder(self) -> Path:
        """The folder that `root` means."""
        return shipped("static") if self.root == "static" else Path(self.root)


class UploadSettings(Section):
    """What one upload may contain."""

    max_file_size: Size = live("100MiB", "The size of one file.\n`0`: no limit.")
    max_files: Count = live(10, "Files in one upload.\n`0`: no limit.")


# --- the rest -----------------------------------------------------------------------------------


class RateSettings(Section):
    """How often one client address (IPv6: one prefix) may come; off by default."""

    requests_per_second: Rate = live(0, "Requests per second, over time; more are answered 429.\n`0`: no limit.")
    burst: Count = live(0, "Requests that may come at once.\n`0`: as many as one second allows, at least 1.")
    connections_per_minute: Rate = live(0, "New connections per minute; more are answered 429.\n`0`: no limit.")
    ban: Duration = live(
        "0s",
        "How long an address that keeps on is refused altogether; it doubles each time, up to 1 hour.\n`0`: no ban.",
    )
    allow: Networks = live([], "Networks without these limits.")
    deny: Networks = live([], "Networks that are always refused.")


class StoreSettings(Section):
    """Where the session list keeps its sessions."""

    kind: Annotated[StoreKind, choice(StoreKind)] = fixed(
        "memory",
        "The store.\n"
        "\n"
        "- `memory`: in this process; sessions end with it.\n"
        "- `sqlite`: in the file `store.path`, which one process has for itself;"
        " sessions go on after a restart or a crash.\n"
        "- `redis`: in the Redis or Valkey at `store.url`, version 7.0 or newer, which any number of servers share;"
        " it needs `pip install 'wshttp[redis]'`.",
    )
    path: Annotated[str, PATH] = fixed(
        "wshttp.db",
        "The file of the `sqlite` store, made with mode 0600 where it is missing; its folder must be writable.\n"
        "A relative path is relative to the working directory.",
    )
    url: Annotated[str, REDIS_URL] = fixed(
        "redis://127.0.0.1:6379/0",
        "Where the `redis` store is:\n"
        "\n"
        "- `redis://user:password@host:6379/0`, or `rediss://` with TLS; the number is the database;\n"
        "- `unix:///run/redis.sock?db=0`;\n"
        "- `redis+sentinel://host1:26379,host2:26379/service/0`, or `rediss+sentinel://`: the primary of a service;\n"
        "- `redis+cluster://host1:7000,host2:7000`, or `rediss+cluster://`: all sessions are in one slot.\n"
        "\n"
        "Special characters in user and password are written as in any URL: `%40` for `@`.\n"
        "The password is never shown; the environment (`WSHTTP_STORE__URL`) keeps it out of the file.",
        repr=False,
    )
    prefix: Annotated[str, KEY_PREFIX] = fixed(
        "wshttp",
        "What the names of all keys in the `redis` store begin with.\n"
        "Servers with the same URL and prefix share their sessions; applications that are to share a Redis, and nothing"
        " else, have different ones.",
    )
    timeout: Duration = fixed(
        "2s",
        "How long a request waits for the `redis` store, for the disk of the `sqlite` store, or for a session that"
        " another one is just starting, before it is answered 503.\n"
        "The memory store itself answers at once.\n"
        "`0`: no limit, but for `redis`, which needs one.",
    )
    cache: Duration = fixed(
        "0s",
        "How long a server may answer reads from its own copy of a session in the `redis` store, without asking.\n"
        "Other servers' changes drop the copy as soon as it hears of them, and all copies when it may have missed some.\n"
        "`0`: every request asks.",
    )
    outage: Annotated[str, OUTAGE] = fixed(
        "closed",
        "What happens while the `redis` store cannot be reached.\n"
        "\n"
        "- `closed`: requests that need a session are answered 503.\n"
        "- `grace:30s`: for so long, requests of sessions that this server has seen before are answered from its copy;"
        " whatever changes a session is answered 503, and an unknown id is never accepted.",
    )

    @property
    def grace(self) -> float:
        """Seconds for which reads are answered from copies while the store is away; 0: `outage` is `closed`."""
        return grace_of(self.outage)


class AdminSettings(Section):
    """Looking at sessions and ending them, at `/admin/` under `api.prefix`."""

    enabled: Flag = fixed(True, "Whether there is administration at all: its page and its calls.")
    users: UserNames = live(
        [],
        "Users who may look at all sessions and connections, end and close them, with their password.\n"
        "They are users of `auth.users_file`, or those whom `on_authenticate` lets in.\n"
        "Empty: nobody may.",
    )


class MetricsSettings(Section):
    """Figures for Prometheus, at `/metrics` under `api.prefix`."""

    enabled: Flag = fixed(True, "Whether there are metrics.")
    allow: Networks = live(["127.0.0.0/8", "::1/128"], "Networks that may read them.")


class LogSettings(Section):
    """What the server writes about its work; ids, tokens and passwords are never in it."""

    level: Annotated[LogLevel, choice(LogLevel)] = live("info", "The least important lines to write.")
    format: Annotated[LogFormat, choice(LogFormat)] = fixed(
        "text", "`text` for people, `json` (one object per line) for programs."
    )


class ApiSettings(Section):
    """The HTTP API that clients of the server use."""

    prefix: Annotated[str, URL_PREFIX] = fixed(
        "/wshttp", "The path before all of the server's own addresses, such as `/wshttp/session` and `/wshttp/socket`."
    )


class Settings(Section):
    """All settings. `Settings()` has the defaults.

    A value that cannot be used, or values that contradict each other, raise pydantic's `ValidationError`;
    `load_settings` turns both into a `ConfigurationError`.
    """

    server: ServerSettings = group(ServerSettings)
    session: SessionSettings = group(SessionSettings)
    auth: AuthSettings = group(AuthSettings)
    websocket: WebSocketSettings = group(WebSocketSettings)
    static: StaticSettings = group(StaticSettings)
    uploads: UploadSettings = group(UploadSettings)
    rate: RateSettings = group(RateSettings)
    store: StoreSettings = group(StoreSettings)
    admin: AdminSettings = group(AdminSettings)
    metrics: MetricsSettings = group(MetricsSettings)
    log: LogSettings = group(LogSettings)
    api: ApiSettings = group(ApiSettings)
    app: Annotated[str | None, or_none(FUNCTION)] = fixed(
        None,
        "The function that gets the server and adds routes and callbacks, as `module:function`.\n"
        "null: the server with its own API and static files alone.",
    )

    @model_validator(mode="after")
    def _coherent(self) -> Settings:
        found = tuple(contradictions(self))
        if found:
            raise Contradictions(found)
        return self
