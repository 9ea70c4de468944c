"""`make live-check`: does every upstream endpoint still answer in the shape that the parser requires?

Asks each endpoint once with the gateway's own HTTP and parser, so what is checked is what runs. Needs
`TICKGATE_ENVIRONMENT=paper` and a key pair; `--rehearse` allows a sandbox, to try the check itself.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tickgate_server.app.policies import http_limits
from tickgate_server.errors import UpstreamFailure
from tickgate_server.ingress.records import RawOption
from tickgate_server.jobs.market_clock import MarketClock
from tickgate_server.market.provenance import DataSource, Provenance
from tickgate_server.market.series import SeriesKind
from tickgate_server.market.unavailable import Refusal
from tickgate_server.ports import Group, Reply, Request, Upstream
from tickgate_server.settings import Settings, SettingsError, load
from tickgate_server.upstream.alpaca import (
    corporate_actions,
    parse,
    parse_history,
    parse_options,
)
from tickgate_server.upstream.alpaca.http import HttpRequests, http_session

SYMBOLS = "AAPL,MSFT"
"""Liquid symbols: whatever the endpoint, there is something to be sent about them."""

UNDERLYING = "AAPL"
"""Whose chain is asked for."""

CONTRACT = "AAPL241220C00200000"
"""An option contract that was traded much, and is long expired."""

PATIENCE = 30.0
"""Seconds for one endpoint."""


_OPTION_PARTS = {
    "latestQuote": "option quote",
    "latestTrade": "option trade",
    "greeks": "greeks",
    "minuteBar": "option bar",
    "dailyBar": "option bar",
    "prevDailyBar": "option bar",
}
"""Parts of a contract of a chain, and what kind of record each is."""

_OPTION_KINDS = frozenset({*_OPTION_PARTS.values(), "option contract"})


_NOWHERE = Provenance(DataSource.ALPACA, None, None, 0, "")
"""Origin of what is only looked at."""

_RECORD_OF = {
    SeriesKind.BARS: "bar",
    SeriesKind.TRADES: "trade",
    SeriesKind.QUOTES: "quote",
}
"""What kind of record a series is made of."""


class Misshapen(Exception):
    """An answer is not what the parser requires; the message says what is wrong."""


@dataclass(frozen=True)
class Endpoint:
    """An endpoint, and how its answer is read."""

    upstream: Upstream
    path: str
    params: Mapping[str, str]
    read: Callable[[Reply], list[tuple[str, Any]]]
    """Checks an answer; returns its records with their kind, for a look at unread fields."""


@dataclass
class Finding:
    """What was found at one endpoint."""

    endpoint: Endpoint
    problem: str = ""
    records: int = 0
    unread: set[str] = field(default_factory=set)
    """Fields that were sent and that the parser passes over."""


def endpoints(stock_feed: str, option_feed: str) -> list[Endpoint]:
    """Return every endpoint that the gateway asks."""
    latest = {"symbols": SYMBOLS, "feed": stock_feed}
    chain = {"feed": option_feed, "limit": "100"}
    contracts = {"underlying_symbols": SYMBOLS, "limit": "100", "show_deliverables": "true"}
    today = datetime.datetime.now(datetime.UTC).date()
    week = {"start": str(today - datetime.timedelta(days=7)), "end": str(today)}
    past = week | {"symbols": SYMBOLS, "feed": stock_feed, "limit": "100"}
    of_contract = {
        "symbols": CONTRACT,
        "start": "2024-12-02",
        "end": "2024-12-19",
        "limit": "100",
    }
    year = {
        "symbols": SYMBOLS,
        "start": str(today - datetime.timedelta(days=366)),
        "end": str(today),
    }
    daily = {"timeframe": "1Day"}
    data, trading = Upstream.DATA, Upstream.TRADING
    stocks, options = "/v2/stocks", "/v1beta1/options"
    return [
        Endpoint(data, f"{stocks}/quotes/latest", latest, _read_latest("quotes", "quote")),
        Endpoint(data, f"{stocks}/trades/latest", latest, _read_latest("trades", "trade")),
        Endpoint(data, f"{stocks}/snapshots", latest, _read_snapshots),
        Endpoint(data, f"{stocks}/meta/exchanges", {}, _read_names),
        Endpoint(data, f"{stocks}/meta/conditions/trade", {"tape": "C"}, _read_names),
        Endpoint(data, f"{stocks}/meta/conditions/quote", {"tape": "C"}, _read_names),
        Endpoint(data, f"{stocks}/bars", past | daily, _read_series(SeriesKind.BARS)),
        Endpoint(data, f"{stocks}/trades", past, _read_series(SeriesKind.TRADES)),
        Endpoint(data, f"{stocks}/quotes", past, _read_series(SeriesKind.QUOTES)),
        Endpoint(data, "/v1/corporate-actions", year, _read_actions),
        Endpoint(data, f"{options}/snapshots/{UNDERLYING}", chain, _read_chain),
        Endpoint(data, f"{options}/bars", of_contract | daily, _read_series(SeriesKind.BARS)),
        Endpoint(data, f"{options}/trades", of_contract, _read_series(SeriesKind.TRADES)),
        Endpoint(data, f"{options}/meta/exchanges", {}, _read_names),
        Endpoint(data, f"{options}/meta/conditions/trade", {}, _read_names),
        Endpoint(data, f"{options}/meta/conditions/quote", {}, _read_names),
        Endpoint(trading, "/v2/options/contracts", contracts, _read_contracts),
        Endpoint(trading, "/v2/assets", {"asset_class": "us_equity"}, _read_assets),
        Endpoint(trading, "/v2/clock", {}, _read_clock),
        Endpoint(trading, "/v2/calendar", week, _read_calendar),
    ]


async def check(settings: Settings) -> list[Finding]:
    """Ask every endpoint once and return what was found."""
    clock = MarketClock(follows_upstream=False)
    urls = {Upstream.DATA: settings.data_url, Upstream.TRADING: settings.trading_url}
    async with http_session(http_limits(settings), *settings.keys) as session:
        requests = HttpRequests(session, urls, clock)
        findings = []
        alpaca = settings.alpaca
        for endpoint in endpoints(alpaca.stock_feed.value, alpaca.option_feed.value):
            deadline = clock.monotonic() + PATIENCE
            findings.append(await _check_one(requests, endpoint, deadline))
        return findings


async def _check_one(requests: HttpRequests, endpoint: Endpoint, deadline: float) -> Finding:
    finding = Finding(endpoint)
    group = Group.REFERENCE if endpoint.upstream is Upstream.TRADING else Group.LATEST
    request = Request(endpoint.upstream, group, endpoint.path, endpoint.params, deadline)
    try:
        records = endpoint.read(await requests.send(request))
    except (UpstreamFailure, Misshapen) as problem:
        finding.problem = str(problem)
        return finding
    finding.records = len(records)
    for kind, record in records:
        finding.unread |= {f"{kind}.{name}" for name in record if name not in _fields(kind)}
    return finding


def _fields(kind: str) -> frozenset[str]:
    if kind == "corporate action":
        return corporate_actions.fields()
    return parse_options.fields(kind) if kind in _OPTION_KINDS else parse.fields(kind)


def _read_latest(wrapper: str, kind: str) -> Callable[[Reply], list[tuple[str, Any]]]:
    read = parse.quote if kind == "quote" else parse.trade

    def records(reply: Reply) -> list[tuple[str, Any]]:
        found = parse.records(reply.body, wrapper)
        for symbol, record in found.items():
            _require(read(symbol, record), symbol)
        return [(kind, msgspec.json.decode(record)) for record in found.values()]

    return records


def _read_snapshots(reply: Reply) -> list[tuple[str, Any]]:
    readers: dict[str, tuple[str, Callable[[str, msgspec.Raw], object]]] = {
        "latest_trade": ("trade", parse.trade),
        "latest_quote": ("quote", parse.quote),
    }
    records = []
    for symbol, record in parse.records(reply.body, "").items():
        parts = parse.snapshot_parts(record)
        if isinstance(parts, Refusal):
            raise Misshapen(parts.evidence)
        for part, raw in parts.items():
            kind, read = readers.get(part.value, ("bar", parse.bar))
            _require(read(symbol, raw), f"{symbol} {part.value}")
            records.append((kind, msgspec.json.decode(raw)))
    return records


def _read_chain(reply: Reply) -> list[tuple[str, Any]]:
    records = []
    sent, _ = parse_options.page(reply.body)
    if not sent:
        msg = f"no contract of {UNDERLYING}"
        raise Misshapen(msg)
    for symbol, record in sent.items():
        option = parse_options.option(symbol, record)
        _require(option, symbol)
        for name in RawOption.__struct_fields__:
            _require(getattr(option, name), f"{symbol} {name}")
        parts = msgspec.json.decode(record)
        records += [(kind, parts[key]) for key, kind in _OPTION_PARTS.items() if key in parts]
    return records


def _read_contracts(reply: Reply) -> list[tuple[str, Any]]:
    read, _ = parse_options.contracts_page(reply.body)
    for entry in read:
        _require(entry, "contract")
    sent = msgspec.json.decode(reply.body)["option_contracts"]
    return [("option contract", entry) for entry in sent]


def _read_series(kind: SeriesKind) -> Callable[[Reply], list[tuple[str, Any]]]:
    def records(reply: Reply) -> list[tuple[str, Any]]:
        for symbol, read in parse_history.page(reply.body, kind).series.items():
            _, refused = parse_history.columns(kind, read)
            for refusal in refused:
                _require(refusal, symbol)
        sent = msgspec.json.decode(reply.body)[kind.value] or {}
        return [(_RECORD_OF[kind], record) for each in sent.values() for record in each or ()]

    return records


def _read_actions(reply: Reply) -> list[tuple[str, Any]]:
    read, _ = corporate_actions.events(reply.body, _NOWHERE, ())
    for event in read:
        _require(event, "corporate action")
    sent = msgspec.json.decode(reply.body)["corporate_actions"] or {}
    return [("corporate action", event) for each in sent.values() for event in each]


def _read_names(reply: Reply) -> list[tuple[str, Any]]:
    if not parse.names(reply.body):
        msg = "no codes"
        raise Misshapen(msg)
    return []


def _read_assets(reply: Reply) -> list[tuple[str, Any]]:
    sent = msgspec.json.decode(reply.body)
    _, unread = parse.assets(reply.body)
    if unread:
        raise Misshapen(unread[0].evidence)
    return [("asset", entry) for entry in sent]


def _read_clock(reply: Reply) -> list[tuple[str, Any]]:
    parse.clock(reply.body, _NOWHERE)
    return [("clock", msgspec.json.decode(reply.body))]


def _read_calendar(reply: Reply) -> list[tuple[str, Any]]:
    if not parse.trading_days(reply.body):
        msg = "no trading day in a week"
        raise Misshapen(msg)
    return [("day", entry) for entry in msgspec.json.decode(reply.body)]


def _require(read: object, subject: str) -> None:
    if isinstance(read, Refusal):
        msg = f"{subject}: {read.rule}, {read.evidence}"
        raise Misshapen(msg)


def _table(findings: list[Finding]) -> Table:
    table = Table("Upstream", "Endpoint", "Shape", "Records", "Sent and not read")
    for finding in findings:
        shape = Text(finding.problem, "red") if finding.problem else Text("as required", "green")
        unread = ", ".join(sorted(finding.unread)) or "–"
        where = finding.endpoint
        table.add_row(where.upstream.value, where.path, shape, str(finding.records), Text(unread))
    return table


def main(arguments: list[str] | None = None) -> int:
    """Check and print; return 0 when every shape is as required, 1 when one is not, 2 when it cannot be asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rehearse", action="store_true", help="allow a sandbox")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        settings = load(None)
    except SettingsError as error:
        console.print(f"the settings cannot be used\n{error}", highlight=False, markup=False)
        return 2
    if settings.environment == "sandbox" and not options.rehearse:
        console.print(
            "make live-check asks Alpaca itself: set TICKGATE_ENVIRONMENT=paper,"
            " APCA_API_KEY_ID and APCA_API_SECRET_KEY, then run it again"
        )
        return 2
    findings = asyncio.run(check(settings))
    console.print(_table(findings))
    return 1 if any(finding.problem for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
