"""Fidelity: Alpaca's own Python SDK takes the sandbox's past for Alpaca's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alpaca.common.enums import Sort
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, CorporateActionsType, DataFeed
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.historical.option import OptionHistoricalDataClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.requests import (
    CorporateActionsRequest,
    OptionBarsRequest,
    OptionTradesRequest,
    StockBarsRequest,
    StockQuotesRequest,
    StockTradesRequest,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

from tests.support.recordings import market_open, write_recordings
from tickgate_sandbox import Plan, Sandbox, faults

from .asking import asked, synthetic
from .walking import write_actions

Result = TypeVar("Result")

DAY = date(2024, 3, 13)
NEAR = "AAPL261204C00230000"
"""An option near the money."""


async def ask(kind: type[Any], running: Sandbox, question: Callable[[Any], Result]) -> Result:
    """Ask with a client of the SDK, which blocks, in a thread."""

    def call() -> Result:
        client = kind("key", "secret", url_override=running.url)
        try:
            return question(client)
        finally:
            client._session.close()

    return await asyncio.to_thread(call)


def replayed(folder: Path) -> Any:
    """Return settings of a replay at an instant when all of it has happened."""
    return synthetic(replay=folder, at="2024-03-14T09:00:00-04:00", plan=Plan.PLUS)


async def test_bars() -> None:
    """The SDK walks through minute bars of several symbols, page by page."""
    request = StockBarsRequest(
        symbol_or_symbols=["AAPL", "MSFT", "QUIET"],
        timeframe=TimeFrame.Minute,
        start=datetime(2026, 11, 18, 14, 30, tzinfo=UTC),
        end=datetime(2026, 11, 18, 21, 0, tzinfo=UTC),
        feed=DataFeed.IEX,
    )
    async with asked() as (running, _):
        running.faults.add(faults.ShortPages(records=100))
        found: Any = await ask(
            StockHistoricalDataClient, running, lambda client: client.get_stock_bars(request)
        )

    assert sorted(found.data) == ["AAPL", "MSFT"]
    assert [len(bars) for bars in found.data.values()] == [391, 391]
    bar = found["AAPL"][0]
    assert bar.timestamp == datetime(2026, 11, 18, 14, 30, tzinfo=UTC)
    assert bar.low <= bar.open <= bar.high
    assert bar.trade_count == 20
    assert running.counters.requests == 8


async def test_a_limit_of_the_caller() -> None:
    """The SDK's own limit is over all pages and symbols; it asks for no more than that."""
    request = StockBarsRequest(
        symbol_or_symbols="AAPL",
        timeframe=TimeFrame(5, TimeFrameUnit.Minute),
        start=datetime(2026, 11, 18, tzinfo=UTC),
        limit=7,
        sort=Sort.DESC,
    )
    async with asked(synthetic(plan=Plan.PLUS)) as (running, _):
        found: Any = await ask(
            StockHistoricalDataClient, running, lambda client: client.get_stock_bars(request)
        )

    times = [bar.timestamp for bar in found["AAPL"]]
    assert len(times) == 7
    assert times == sorted(times, reverse=True)
    assert times[0] == datetime(2026, 11, 20, 14, 55, tzinfo=UTC)


@pytest.mark.parametrize(
    "timeframe", [TimeFrame.Hour, TimeFrame.Day, TimeFrame.Week, TimeFrame.Month]
)
async def test_timeframes(timeframe: TimeFrame) -> None:
    """The SDK's timeframes are understood."""
    request = StockBarsRequest(
        symbol_or_symbols="TSLA", timeframe=timeframe, start=datetime(2026, 9, 1, tzinfo=UTC),
        end=datetime(2026, 11, 19, tzinfo=UTC), adjustment=Adjustment.ALL, asof="-",
    )  # fmt: skip
    async with asked() as (running, _):
        found: Any = await ask(
            StockHistoricalDataClient, running, lambda client: client.get_stock_bars(request)
        )

    assert len(found["TSLA"]) >= 2


