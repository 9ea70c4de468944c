"""The latest-record endpoints of the data API, quirks included."""

from __future__ import annotations

import threading
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.support.recordings import write_recordings
from tickgate_sandbox import Plan
from tickgate_sandbox.bars import DayBars, Tape

from .asking import asked, synthetic

KINDS = [("quotes", "quote"), ("trades", "trade"), ("bars", "bar")]


@pytest.mark.parametrize(("kind", "_singular"), KINDS)
async def test_many(kind: str, _singular: str) -> None:
    """Many symbols are answered as a map inside an envelope named after the kind."""
    async with asked() as (_, client):
        answer = await client.get(f"/v2/stocks/{kind}/latest", symbols="MSFT,AAPL")

    assert answer.status == 200
    assert list(answer.json) == [kind]
    assert list(answer.json[kind]) == ["AAPL", "MSFT"]


@pytest.mark.parametrize(("kind", "singular"), KINDS)
async def test_one(kind: str, singular: str) -> None:
    """One symbol is answered as the bare record beside the symbol."""
    async with asked() as (_, client):
        one = await client.get(f"/v2/stocks/AAPL/{kind}/latest")
        many = await client.get(f"/v2/stocks/{kind}/latest", symbols="AAPL")

    assert one.json == {singular: many.json[kind]["AAPL"], "symbol": "AAPL"}


@pytest.mark.parametrize(("kind", "singular"), KINDS)
async def test_nothing_known(kind: str, singular: str) -> None:
    """A symbol without data is missing from a map and null when asked for alone."""
    async with asked() as (_, client):
        many = await client.get(f"/v2/stocks/{kind}/latest", symbols="AAPL,QUIET,ZZZZ")
        one = await client.get(f"/v2/stocks/QUIET/{kind}/latest")

    assert list(many.json[kind]) == ["AAPL"]
    assert (one.status, one.json) == (200, {singular: None, "symbol": "QUIET"})


@pytest.mark.parametrize("malformed", ["YZCDE2", "aapl", "TAOP:NASDAQ", "BRK-B", " MSFT", ""])
async def test_one_malformed_symbol(malformed: str) -> None:
    """One malformed symbol fails the whole request, and only the first is named."""
    async with asked() as (_, client):
        answer = await client.get("/v2/stocks/quotes/latest", symbols=f"AAPL,{malformed},X9")

    assert (answer.status, answer.json) == (400, {"message": f"invalid symbol: {malformed}"})


async def test_class_shares() -> None:
    """A class share is written with a dot."""
    async with asked() as (_, client):
        answer = await client.get("/v2/stocks/BRK.B/quotes/latest")

    assert answer.status == 200


async def test_symbols_are_required() -> None:
    """A question about many symbols that names none is refused in Alpaca's words."""
    async with asked() as (_, client):
        answer = await client.get("/v2/stocks/quotes/latest")

    assert answer.status == 400
    assert answer.message == (
        "Invalid format for parameter symbols: query parameter 'symbols' is required"
    )


async def test_snapshots() -> None:
    """Snapshots are a bare map in which an unknown symbol has an empty object."""
    async with asked() as (_, client):
        answer = await client.get("/v2/stocks/snapshots", symbols="AAPL,ZZZZ")

    assert list(answer.json) == ["AAPL", "ZZZZ"]
    assert answer.json["ZZZZ"] == {}
    assert list(answer.json["AAPL"]) == [
        "latestTrade",
        "latestQuote",
        "minuteBar",
        "dailyBar",
        "prevDailyBar",
    ]


async def test_snapshot() -> None:
    """A single snapshot carries the symbol among its parts."""
    async with asked() as (_, client):
        one = await client.get("/v2/stocks/AAPL/snapshot")
        many = await client.get("/v2/stocks/snapshots", symbols="AAPL")

    assert one.json == many.json["AAPL"] | {"symbol": "AAPL"}


@pytest.mark.parametrize("replayed", [False, True])
@pytest.mark.parametrize(
    "path",
    [
        "/v2/stocks/bars/latest?symbols=AAPL",
        "/v2/stocks/AAPL/bars/latest",
        "/v2/stocks/snapshots?symbols=AAPL",
        "/v2/stocks/AAPL/snapshot",
    ],
)
async def test_bars_hold_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, replayed: bool
) -> None:
    """The trades of a day are added up in a thread, so that other requests need not wait."""
    added_up_by = set()

    class Watched(DayBars):
        def __init__(self, tape: Tape, day: date) -> None:
            added_up_by.add(threading.current_thread())
            super().__init__(tape, day)

    monkeypatch.setattr("tickgate_sandbox.replay.DayBars", Watched)
    monkeypatch.setattr("tickgate_sandbox.synthetic.DayBars", Watched)
    write_recordings(tmp_path)
    changes: dict[str, Any] = {"replay": tmp_path, "at": None} if replayed else {}
    async with asked(synthetic(**changes)) as (_, client):
        answer = await client.get(path)

    assert answer.status == 200
    assert added_up_by
    assert threading.current_thread() not in added_up_by


