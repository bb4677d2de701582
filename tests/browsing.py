"""A client that keeps cookies, as browsers do."""

from __future__ import annotations

import base64
import json as json_text
from typing import Any

from serving import fetch
from tornado.httpclient import HTTPResponse


def basic(user: str, password: str) -> str:
    """Return the value of the `Authorization` header for user and password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def read_json(response: HTTPResponse) -> Any:
    return json_text.loads(response.body)


def problem(response: HTTPResponse) -> tuple[int, str]:
    """Return the status and the name of a problem (`urn:wshttp:<name>`); anything else fails."""
    assert response.headers["Content-Type"] == "application/problem+json"
    body = read_json(response)
    assert body["status"] == response.code
    return response.code, body["type"].removeprefix("urn:wshttp:")


class Browser:
    """One client of one server; `cookies` are what it holds, `headers` what it always sends."""

    def __init__(self, base: str, **headers: str) -> None:
        self.base = base
        self.cookies: dict[str, str] = {}
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    async def __call__(
        self,
        method: str,
        path: str,
        *,
        body: str | bytes | None = None,
        json: Any = None,
        headers: dict[str, str] | None = None,
        login: tuple[str, str] | None = None,
    ) -> HTTPResponse:
        """Send a request; `json` becomes its body, `login` is (user, password) for Basic."""
        sent = self.headers | (headers or {})
        if self.cookies:
            sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} | sent
        if login is not None:
            sent["Authorization"] = basic(*login)
        if json is not None:
            body, sent["Content-Type"] = json_text.dumps(json), "application/json"
        if body is None and method in ("POST", "PUT", "PATCH"):
            body = ""
        response = await fetch(self.base + path, method, body, headers=sent)
        self._keep(response.headers.get_list("Set-Cookie"))
        return response

    def _keep(self, lines: list[str]) -> None:
        for line in lines:
            pair, *attributes = (part.strip() for part in line.split(";"))
            name, _, value = pair.partition("=")
            if any(
                each.startswith("Domain=") or (each.startswith("Path=") and each != "Path=/") for each in attributes
            ):
                continue  # those of other places are not in this jar
            if "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    async def get(self, path: str, **options: Any) -> HTTPResponse:
        return await self("GET", path, **options)

    async def post(self, path: str, **options: Any) -> HTTPResponse:
        return await self("POST", path, **options)

    async def delete(self, path: str, **options: Any) -> HTTPResponse:
        return await self("DELETE", path, **options)

    async def log_in(self, user: str, password: str) -> HTTPResponse:
        return await self("POST", "/wshttp/login", json={"user": user, "password": password})


def wait_until(page: Any, condition: str) -> None:
    """Wait, at most half a minute, until an expression is true in a page.

    `wait_for_function` evaluates the text of one each time that it looks, which a page's policy allows the first time only.
    """
    page.evaluate(
        """async () => {
            const holds = async () => CONDITION;
            const end = Date.now() + 30000;
            while (!(await holds())) {
                if (Date.now() > end) throw new Error("it did not come true");
                await new Promise((next) => setTimeout(next, 10));
            }
        }""".replace("CONDITION", f"({condition})")
    )
