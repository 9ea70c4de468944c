"""Whatever alerts, the dashboard and the manual ask Prometheus for, a real gateway tells it."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.files import DEPLOY, MANUAL, rules
from tests.deploy.promql import labels_of, metric_of, read
from tests.support.running import running
from tests.support.stores import postgres_url, redis_url
from tests.support.waiting import until
from tickgate.v1 import quote_service_pb2 as quotes_pb
from tickgate_sandbox import SandboxSettings
from tickgate_server.market.live import FeedState
from tickgate_server.market.provenance import Feed, Tier
from tickgate_server.market.unavailable import Reason
from tickgate_server.observe.metrics import NAMES

PROMETHEUS = {"up", "ALERTS"}
"""Series that Prometheus makes by itself."""

KNOWN: dict[str, set[str]] = {
    "code": {code.name for code in grpc.StatusCode},
    "feed": {feed.value for feed in Feed},
    "outcome": {"answered", "abandoned", *(reason.name for reason in Reason)},
    "reason": {reason.name for reason in Reason},
    "state": {state.value for state in FeedState},
    "tier": {tier.value for tier in Tier},
    "alertstate": {"firing"},
    "job": {"tickgate"},
}
"""Values that labels have."""

RECORDED = {rule["record"]: read(rule["expr"]).kept for rule in rules() if "record" in rule}
"""Series that rules record, with their labels."""

DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/tickgate.json").read_text())
TARGETS: list[dict[str, str]] = [
    target for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
]


def plain(expression: str) -> str:
    """Return *expression* with what Grafana puts in place of its own variables."""
    return expression.replace("$__rate_interval", "5m").replace("$job", "tickgate")


def manual() -> list[str]:
    """Return the expressions that the manual gives."""
    text = MANUAL.read_text()
    blocks = re.findall(r"^```promql\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [part for block in blocks for part in re.split(r"\n\n+", block) if part.strip()]


EXPRESSIONS = [
    *(pytest.param(rule["expr"], id=rule.get("alert") or rule["record"]) for rule in rules()),
    *(pytest.param(plain(target["expr"]), id=f"dashboard-{n}") for n, target in enumerate(TARGETS)),
    *(pytest.param(text, id=f"manual-{n}") for n, text in enumerate(manual())),
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_gateways_tell_what_is_asked_for(expression: str) -> None:
    """Each expression is PromQL, and asks for metrics, labels and values that there are."""
    query = read(expression)
    known = set()
    for series, labels in query.labels.items():
        if series in PROMETHEUS:
            known |= {"job", "instance", "alertname", "alertstate", "severity"}
            continue
        of_series = RECORDED[series] if series in RECORDED else labels_of(series)
        assert labels <= of_series, series
        known |= of_series
    assert query.labels
    assert query.kept <= known
    for label, values in query.values.items():
        if label in KNOWN:
            assert values <= KNOWN[label]


def test_the_dashboard_watches_everything() -> None:
    """Each metric of the gateway's own is on the dashboard, in an alert or in the share that one looks at."""
    asked = {
        metric_of(series)
        for expression in EXPRESSIONS
        for series in read(str(expression.values[0])).labels
    }
    ours = {name for name in NAMES if not name.startswith("process_")}

    assert ours - asked == set()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target["legendFormat"] or "one")
def test_legends_name_what_is_there(target: dict[str, str]) -> None:
    """A legend names labels that the result has."""
    query = read(plain(target["expr"]))
    labels = query.kept or set.union(
        *(RECORDED.get(series) or labels_of(series) for series in query.labels)
    )

    assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


def test_the_dashboard_is_whole() -> None:
    """Panels have numbers of their own, lie beside one another, and take their data source from the variable."""
    panels = DASHBOARD["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", json.dumps([target["expr"] for target in TARGETS])))
    assert used - {"__rate_interval"} <= variables


def test_the_manual_lists_every_metric() -> None:
    """The table of metrics in the manual has each one that there is, with its labels and its kind."""
    rows = re.findall(
        r"^\| `(\w+)(?:\{([\w,]+)\})?` \| (counter|gauge|histogram) \|",
        MANUAL.read_text(),
        re.MULTILINE,
    )
    listed = {name: (kind, tuple(filter(None, labels.split(",")))) for name, labels, kind in rows}
    there = {
        name: (described.kind, described.labels)
        for name, described in NAMES.items()
        if not name.startswith("process_") or name in listed
    }

    assert listed == there


async def test_a_real_gateway_tells_them() -> None:
    """A gateway with Redis and PostgreSQL that is asked, followed and records tells each metric, with its labels."""
    with redis_url() as redis, postgres_url() as postgres:
        async with running(
            MOVING,
            http_listen="127.0.0.1:0",
            redis_url=redis,
            postgres_url=postgres,
            watchlists={"kept": {"symbols": ["AAPL"], "record": True, "refresh_timeframes": []}},
        ) as stack:
            stack.sandbox.pins.put("trades", "MSFT", HUGE)
            stack.sandbox.pins.put("quotes", "MSFT", CROSSED)
            await stack.quotes.GetQuotes(quotes_pb.GetQuotesRequest(symbols=["MSFT", "ZZZZ"]))
            await stack.quotes.GetLatestTrade(quotes_pb.GetLatestTradeRequest(symbol="MSFT"))
            # The last thing to happen: something was recorded.
            await until(lambda: stack.gateway.counters.ingestion.lag is not None, within=30.0)
            told = await told_by(stack.gateway.http_port)

    assert set(NAMES) - set(told) == UNTOLD
    for name, labels in told.items():
        expected = {*NAMES[name].labels, *({"le"} if NAMES[name].kind == "histogram" else ())}
        assert labels == expected, name


MOVING = SandboxSettings(at="2026-10-01T15:00:00Z", speed=5)
"""A market that is open and goes on."""

HUGE = '{"t":"2026-10-01T14:59:59.5Z","x":"V","p":10.00,"s":100000000}'
CROSSED = '{"t":"2026-10-01T14:59:59Z","bx":"V","bp":10.02,"bs":1,"ax":"Q","ap":10.01,"as":2}'
"""A trade that one rule flags, and a quote that another refuses."""

UNTOLD = {"api_keys_up", "certificate_expires_seconds"}
"""Not told of a gateway without keys and TLS."""


async def told_by(port: int | None) -> dict[str, set[str]]:
    """Return what `/metrics` tells: the names of metrics, with the labels of each."""
    told: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(await scraped(port)):
        for sample in family.samples:
            told.setdefault(metric_of(sample.name), set()).update(sample.labels)
    return told


async def scraped(port: int | None) -> str:
    """Return what `/metrics` tells."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        assert answer.status == 200
        return await answer.text()
