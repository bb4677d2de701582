"""What no route took: `on_request` is asked, in order of registration, and the first answer counts."""

from __future__ import annotations

import inspect

from tornado.web import HTTPError

from wshttp.web.endpoint import METHODS, Endpoint, Route
from wshttp.web.request import Request


async def ask_the_application(request: Request) -> object:
    """Return what a function of `on_request` does. Raises `HTTPError` 404 where all return nothing."""
    for function in request.site.callbacks["request"]:
        result = function(request)
        if inspect.isawaitable(result):
            result = await result
        if result is not None:
            return result
    raise HTTPError(404)


ANY_REQUEST = Route("*", {method: Endpoint(ask_the_application) for method in METHODS})
