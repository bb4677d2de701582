"""docs/howto/deploy.md, held to what it says: its settings are loaded and served, with its proxies played by the test."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from certificates import trusting, write_certificate
from processes import PATIENCE, ROOT, Process, serving
from typer.testing import CliRunner
from websockets.sync.client import unix_connect

from wshttp.cli import app
from wshttp.config import Settings, load_settings, parse_duration
from wshttp.engine.listeners import RESERVED_FILES
from wshttp.server import LAST_CALLBACKS

PAGE = (ROOT / "docs" / "howto" / "deploy.md").read_text()

SAMPLES = re.findall(r"^```(\w+)\n# (/\S+?)(?:,[^\n]*)?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

CLIENT = "203.0.113.9"
NAME = "chat.example.org"


def sample(language: str, mark: str) -> str:
    """Return the one sample in a language that has this text in it."""
    [text] = [text for found, _, text in SAMPLES if found == language and mark in text]
    return text


def seconds(pattern: str, text: str) -> float:
    """Return a duration in a proxy's configuration, which writes it as we do."""
    found = re.search(pattern, text)
    assert found is not None, pattern
    return parse_duration(found[1])


# --- the samples as text --------------------------------------------------------------------------


@pytest.mark.parametrize("text", [text for language, _, text in SAMPLES if language == "yaml"])
def test_settings_of_every_sample_can_be_loaded(text: str, tmp_path: Path) -> None:
    """No key of them is unknown, and none contradicts another."""
    (tmp_path / "sample.yaml").write_text(text)
    load_settings(tmp_path / "sample.yaml", environ={})


def test_unit_fits_the_server() -> None:
    """Commands, signals, status and time-outs of the systemd unit are those of this program."""
    unit = configparser.RawConfigParser(strict=False, delimiters="=")
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have capitals
    unit.read_string(sample("ini", "ExecStart"))
    service = unit["Service"]
    program, command, *options = shlex.split(service["ExecStart"])
    assert Path(program).name == "wshttp"
    told = CliRunner(env={"COLUMNS": "200"}).invoke(app, [command, "--help"])
    assert told.exit_code == 0
    assert all(option in told.output for option in options if option.startswith("--"))
    assert service["ExecReload"].endswith("-HUP $MAINPID")
    assert (service["KillSignal"], service["RestartPreventExitStatus"]) == ("SIGTERM", "2")
    server = Settings().server
    assert parse_duration(service["TimeoutStopSec"]) > server.drain_timeout + LAST_CALLBACKS
    assert int(service["LimitNOFILE"]) >= server.max_connections + RESERVED_FILES


def test_proxies_let_go_first_and_do_not_cut_quiet_sockets() -> None:
    """Their idle time-out is below the server's, and their patience with a WebSocket above its ping interval."""
    settings = Settings()
    nginx, haproxy, caddy = (
        sample("nginx", "location /"),
        sample("haproxy", "mode http"),
        sample("caddy", "reverse_proxy"),
    )
    for idle in (
        seconds(r"keepalive_timeout (\w+);", nginx),
        seconds(r"timeout http-keep-alive (\w+)", haproxy),
        seconds(r"keepalive (\w+)", caddy),
    ):
        assert idle < settings.server.idle_timeout
    for patience in (
        seconds(r"proxy_read_timeout +(\w+);", nginx),
        seconds(r"proxy_send_timeout +(\w+);", nginx),
        seconds(r"timeout tunnel +(\w+)", haproxy),
        seconds(r"timeout client +(\w+)", sample("haproxy", "mode tcp")),
    ):
        assert patience > settings.websocket.ping_interval
    health = f"{settings.api.prefix}/health/ready"
    assert f"uri {health} " in haproxy
    assert f"health_uri {health}\n" in caddy