async def test_trades_and_quotes(tmp_path: Path) -> None:
    """The SDK reads recorded trades and quotes, sides that are empty included."""
    recorded = write_recordings(tmp_path, day=DAY)["AAPL"]
    span: Any = {
        "symbol_or_symbols": "AAPL",
        "start": datetime(2024, 3, 13, tzinfo=UTC),
        "end": datetime(2024, 3, 14, 12, tzinfo=UTC),
    }
    async with asked(replayed(tmp_path)) as (running, _):
        trades: Any = await ask(
            StockHistoricalDataClient,
            running,
            lambda client: client.get_stock_trades(StockTradesRequest(**span)),
        )
        quotes: Any = await ask(
            StockHistoricalDataClient,
            running,
            lambda client: client.get_stock_quotes(StockQuotesRequest(**span)),
        )

    assert [trade.price for trade in trades["AAPL"]] == [
        float(json.loads(line)["p"]) for _, line in recorded.trades
    ]
    assert [(quote.bid_price, quote.ask_size) for quote in quotes["AAPL"]] == [
        (float(one["bp"]), float(one["as"]))
        for one in (json.loads(line) for _, line in recorded.quotes)
    ]
    assert any(quote.bid_price == 0 for quote in quotes["AAPL"])
    assert recorded.quotes[0][0] < market_open(DAY)


async def test_recent_sip() -> None:
    """The SDK reads the refusal of the newest SIP data."""
    request = StockTradesRequest(symbol_or_symbols="AAPL", feed=DataFeed.SIP)
    async with asked() as (running, _):
        with pytest.raises(APIError) as refused:
            await ask(
                StockHistoricalDataClient, running, lambda client: client.get_stock_trades(request)
            )

    assert refused.value.status_code == 403
    assert "does not permit querying recent SIP data" in str(refused.value)


async def test_option_bars_and_trades() -> None:
    """The SDK reads bars and trades of contracts, and hours that add minutes up."""
    span: Any = {
        "symbol_or_symbols": [NEAR, "ZZZZ261204C00230000"],
        "start": datetime(2026, 11, 18, tzinfo=UTC),
    }
    async with asked() as (running, _):
        trades: Any = await ask(
            OptionHistoricalDataClient,
            running,
            lambda client: client.get_option_trades(OptionTradesRequest(**span)),
        )
        bars: Any = await ask(
            OptionHistoricalDataClient,
            running,
            lambda client: client.get_option_bars(
                OptionBarsRequest(timeframe=TimeFrame.Hour, **span)
            ),
        )

    assert list(trades.data) == list(bars.data) == [NEAR]
    assert sum(bar.volume for bar in bars[NEAR]) == sum(trade.size for trade in trades[NEAR])
    assert all(bar.timestamp.minute == 0 for bar in bars[NEAR])


async def test_corporate_actions(tmp_path: Path) -> None:
    """The SDK reads splits and dividends, by type and by symbol."""
    write_recordings(tmp_path, day=DAY)
    dividend = {
        "id": "a3b4c5d6-0000-4000-8000-000000000000", "symbol": "IBM", "cusip": "459200101",
        "rate": 1.66, "special": False, "foreign": False, "process_date": "2024-03-09",
        "ex_date": "2024-02-08", "record_date": "2024-02-09", "payable_date": "2024-03-09",
    }  # fmt: skip
    write_actions(tmp_path, {"cash_dividends": [dividend]})
    request = CorporateActionsRequest(
        symbols=["AAPL", "IBM"], start=date(2000, 1, 1), end=date(2024, 12, 31)
    )
    splits = CorporateActionsRequest(
        types=[CorporateActionsType.FORWARD_SPLIT], start=date(2014, 1, 1), end=date(2024, 12, 31)
    )
    async with asked(replayed(tmp_path)) as (running, _):
        found: Any = await ask(
            CorporateActionsClient, running, lambda client: client.get_corporate_actions(request)
        )
        later: Any = await ask(
            CorporateActionsClient, running, lambda client: client.get_corporate_actions(splits)
        )

    assert sorted(found.data) == ["cash_dividends", "forward_splits"]
    assert found["cash_dividends"][0].rate == 1.66
    assert [split.new_rate for split in found["forward_splits"]] == [2, 2, 7, 4]
    assert [split.ex_date for split in later["forward_splits"]] == [
        date(2014, 6, 9),
        date(2020, 8, 31),
    ]
