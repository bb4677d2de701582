"""The pages of the reference name what there is: callbacks, calls of the API, metrics; nothing more and nothing less."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from browsing import Browser
from prometheus_client.parser import text_string_to_metric_families
from serving import new_server, running
from tornado.routing import PathMatches
from tornado.web import RequestHandler

from wshttp import Reason, Server
from wshttp.config.catalogue import SETTINGS
from wshttp.config.kinds import DURATION, SIZE
from wshttp.sessions.callbacks import NAMES
from wshttp.sessions.decorators import CallbackDecorators
from wshttp.web.api import ApiNothing

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"


def rows_of(page: str) -> list[list[str]]:
    """Return the cells of all rows of all tables of a page."""
    text = (REFERENCE / page).read_text()
    return [re.split(r"\s*\|\s*", row) for row in re.findall(r"^\| (.*?)\s*\|$", text, re.MULTILINE)]


def test_callbacks_have_a_name_a_decorator_and_a_row() -> None:
    """`NAMES`, the methods of a server and the rows of the reference are the same ones, with the same parameters."""
    methods = {name for name, _ in inspect.getmembers(CallbackDecorators, inspect.isfunction) if name.startswith("on_")}
    assert methods == {f"on_{name}" for name in NAMES}
    rows = dict(
        re.fullmatch(r"`(on_\w+)\((.*)\)`", row[0]).groups() for row in rows_of("callbacks.md") if "(" in row[0]
    )  # type: ignore[union-attr]
    assert set(rows) == methods
    for name, parameters in rows.items():
        told = re.search(r"`function\((.*?)\)`", inspect.getdoc(getattr(Server, name)) or "")
        assert told is not None, name
        assert len(told[1].split(", ")) == len(parameters.split(", ")), name


def test_calls_of_the_api_have_a_row() -> None:
    """What is routed under `api.prefix`, by path and method, is what the tables of calls list."""
    calls = set()
    for rule in Server().application.wildcard_router.rules:
        if isinstance(rule.matcher, PathMatches) and rule.target is not ApiNothing:
            pattern = rule.matcher.regex.pattern.removesuffix("$")
            path = re.sub(r"\(.*?\)", "{}", pattern.removeprefix("/wshttp"))
            calls |= {f"{method} {path}" for method in methods_of(rule.target)}
    rows = [row[0] for page in ("wire.md", "admin.md") for row in rows_of(page)]
    told = {re.match(r"`((?:GET|POST|PUT|PATCH|DELETE) /.*?)`", row) for row in rows} - {None}
    assert {re.sub(r"{\w+}", "{}", call[1]) for call in told if call is not None} == calls


def methods_of(handler: type[RequestHandler]) -> set[str]:
    """Return the methods that a handler implements; every route answers HEAD and OPTIONS."""
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE")
    return {name for name in methods if getattr(handler, name.lower()) is not getattr(RequestHandler, name.lower())}


async def test_metrics_have_a_row() -> None:
    """Name, type, labels and meaning in the reference are those that the server tells."""
    server = new_server(session={"identity": ["cookie"], "max_sessions": 1, "on_limit": "refuse"})
    async with running(server) as base:
        browser = Browser(base)
        for call in (browser.get, Browser(base).get, browser.delete):  # so that every label has a value
            await call("/wshttp/session")
        text = (await browser.get("/wshttp/metrics")).body.decode()
    told = {}
    for metric in text_string_to_metric_families(text):
        if not metric.name.endswith("_created"):
            assert metric.samples, f"{metric.name} has no value to see its labels by"
            labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            told[name] = [metric.type, ", ".join(f"`{label}`" for label in sorted(labels)), metric.documentation]
    rows = [row for row in rows_of("metrics.md") if row[0].startswith("`wshttp_")]
    assert {row[0].strip("`"): row[1:] for row in rows} == told


def test_labels_of_metrics_have_a_row() -> None:
    """Each label of the one table is explained in the other, and reasons are listed in full."""
    rows = rows_of("metrics.md")
    labels = {label for row in rows if len(row) == 4 for label in re.findall(r"`(\w+)`", row[2])}
    explained = {row[0].strip("`"): row[1] for row in rows if len(row) == 2 and row[0].startswith("`")}
    assert set(explained) == labels
    assert set(re.findall(r"`(\w+)`", explained["reason"])) == set(Reason)


def test_setting_says_what_zero_means() -> None:
    """Each duration and each size tells of `0`, which is not always "none"."""
    silent = [
        setting.key
        for setting in SETTINGS
        if setting.kind in (DURATION, SIZE) and "`0`" not in (setting.field.description or "")
    ]
    assert silent == []
