"""The dashboard and the alerts: they ask for what there is."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from browsing import Browser
from prometheus_client.parser import text_string_to_metric_families
from serving import new_server, running

DOCS = Path(__file__).parents[1] / "docs"
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana" / "wshttp.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
CHARTS = [panel for panel in PANELS if panel["type"] != "row"]
WATCH = (DOCS / "howto" / "watch.md").read_text()


def rules() -> list[dict[str, Any]]:
    """Return the alerts of the how-to."""
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", WATCH, re.DOTALL)]
    [groups] = [block["groups"] for block in blocks if "groups" in block]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    """Return all that is asked of Prometheus."""
    variables = [each["definition"] for each in DASHBOARD["templating"]["list"] if "definition" in each]
    charts = [target["expr"] for panel in CHARTS for target in panel["targets"]]
    return variables + charts + [rule["expr"] for rule in rules()]


async def exposition() -> dict[str, set[str]]:
    """Return the names of all samples that a server tells, each with its labels."""
    server = new_server(session={"identity": ["cookie"], "max_sessions": 1, "on_limit": "refuse"})
    async with running(server) as base:
        browser = Browser(base)
        for call in (browser.get, Browser(base).get, browser.delete):  # so that every label has a value
            await call("/wshttp/session")
        text = (await browser.get("/wshttp/metrics")).body.decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {"instance", "job"}).update(sample.labels)
    return found


@pytest.mark.feature("A6")
async def test_dashboard_and_alerts_name_only_what_there_is() -> None:
    """Each metric, and each label that is chosen or grouped by."""
    there = await exposition()
    asked = {name for expression in expressions() for name in re.findall(r"wshttp_\w+", expression)}
    assert asked <= set(there), asked - set(there)
    for expression in expressions():
        labels = {label for names in re.findall(r"by \((.*?)\)", expression) for label in re.split(r",\s*", names)}
        labels |= set(re.findall(r'(\w+)=~?"', expression))
        known = set().union(*(there[name] for name in re.findall(r"wshttp_\w+", expression)))
        assert labels <= known, expression
    named = set(re.findall(r"`(wshttp_\w+)", WATCH))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in there} | set(there) >= named


@pytest.mark.feature("A6")
async def test_dashboard_shows_every_metric() -> None:
    """What is counted can be seen, but for the number of open TCP connections, which hold the others."""
    histograms = re.compile(r"_(bucket|sum|count|created)$")
    there = {histograms.sub("", name) for name in await exposition()}
    shown = {histograms.sub("", name) for panel in expressions() for name in re.findall(r"wshttp_\w+", panel)}
    ours = {name for name in there if name.startswith("wshttp_")}
    # Of a counter's `_created` there is one by the counter's own name, without its end.
    counters = {name.removesuffix("_total") for name in ours if name.endswith("_total")}
    assert ours - counters - shown == {"wshttp_tcp_connections_open"}


def test_dashboard_is_drawn_without_overlap() -> None:
    """Each panel has an id, a title, and a place of its own on a grid 24 wide."""
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert all(panel["title"] for panel in PANELS)
    assert all(panel["description"].endswith(".") for panel in CHARTS)
    for one, other in itertools.combinations((panel["gridPos"] for panel in PANELS), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)


def test_alerts_are_five_and_each_has_a_row() -> None:
    """What it means and what to do is in the table, under the same name."""
    names = [rule["alert"] for rule in rules()]
    assert len(names) == 5
    assert re.findall(r"^\| `([A-Z]\w+)` \|", WATCH, re.MULTILINE) == names
    assert all(rule["for"] and rule["annotations"]["summary"] for rule in rules())


def test_parentheses_of_what_is_asked_are_paired() -> None:
    """A slip of the pen would only show in Grafana."""
    for expression in expressions():
        for opening, closing in ("()", "{}", "[]"):
            assert expression.count(opening) == expression.count(closing), expression
