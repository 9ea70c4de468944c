"""Fidelity: Alpaca's own Python SDK takes the sandbox for Alpaca."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.enums import DataFeed
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.requests import (
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockSnapshotRequest,
)
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import AssetExchange, AssetStatus
from alpaca.trading.requests import GetAssetsRequest, GetCalendarRequest

from tests.support.recordings import write_recordings
from tickgate_sandbox import Sandbox

from .asking import asked, synthetic

Result = TypeVar("Result")


async def data(running: Sandbox, ask: Callable[[StockHistoricalDataClient], Result]) -> Result:
    """Ask with the SDK's data client, which blocks, in a thread."""

    def call() -> Result:
        client = StockHistoricalDataClient("key", "secret", url_override=running.url)
        try:
            return ask(client)
        finally:
            client._session.close()

    return await asyncio.to_thread(call)


async def trading(running: Sandbox, ask: Callable[[TradingClient], Result]) -> Result:
    """Ask with the SDK's trading client, which blocks, in a thread."""

    def call() -> Result:
        client = TradingClient("key", "secret", url_override=running.url)
        try:
            return ask(client)
        finally:
            client._session.close()

    return await asyncio.to_thread(call)


async def test_latest_quotes() -> None:
    """The SDK reads latest quotes."""
    request = StockLatestQuoteRequest(symbol_or_symbols=["AAPL", "QUIET"], feed=DataFeed.IEX)
    async with asked() as (running, _):
        quotes: Any = await data(running, lambda client: client.get_stock_latest_quote(request))

    assert list(quotes) == ["AAPL"]
    assert 0 < quotes["AAPL"].bid_price < quotes["AAPL"].ask_price
    assert quotes["AAPL"].timestamp == datetime(2026, 11, 20, 15, tzinfo=UTC)
    assert quotes["AAPL"].conditions == ["R"]


async def test_latest_trades() -> None:
    """The SDK reads latest trades."""
    request = StockLatestTradeRequest(symbol_or_symbols="MSFT")
    async with asked() as (running, _):
        trades: Any = await data(running, lambda client: client.get_stock_latest_trade(request))

    assert trades["MSFT"].price > 0
    assert trades["MSFT"].id > 0
    assert trades["MSFT"].tape == "C"


async def test_latest_bars() -> None:
    """The SDK reads latest bars."""
    request = StockLatestBarRequest(symbol_or_symbols=["TSLA"])
    async with asked() as (running, _):
        bars: Any = await data(running, lambda client: client.get_stock_latest_bar(request))

    assert bars["TSLA"].timestamp == datetime(2026, 11, 20, 14, 59, tzinfo=UTC)
    assert bars["TSLA"].low <= bars["TSLA"].vwap <= bars["TSLA"].high


async def test_snapshots() -> None:
    """The SDK reads snapshots with all their parts."""
    request = StockSnapshotRequest(symbol_or_symbols=["AAPL", "MSFT"])
    async with asked() as (running, _):
        snapshots: Any = await data(running, lambda client: client.get_stock_snapshot(request))

    snapshot = snapshots["AAPL"]
    assert sorted(snapshots) == ["AAPL", "MSFT"]
    assert snapshot.latest_trade.price > 0
    assert snapshot.latest_quote.bid_price > 0
    assert snapshot.minute_bar.volume > 0
    assert snapshot.daily_bar.timestamp > snapshot.previous_daily_bar.timestamp


async def test_replayed_quotes(tmp_path: Path) -> None:
    """The SDK reads recordings whose sides are empty."""
    day = date(2024, 3, 13)
    recorded = write_recordings(tmp_path, day=day)["AAPL"]
    instant = next(when for when, line in recorded.quotes if '"bp":0,' in line)
    request = StockLatestQuoteRequest(symbol_or_symbols="AAPL")
    settings = synthetic(replay=tmp_path, at="2024-03-13T10:00:00-04:00")
    async with asked(settings) as (running, _):
        running.clock.seek(instant)
        quotes: Any = await data(running, lambda client: client.get_stock_latest_quote(request))

    assert (quotes["AAPL"].bid_price, quotes["AAPL"].bid_size) == (0, 0)


async def test_malformed_symbol() -> None:
    """The SDK reports a malformed symbol as Alpaca's error."""
    request = StockLatestQuoteRequest(symbol_or_symbols=["AAPL", "YZCDE2"])
    async with asked() as (running, _):
        with pytest.raises(APIError) as raised:
            await data(running, lambda client: client.get_stock_latest_quote(request))

    assert raised.value.status_code == 400
    assert "invalid symbol: YZCDE2" in str(raised.value)


async def test_assets() -> None:
    """The SDK lists assets and reads one."""
    request = GetAssetsRequest(status=AssetStatus.ACTIVE, exchange=AssetExchange.NYSE)
    async with asked() as (running, _):
        assets: Any = await trading(running, lambda client: client.get_all_assets(request))
        asset: Any = await trading(running, lambda client: client.get_asset("AAPL"))

    assert [listed.symbol for listed in assets] == ["BRK.B", "QUIET"]
    assert asset.exchange is AssetExchange.NASDAQ


async def test_unknown_asset() -> None:
    """The SDK reads code and message of a trading error."""
    async with asked() as (running, _):
        with pytest.raises(APIError) as raised:
            await trading(running, lambda client: client.get_asset("ZZZZQX"))

    assert raised.value.code == 40410000
    assert raised.value.message == "asset not found for ZZZZQX"


async def test_clock() -> None:
    """The SDK reads the clock, whose extra key does not disturb it."""
    async with asked() as (running, _):
        clock: Any = await trading(running, lambda client: client.get_clock())

    assert clock.is_open
    assert clock.timestamp == datetime(2026, 11, 20, 15, tzinfo=UTC)
    assert clock.next_close == datetime(2026, 11, 20, 21, tzinfo=UTC)


async def test_calendar() -> None:
    """The SDK reads the calendar, half days included."""
    request = GetCalendarRequest(start=date(2025, 11, 26), end=date(2025, 11, 28))
    async with asked() as (running, _):
        days: Any = await trading(running, lambda client: client.get_calendar(request))

    assert [day.date for day in days] == [date(2025, 11, 26), date(2025, 11, 28)]
    assert [day.close.time() for day in days] == [time(16), time(13)]
