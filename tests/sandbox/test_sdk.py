"""Fidelity: Alpaca's own Python SDK takes the sandbox for Alpaca."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.enums import DataFeed
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.live.stock import StockDataStream
from alpaca.data.requests import (
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockSnapshotRequest,
)
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import AssetExchange, AssetStatus
from alpaca.trading.requests import GetAssetsRequest, GetCalendarRequest

from tests.support.recordings import market_open, write_recordings
from tests.support.waiting import until
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


# ------------------------------------------------------------------------------------- stream


class Heard:
    """Records that the SDK's stream has handed over."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    async def take(self, record: Any) -> None:
        self.records.append(record)

    async def one(self) -> Any:
        """Return the first record, once it is there."""
        await until(lambda: bool(self.records))
        return self.records[0]


@asynccontextmanager
async def listening(running: Sandbox, stream: StockDataStream) -> AsyncIterator[None]:
    """Run the SDK's stream, from when it has subscribed to what it was told to."""
    task = asyncio.create_task(stream._run_forever())
    try:
        await until(lambda: bool(running.counters.stream.subscribed("iex")))
        yield
    finally:
        await stream.stop_ws()
        # It looks for the word to stop between two frames; without its socket it looks at once.
        await stream.close()
        await task


def sdk_stream(running: Sandbox) -> StockDataStream:
    """Return the SDK's stream, pointed at the sandbox."""
    return StockDataStream("key", "secret", url_override=f"{running.stream_url}/v2/iex")


async def test_streamed_quotes_and_trades(tmp_path: Path) -> None:
    """The SDK streams every recorded quote and trade of a replay."""
    day = date(2024, 3, 13)
    recorded = write_recordings(tmp_path, ["IBM"], day=day)["IBM"]
    start, end = market_open(day), market_open(day) + 24 * 3600 * 10**9
    settings = synthetic(replay=tmp_path, at="2024-03-13T10:00:00-04:00")
    quotes, trades = Heard(), Heard()
    async with asked(settings) as (running, _):
        stream = sdk_stream(running)
        stream.subscribe_quotes(quotes.take, "IBM")
        stream.subscribe_trades(trades.take, "IBM")
        async with listening(running, stream):
            played = await running.stream.replay(start, end, channels=["quotes", "trades"])
            total = played.records.total()
            await until(lambda: len(quotes.records) + len(trades.records) == total)

    assert [(one.bid_price, one.ask_price, one.bid_size) for one in quotes.records] == [
        (line["bp"], line["ap"], line["bs"])
        for line in (json.loads(text) for time, text in recorded.quotes if time >= start)
    ]
    assert [(one.symbol, one.price, one.size) for one in trades.records] == [
        ("IBM", line["p"], line["s"])
        for line in (json.loads(text) for time, text in recorded.trades if time >= start)
    ]


async def test_streamed_bars() -> None:
    """The SDK streams minute bars and running daily bars as market time passes."""
    elapsed = 0
    bars, daily = Heard(), Heard()
    async with asked(synthetic(speed=1.0), monotonic_ns=lambda: elapsed) as (running, _):
        stream = sdk_stream(running)
        stream.subscribe_bars(bars.take, "*")
        stream.subscribe_daily_bars(daily.take, "AAPL")
        async with listening(running, stream):
            elapsed = 60 * 10**9
            bar, day = await bars.one(), await daily.one()

    assert bar.timestamp == datetime(2026, 11, 20, 15, tzinfo=UTC)
    assert bar.low <= bar.vwap <= bar.high
    assert day.timestamp == datetime(2026, 11, 20, 5, tzinfo=UTC)
    assert day.volume > 0


async def test_streamed_status_and_amendments() -> None:
    """The SDK streams what a test has pushed: a halt, a correction, a cancellation."""
    at = "2026-11-20T15:00:00.123456789Z"
    halt = {"sc": "H", "sm": "Trading Halt", "rc": "T12", "rm": "Information", "z": "C"}
    correction = {
        "x": "M", "oi": 1, "op": 39.15, "os": 4, "oc": [" "],
        "ci": 2, "cp": 39.18, "cs": 4, "cc": [" "], "z": "B",
    }  # fmt: skip
    cancel = {"i": 465, "x": "D", "p": 105.31, "s": 300, "a": "C", "z": "C"}
    statuses, corrections, cancels = Heard(), Heard(), Heard()
    async with asked() as (running, _):
        stream = sdk_stream(running)
        stream.subscribe_trading_statuses(statuses.take, "*")
        stream.subscribe_trades(Heard().take, "AAPL")
        stream.register_trade_corrections(corrections.take)
        stream.register_trade_cancels(cancels.take)
        async with listening(running, stream):
            await running.stream.push(
                [
                    {"T": "s", "S": "AAPL", "t": at} | halt,
                    {"T": "c", "S": "AAPL", "t": at} | correction,
                    {"T": "x", "S": "AAPL", "t": at} | cancel,
                ]
            )
            status = await statuses.one()
            corrected = await corrections.one()
            cancelled = await cancels.one()

    assert (status.status_code, status.reason_code) == ("H", "T12")
    assert status.timestamp == datetime(2026, 11, 20, 15, 0, 0, 123456, tzinfo=UTC)
    assert (corrected.original_price, corrected.corrected_price) == (39.15, 39.18)
    assert (cancelled.id, cancelled.price) == (465, 105.31)


async def test_stream_unsubscribes() -> None:
    """The SDK's own unsubscription arrives."""
    async with asked() as (running, _):
        stream = sdk_stream(running)
        stream.subscribe_quotes(Heard().take, "AAPL", "MSFT")
        async with listening(running, stream):
            await stream._send_unsubscribe_msg("quotes", ["MSFT"])
            counters = running.counters.stream
            await until(lambda: counters.subscribed("iex") == {("quotes", "AAPL")})

    assert counters.unsubscribes == {("quotes", "MSFT"): 1}
