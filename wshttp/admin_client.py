"""A client of the administration of a server, for programs that may wait."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeVar
from urllib.parse import SplitResult, urlencode, urlsplit

from pydantic import ValidationError

from wshttp.admin_answers import Answer, Card, Ended, Problem, Sent, Session, Sessions
from wshttp.errors import BackendError, UsageError

TIMEOUT: Final = 60.0
"""Seconds that an answer may take; an end waits for nobody, but a step has a thousand of them."""

STEP: Final = 500
"""Sessions of one call: enough to be quick, and few enough to stop between two."""

DEFAULT_PREFIX: Final = "/wshttp"

_NAME: Final = re.compile(r"[0-9a-f]+")

AnAnswer = TypeVar("AnAnswer", bound=Answer)


class AdminRefused(BackendError):
    """The server did not do it, or could not be asked; the text is one line for the operator.

    `status` is that of the answer, or `None` where there was none; `ended` is how many had ended when it failed.
    """

    def __init__(self, text: str, status: int | None = None, ended: int = 0) -> None:
        self.status = status
        self.ended = ended
        super().__init__(text)


class AdminClient:
    """Ask the server at a URL: `http://127.0.0.1:8080`, with the `api.prefix` as its path where that is not `/wshttp`.

    One connection is kept; whoever asks waits. Raises `UsageError` for what is no such URL, and `AdminRefused`.
    Redirects are not followed: the password is for this server.
    """

    def __init__(self, url: str, user: str, password: str, *, timeout: float = TIMEOUT) -> None:
        parts, port = _address(url)
        self._prefix = parts.path.rstrip("/") or DEFAULT_PREFIX
        self._where = f"{parts.scheme}://{parts.netloc}"
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        host = parts.hostname or ""
        self._connection = kind(host, port or kind.default_port, timeout=timeout)
        self._headers = {"Authorization": _basic(user, password), "Accept": "application/json"}
        self.tells_all = parts.scheme == "http" and not _is_this_machine(host)
        """Whether the password goes over a network as it is."""

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    # --- calls ----------------------------------------------------------------------------------------

    def count(self, choice: Mapping[str, str]) -> int | None:
        """Count the sessions that are chosen; `None` where only looking at each would tell."""
        return self._read(Sessions, "GET", "/sessions", {**choice, "limit": "1"}).total

    def sessions(self, choice: Mapping[str, str]) -> Iterator[Session]:
        """Yield the sessions that are chosen, asking for more as they are wanted."""
        cursor: str | None = ""
        while cursor is not None:
            page = self._read(Sessions, "GET", "/sessions", _paged(choice, cursor))
            yield from page.sessions
            cursor = page.cursor

    def session(self, ref: str) -> Card:
        """Return one session."""
        return self._read(Card, "GET", f"/sessions/{_checked(ref)}")

    def end(self, ref: str) -> None:
        """End one session."""
        self._do("DELETE", f"/sessions/{_checked(ref)}")

    def end_many(self, choice: Mapping[str, str]) -> Iterator[int]:
        """End those that are chosen, step by step; yield how many ended with each. Who stops between two has harmed nobody.

        `choice` is by `user`, `ip` and `before`, or `{"expired": "1"}`, or `{"all": "1"}`.
        """
        if "expired" in choice:
            yield self._read(Ended, "DELETE", "/sessions", choice).ended
            return
        cursor: str | None = ""
        while cursor is not None:
            step = self._read(Ended, "DELETE", "/sessions", _paged(choice, cursor))
            cursor = step.cursor
            yield step.ended

    def kick(self, connection: str) -> bool:
        """Close a connection; `False` where it is not of the node that was asked, and the others have been told to."""
        return self._do("DELETE", f"/connections/{_checked(connection)}") == http.client.NO_CONTENT

    def send(self, message: object, whom: Mapping[str, str]) -> Sent:
        """Send a message to a `user`, a `session` (its ref) or a `topic`; to everybody where none is given."""
        return self._read(Sent, "POST", "/broadcast", body={"message": message, **whom})

    # --- over the wire --------------------------------------------------------------------------------

    def _read(
        self,
        kind: type[AnAnswer],
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> AnAnswer:
        _, answer = self._ask(method, path, query, body)
        try:
            return kind.model_validate_json(answer)
        except ValidationError:
            raise self._no_server() from None

    def _do(self, method: str, path: str) -> int:
        """Have something done, and return how it was."""
        status, _ = self._ask(method, path)
        if status not in (http.client.NO_CONTENT, http.client.ACCEPTED):
            raise self._no_server()
        return status

    def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None
    ) -> tuple[int, bytes]:
        """Return status and body of an answer that is none of an error."""
        target = f"{self._prefix}/admin/api{path}{_in_query(query)}"
        sent, kind = (None, {}) if body is None else (json.dumps(body), {"Content-Type": "application/json"})
        try:
            self._connection.request(method, target, sent, self._headers | kind)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException, ValueError) as error:  # a name that no host has is a `ValueError`
            self._connection.close()
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise AdminRefused(f"{self._where} cannot be asked: {reason or type(error).__name__}") from None
        except BaseException:
            self._connection.close()  # an answer that nobody has read must not be taken for that to the next call
            raise
        if response.status < 300:
            return response.status, answer
        raise self._refused(response, answer)

    def _refused(self, response: http.client.HTTPResponse, body: bytes) -> AdminRefused:
        try:
            problem = Problem.model_validate_json(body)
        except ValidationError:
            return self._no_server(response)
        if response.status == 404 and problem.detail is None:  # a server of ours, where nothing is at this path
            return self._no_server(response)
        text = problem.detail or problem.title
        wait = response.headers.get("Retry-After")
        return AdminRefused(f"{text}; try again in {wait} s" if wait else text, response.status, problem.ended)

    def _no_server(self, response: http.client.HTTPResponse | None = None) -> AdminRefused:
        what = "an answer that is none of ours" if response is None else f"{response.status} {response.reason}"
        target = response.headers.get("Location") if response is not None else None
        where = f" and sends us to {target}" if target else ""
        return AdminRefused(
            f"{self._where}{self._prefix} answers {what}{where}; is that the address of the server, with its api.prefix?",
            None if response is None else response.status,
        )


def is_name(text: str) -> bool:
    """Tell whether this can be a ref or the name of a connection: part of a path, and no way to another."""
    return _NAME.fullmatch(text) is not None


def _checked(name: str) -> str:
    if not is_name(name):
        raise UsageError(f"{name!r} is no ref, nor the name of a connection")
    return name


def _address(url: str) -> tuple[SplitResult, int | None]:
    """Split an address; the port is `None` where it is that of the scheme. Raises `UsageError`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise UsageError(f"{url!r} is no address of a server, such as http://127.0.0.1:8080")
    return parts, port


def _basic(user: str, password: str) -> str:
    try:
        return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    except UnicodeEncodeError:
        raise UsageError("user and password are text in UTF-8") from None


def _in_query(query: Mapping[str, str] | None) -> str:
    try:
        return f"?{urlencode(query)}" if query else ""
    except UnicodeEncodeError:
        raise UsageError("what is asked for is text in UTF-8") from None


def _paged(choice: Mapping[str, str], cursor: str) -> dict[str, str]:
    return {**choice, "limit": str(STEP)} | ({"cursor": cursor} if cursor else {})


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
