"""A client of the administration of a server, for programs that may wait."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from wshttp.errors import BackendError, UsageError

TIMEOUT: Final = 60.0
"""Seconds that an answer may take; an end waits for nobody, but a step has a thousand of them."""

STEP: Final = 500
"""Sessions of one call: enough to be quick, and few enough to stop between two."""

DEFAULT_PREFIX: Final = "/wshttp"


class AdminRefused(BackendError):
    """The server did not do it, or could not be asked; the text is one line for the operator.

    `status` is that of the answer, or `None` where there was none.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(text)


class AdminClient:
    """Ask the server at a URL: `http://127.0.0.1:8080`, with the `api.prefix` as its path where that is not `/wshttp`.

    One connection is kept; whoever asks waits. Raises `UsageError` for what is no such URL, and `AdminRefused`.
    Redirects are not followed: the password is for this server.
    """

    def __init__(self, url: str, user: str, password: str, *, timeout: float = TIMEOUT) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or port == -1:
            raise UsageError(f"{url!r} is no address of a server, such as http://127.0.0.1:8080")
        self._prefix = parts.path.rstrip("/") or DEFAULT_PREFIX
        self._where = f"{parts.scheme}://{parts.netloc}"
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, port, timeout=timeout)
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Accept": "application/json"}
        self.tells_all = parts.scheme == "http" and not _is_this_machine(parts.hostname)
        """Whether the password goes over a network as it is."""

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    # --- calls ----------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Return the numbers."""
        return self._json("GET", "/stats")

    def count(self, choice: Mapping[str, str]) -> int | None:
        """Count the sessions that are chosen; `None` where only looking at each would tell."""
        total: int | None = self._json("GET", "/sessions", {**choice, "limit": "1"})["total"]
        return total

    def sessions(self, choice: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the sessions that are chosen, asking for more as they are wanted."""
        cursor: str | None = ""
        while cursor is not None:
            page = self._json("GET", "/sessions", _paged(choice, cursor))
            yield from page["sessions"]
            cursor = page["cursor"]

    def session(self, ref: str) -> dict[str, Any]:
        """Return one session."""
        return self._json("GET", f"/sessions/{quote(ref, safe='')}")

    def end(self, ref: str) -> None:
        """End one session."""
        self._ask("DELETE", f"/sessions/{quote(ref, safe='')}")

    def end_many(self, choice: Mapping[str, str]) -> Iterator[int]:
        """End those that are chosen, step by step; yield how many ended with each. Who stops between two has harmed nobody."""
        if "expired" in choice:
            yield self._json("DELETE", "/sessions", choice)["ended"]
            return
        cursor: str | None = ""
        while cursor is not None:
            step = self._json("DELETE", "/sessions", _paged(choice, cursor))
            cursor = step["cursor"]
            yield step["ended"]

    # --- over the wire --------------------------------------------------------------------------------

    def _json(self, method: str, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        body = self._ask(method, path, query)
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._no_server()
        return found

    def _ask(self, method: str, path: str, query: Mapping[str, str] | None = None) -> bytes:
        target = f"{self._prefix}/admin/api{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            self._connection.request(method, target, headers=self._headers)
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise AdminRefused(f"{self._where} cannot be asked: {reason or type(error).__name__}") from None
        except BaseException:
            self._connection.close()  # an answer that nobody has read must not be taken for that to the next call
            raise
        if response.status < 300:
            return body
        raise self._refused(response, body)

    def _refused(self, response: http.client.HTTPResponse, body: bytes) -> AdminRefused:
        try:
            problem = json.loads(body)
        except ValueError:
            problem = None
        if not isinstance(problem, dict) or not str(problem.get("type")).startswith("urn:wshttp:"):
            return self._no_server(response)
        if response.status == 404 and "detail" not in problem:  # a server of ours, where nothing is at this path
            return self._no_server(response)
        text = str(problem.get("detail") or problem.get("title") or response.reason)
        wait = response.headers.get("Retry-After")
        return AdminRefused(f"{text}; try again in {wait} s" if wait else text, response.status)

    def _no_server(self, response: http.client.HTTPResponse | None = None) -> AdminRefused:
        what = "an answer that is none of ours" if response is None else f"{response.status} {response.reason}"
        target = response.headers.get("Location") if response is not None else None
        where = f" and sends us to {target}" if target else ""
        return AdminRefused(
            f"{self._where}{self._prefix} answers {what}{where}; is that the address of the server, with its api.prefix?",
            None if response is None else response.status,
        )


def _paged(choice: Mapping[str, str], cursor: str) -> dict[str, str]:
    return {**choice, "limit": str(STEP)} | ({"cursor": cursor} if cursor else {})


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