@pytest.mark.parametrize(
    ("program", "language", "mark", "command"),
    [
        ("haproxy", "haproxy", "mode http", "haproxy -c -f"),
        ("haproxy", "haproxy", "mode tcp", "haproxy -c -f"),
        ("caddy", "caddy", "reverse_proxy", "caddy adapt --adapter caddyfile --config"),
    ],
)
def test_proxy_takes_its_sample(program: str, language: str, mark: str, command: str, tmp_path: Path) -> None:
    """Where the proxy is installed, it reads the sample without complaint."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed here")
    certificate, key = (Path(file) for file in write_certificate(tmp_path, NAME))
    both = tmp_path / f"{NAME}.pem"
    both.write_text(certificate.read_text() + key.read_text())
    (tmp_path / "sample").write_text(sample(language, mark).replace("/etc/haproxy/certs", str(tmp_path)))
    done = subprocess.run([*command.split(), str(tmp_path / "sample")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- behind a proxy that speaks HTTP --------------------------------------------------------------


def forwarded(client: str = CLIENT) -> dict[str, str]:
    """Return what a proxy that ends TLS adds to a request."""
    return {"Host": NAME, "X-Forwarded-For": client, "X-Forwarded-Proto": "https", "X-Forwarded-Host": NAME}


@contextmanager
def behind(sample_settings: str, folder: Path, *more: str) -> Iterator[Process]:
    """Serve with the settings of a sample, on another port, and with more of them."""
    (folder / "sample.yaml").write_text(sample_settings)
    with serving("--config", "sample.yaml", *more, cwd=folder) as server:
        yield server


@pytest.mark.feature("I3", "A4")
def test_client_behind_the_proxy_is_who_it_is(tmp_path: Path) -> None:
    """Address, scheme and host are the client's: in the log, for the cookie, for the metrics; a forged one never is."""
    with behind(shared(), tmp_path, "--set", "session.identity=[cookie]") as server:
        first = server.get("/wshttp/session", forwarded(f"198.51.100.1, {CLIENT}"))
        assert first.status == 200
        assert first.headers["Set-Cookie"].startswith("__Host-wshttp=")
        server.err.wait_for(rf"session started .*remote_ip={re.escape(CLIENT)}")
        assert server.get("/wshttp/metrics", forwarded()).status == 403
        assert server.get("/wshttp/metrics", {"Host": "localhost"}).status == 200
        assert server.get("/wshttp/health/ready", {"Host": "localhost"}).status == 200
        assert server.get("/", forwarded() | {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}).status == 403
        same = forwarded() | {"Origin": f"https://{NAME}"}
        assert server.request("POST", "/wshttp/session", headers=same).status in (200, 201)
        other = forwarded() | {"Origin": "https://evil.example"}
        assert server.request("POST", "/wshttp/session", headers=other).status == 403


def shared() -> str:
    """Return the settings that all samples of proxies that speak HTTP share."""
    return sample("yaml", "host: 127.0.0.1\n  port: 8080\n")