async def test_unknown_feed() -> None:
    """A feed that does not exist is refused."""
    async with asked() as (_, client):
        answer = await client.get("/v2/stocks/AAPL/quotes/latest", feed="nyse")

    assert (answer.status, answer.json) == (400, {"message": "invalid feed: nyse"})


@pytest.mark.parametrize(
    "path",
    [
        "/v2/stocks/quotes/latest?symbols=AAPL",
        "/v2/stocks/trades/latest?symbols=AAPL",
        "/v2/stocks/bars/latest?symbols=AAPL",
        "/v2/stocks/snapshots?symbols=AAPL",
        "/v2/stocks/AAPL/quotes/latest?",
        "/v2/stocks/AAPL/snapshot?",
    ],
)
async def test_feeds_of_each_plan(path: str) -> None:
    """The free plan may read IEX and what is late, in every latest endpoint; the paid plan may read every feed."""
    feeds = ("iex", "delayed_sip", "sip", "boats", "overnight", "otc")
    async with asked() as (_, client):
        free = {feed: await client.get(f"{path}&feed={feed}") for feed in feeds}
    async with asked(synthetic(plan=Plan.PLUS)) as (_, client):
        paid = {feed: await client.get(f"{path}&feed={feed}") for feed in feeds}

    refused = {feed: answer for feed, answer in free.items() if answer.status == 403}
    assert set(refused) == {"sip", "boats", "overnight", "otc"}
    assert {answer.status for answer in free.values()} == {200, 403}
    assert refused["sip"].message == "subscription does not permit querying recent SIP data"
    assert {answer.status for answer in paid.values()} == {200}


async def test_delayed_feed() -> None:
    """The delayed feed shows the market of 15 minutes ago."""
    async with asked() as (running, client):
        delayed = await client.get("/v2/stocks/AAPL/quotes/latest", feed="delayed_sip")
        running.clock.seek(running.clock.now() - 15 * 60 * 1_000_000_000)
        then = await client.get("/v2/stocks/AAPL/quotes/latest")

    assert delayed.json == then.json
    assert delayed.json["quote"]["t"] == "2026-11-20T14:45:00Z"


async def test_currency() -> None:
    """The currency is echoed unless it is the US dollar."""
    async with asked() as (_, client):
        pesos = await client.get("/v2/stocks/quotes/latest", symbols="AAPL", currency="MXN")
        dollars = await client.get("/v2/stocks/quotes/latest", symbols="AAPL", currency="USD")
        nonsense = await client.get("/v2/stocks/AAPL/quotes/latest", currency="pesos")

    assert pesos.json["currency"] == "MXN"
    assert "currency" not in dollars.json
    assert nonsense.status == 400


async def test_exchanges() -> None:
    """Exchange codes are a map from letter to name."""
    async with asked() as (_, client):
        answer = await client.get("/v2/stocks/meta/exchanges")

    assert answer.json["V"] == "IEX"


async def test_conditions() -> None:
    """Condition codes depend on the tape: B is one thing on Nasdaq and another on the NYSE."""
    async with asked() as (_, client):
        nyse = await client.get("/v2/stocks/meta/conditions/trade", tape="A")
        nasdaq = await client.get("/v2/stocks/meta/conditions/trade", tape="C")
        quotes = await client.get("/v2/stocks/meta/conditions/quote", tape="C")

    assert nyse.json["B"] == "Average Price Trade"
    assert nasdaq.json["B"] == "Bunched Trade"
    assert "R" in quotes.json


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("trade", {}, "Invalid format for parameter tape: query parameter 'tape' is required"),
        ("trade", {"tape": "X"}, "invalid tape: X"),
        ("bar", {"tape": "A"}, "invalid ticktype: bar"),
    ],
)
async def test_conditions_are_asked_wrongly(path: str, query: dict[str, str], message: str) -> None:
    """Conditions are asked for a kind of tick and a tape that exist."""
    async with asked() as (_, client):
        answer = await client.get(f"/v2/stocks/meta/conditions/{path}", **query)

    assert (answer.status, answer.message) == (400, message)