@pytest.mark.feature("I3")
def test_two_clients_behind_one_proxy_have_two_sessions(tmp_path: Path) -> None:
    """By address: what would be one shared session for everybody without `trusted_proxies`."""
    with behind(shared(), tmp_path, "--set", "session.identity=[ip]") as server:
        refs = {
            client: json.loads(server.get("/wshttp/session", forwarded(client)).body)["ref"]
            for client in (CLIENT, "203.0.113.10", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
        }
        assert len(set(refs.values())) == 4
        assert refs["2001:db8::1"] == refs["2001:db8::2"], "of one /64"


@pytest.mark.feature("I3", "W1")
def test_server_on_a_unix_socket_serves_the_proxy(tmp_path: Path) -> None:
    """Page, session and WebSocket, with the client's address from the header; gone with the server."""
    path = tmp_path / "wshttp.sock"
    settings = sample("yaml", "unix_socket: /run")
    with behind(settings, tmp_path, "--set", f"server.unix_socket={path}") as server:
        assert server.address == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o660
        head, body = unix_get(path, "/wshttp/session", forwarded())
        assert head.startswith("HTTP/1.1 200 ")
        ref = json.loads(body)["ref"]
        headers = {name: value for name, value in forwarded().items() if name != "Host"} | {"Origin": f"https://{NAME}"}
        with unix_connect(
            str(path),
            f"ws://{NAME}/wshttp/socket",
            additional_headers=headers,
            subprotocols=["wshttp.v1"],  # type: ignore[list-item]
            open_timeout=PATIENCE,
        ) as client:
            welcome = json.loads(client.recv(timeout=PATIENCE))
            assert welcome["session"]["ref"] == ref, "one list, over one Unix socket"
        head, _ = unix_get(path, "/wshttp/session", {"Host": NAME})
        assert head.startswith("HTTP/1.1 200 ")
        assert "Set-Cookie: " in head, "whose address nobody knows shares no session by address"
        assert server.stop() == 0
        assert not path.exists()


def unix_get(path: Path, target: str, headers: dict[str, str]) -> tuple[str, str]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        return exchange(client, target, headers)


def exchange(client: socket.socket, target: str, headers: dict[str, str], preamble: bytes = b"") -> tuple[str, str]:
    """Send one request, with what may have to come before it, and return head and body of the answer."""
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "Connection: close"]
    client.sendall(preamble + "\r\n".join([*lines, "", ""]).encode())
    head, _, body = client.makefile("rb").read().decode().partition("\r\n\r\n")
    return head, body


# --- behind a proxy that speaks the PROXY protocol ------------------------------------------------


def proxy_v1(client: str) -> bytes:
    return f"PROXY TCP4 {client} 127.0.0.1 40000 443\r\n".encode()


def proxy_v2(client: str | None) -> bytes:
    """Return the binary header; `None` is a health check of the proxy itself (LOCAL)."""
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    if client is None:
        return signature + struct.pack("!BBH", 0x20, 0x00, 0)
    addresses = socket.inet_aton(client) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 40000, 443)
    return signature + struct.pack("!BBH", 0x21, 0x11, len(addresses)) + addresses


@pytest.mark.feature("I3", "W8")
def test_proxy_protocol_before_tls_tells_the_client(tmp_path: Path) -> None:
    """Version 1 and 2, as HAProxy sends them; health checks pass; a connection without the header is dropped."""
    certificate, key = write_certificate(tmp_path, "localhost")
    settings = sample("yaml", "proxy_protocol: true")
    settings = settings.replace("/etc/wshttp/fullchain.pem", certificate).replace("/etc/wshttp/privkey.pem", key)
    with behind(settings, tmp_path, "--set", "session.identity=[cookie]") as server:

        def ask(preamble: bytes, target: str) -> str:
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as plain:
                plain.sendall(preamble)
                with trusting(certificate).wrap_socket(plain, server_hostname="localhost") as client:
                    return exchange(client, target, {"Host": NAME})[0]

        for preamble, client in ((proxy_v1(CLIENT), CLIENT), (proxy_v2("203.0.113.10"), "203.0.113.10")):
            head = ask(preamble, "/wshttp/session")
            assert head.startswith("HTTP/1.1 200 ")
            assert "__Host-wshttp=" in head
            server.err.wait_for(rf"session started .*remote_ip={re.escape(client)}$")
            assert ask(preamble, "/wshttp/metrics").startswith("HTTP/1.1 403 ")
        assert ask(proxy_v2(None), "/wshttp/health/ready").startswith("HTTP/1.1 200 ")
        for nonsense in (
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"PROXY TCP4 not an address\r\n",
            b"\x16\x03\x01\x00",
        ):
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client_socket:
                client_socket.sendall(nonsense)
                assert ended(client_socket) == b""
    with behind(settings.replace("[127.0.0.1]", "[192.0.2.1]"), tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as stranger:
            assert ended(stranger) == b"", "not one of the trusted"
        server.err.wait_for("127.0.0.1 is no trusted proxy")


def ended(client: socket.socket) -> bytes:
    """Wait until the other side closes, and return what came before that."""
    try:
        return client.makefile("rb").read()
    except ConnectionResetError:
        return b""
