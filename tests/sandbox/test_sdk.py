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
from alpaca.data.enums import DataFeed, OptionsFeed
from alpaca.data.historical.option import OptionHistoricalDataClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.live.option import OptionDataStream
from alpaca.data.live.stock import StockDataStream
from alpaca.data.live.websocket import DataStream
from alpaca.data.requests import (
    OptionBarsRequest,
    OptionChainRequest,
    OptionLatestQuoteRequest,
    OptionLatestTradeRequest,
    OptionSnapshotRequest,
    OptionTradesRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockSnapshotRequest,
)
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import AssetExchange, AssetStatus, ContractType, ExerciseStyle
from alpaca.trading.requests import (
    GetAssetsRequest,
    GetCalendarRequest,
    GetOptionContractsRequest,
)

from tests.support.recordings import market_open, write_recordings
from tests.support.waiting import until
from tickgate_sandbox import Plan, Sandbox

from .asking import asked, synthetic

Result = TypeVar("Result")

NEAR = "AAPL261204C00230000"
"""An option near the money."""


async def data(running: Sandbox, ask: Callable[[StockHistoricalDataClient], Result]) -> Result:
    """Ask with the SDK's data client, which blocks, in a thread."""

    def call() -> Result:
        client = StockHistoricalDataClient("key", "secret", url_override=running.url)
        try:
            return ask(client)
        finally:
            client._session.close()

    return await asyncio.to_thread(call)


async def options(running: Sandbox, ask: Callable[[OptionHistoricalDataClient], Result]) -> Result:
    """Ask with the SDK's option client, which blocks, in a thread."""

    def call() -> Result:
        client = OptionHistoricalDataClient("key", "secret", url_override=running.url)
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


# ------------------------------------------------------------------------------------- options


async def test_option_quote_and_trade() -> None:
    """The SDK reads the latest quote and trade of an option."""
    quote = OptionLatestQuoteRequest(symbol_or_symbols=NEAR, feed=OptionsFeed.INDICATIVE)
    trade = OptionLatestTradeRequest(symbol_or_symbols=[NEAR])
    async with asked() as (running, _):
        quotes: Any = await options(running, lambda one: one.get_option_latest_quote(quote))
        trades: Any = await options(running, lambda one: one.get_option_latest_trade(trade))

    assert 0 < quotes[NEAR].bid_price < quotes[NEAR].ask_price
    assert quotes[NEAR].conditions in (" ", "A")
    assert trades[NEAR].price > 0
    assert trades[NEAR].id is None


async def test_option_snapshots() -> None:
    """The SDK reads snapshots with greeks, and those that lack them."""
    last_day = "AAPL261120C00230000"
    request = OptionSnapshotRequest(symbol_or_symbols=[NEAR, last_day, "AAPL261204C00999000"])
    async with asked() as (running, _):
        snapshots: Any = await options(running, lambda one: one.get_option_snapshot(request))

    assert list(snapshots) == [last_day, NEAR]
    assert 0 < snapshots[NEAR].greeks.delta < 1
    assert snapshots[NEAR].implied_volatility > 0
    assert snapshots[last_day].greeks is snapshots[last_day].implied_volatility is None
    assert snapshots[last_day].latest_quote is not None


async def test_option_chain() -> None:
    """The SDK walks a chain to its end, with every filter that it has."""
    request = OptionChainRequest(
        underlying_symbol="AAPL",
        feed=OptionsFeed.OPRA,
        type=ContractType.PUT,
        strike_price_gte=200.0,
        strike_price_lte=250.0,
        expiration_date_gte=date(2026, 12, 1),
        expiration_date_lte="2026-12-31",
        root_symbol="AAPL",
        updated_since=datetime(2026, 11, 20, 14, 30, tzinfo=UTC),
    )
    one_day = OptionChainRequest(underlying_symbol="AAPL", expiration_date=date(2026, 12, 4))
    everything = OptionChainRequest(underlying_symbol="AAPL")
    async with asked(synthetic(plan=Plan.PLUS)) as (running, _):
        some: Any = await options(running, lambda one: one.get_option_chain(request))
        day: Any = await options(running, lambda one: one.get_option_chain(one_day))
        every: Any = await options(running, lambda one: one.get_option_chain(everything))

    assert len(some) == 3 * 11
    assert len(day) == 82
    assert set(some) < set(every)
    assert len(every) == 8 * 82


async def test_option_feed_beyond_the_plan() -> None:
    """The SDK reports a feed that the plan lacks as Alpaca's error."""
    request = OptionChainRequest(underlying_symbol="AAPL", feed=OptionsFeed.OPRA)
    async with asked() as (running, _):
        with pytest.raises(APIError) as raised:
            await options(running, lambda one: one.get_option_chain(request))

    assert raised.value.status_code == 403
    assert "OPRA agreement is not signed" in str(raised.value)


async def test_option_bars_and_trades() -> None:
    """The SDK reads bars and trades of options."""
    start = datetime(2026, 11, 18, tzinfo=UTC)
    bars = OptionBarsRequest(symbol_or_symbols=NEAR, timeframe=TimeFrame.Day, start=start)
    trades = OptionTradesRequest(symbol_or_symbols=NEAR, start=start)
    async with asked() as (running, _):
        daily: Any = await options(running, lambda one: one.get_option_bars(bars))
        prints: Any = await options(running, lambda one: one.get_option_trades(trades))

    assert sum(bar.volume for bar in daily[NEAR]) == sum(trade.size for trade in prints[NEAR])
    assert daily[NEAR][0].timestamp == datetime(2026, 11, 18, 5, tzinfo=UTC)


async def test_option_codes() -> None:
    """The SDK reads the exchange codes of options."""
    async with asked() as (running, _):
        codes: Any = await options(running, lambda one: one.get_option_exchange_codes())

    assert codes["C"].startswith("CBOE")


async def test_option_contracts() -> None:
    """The SDK lists contracts with every filter that it has, page by page, and reads one."""
    request = GetOptionContractsRequest(
        underlying_symbols=["AAPL"],
        status=AssetStatus.ACTIVE,
        expiration_date_gte=date(2026, 12, 1),
        expiration_date_lte=date(2026, 12, 31),
        root_symbol="AAPL",
        type=ContractType.CALL,
        style=ExerciseStyle.AMERICAN,
        strike_price_gte="200",
        strike_price_lte="250",
        limit=20,
    )
    listed: list[Any] = []
    async with asked() as (running, _):
        while True:
            page: Any = await trading(running, lambda one: one.get_option_contracts(request))
            listed += page.option_contracts
            request.page_token = page.next_page_token
            if page.next_page_token is None:
                break
        one: Any = await trading(running, lambda client: client.get_option_contract(NEAR))
        by_id: Any = await trading(running, lambda client: client.get_option_contract(one.id))

    assert len({contract.symbol for contract in listed}) == len(listed) == 3 * 11
    assert by_id == one
    assert one in listed
    assert (one.strike_price, one.size) == (230.0, "100")
    assert {contract.open_interest is None for contract in listed} == {True, False}


async def test_unknown_underlying_of_options() -> None:
    """The SDK reads code and message of a request for contracts of what nobody lists."""
    request = GetOptionContractsRequest(underlying_symbols=["ZZZZQ"])
    async with asked() as (running, _):
        with pytest.raises(APIError) as raised:
            await trading(running, lambda client: client.get_option_contracts(request))

    assert raised.value.code == 42210000
    assert raised.value.message == "invalid underlying symbols: ZZZZQ"


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
async def listening(running: Sandbox, stream: DataStream, feed: str = "iex") -> AsyncIterator[None]:
    """Run the SDK's stream, from when it has subscribed to what it was told to."""
    task = asyncio.create_task(stream._run_forever())
    try:
        await until(lambda: bool(running.counters.stream.subscribed(feed)))
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


@pytest.mark.parametrize("feed", ["indicative", "opra"])
async def test_streamed_options(feed: str) -> None:
    """The SDK streams quotes and trades of options."""
    quotes, trades = Heard(), Heard()
    async with asked(synthetic(plan=Plan.PLUS)) as (running, _):
        url = f"{running.stream_url}/v1beta1/{feed}"
        stream = OptionDataStream("key", "secret", url_override=url)
        stream.subscribe_quotes(quotes.take, NEAR)
        stream.subscribe_trades(trades.take, NEAR)
        async with listening(running, stream, feed):
            now = running.clock.now()
            played = await running.stream.replay(now, now + 5 * 3600 * 10**9)
            await until(lambda: len(quotes.records) + len(trades.records) == played.records.total())

    assert {quote.symbol for quote in quotes.records} == {NEAR}
    assert all(0 < quote.bid_price < quote.ask_price for quote in quotes.records)
    assert trades.records
    assert all(trade.price > 0 for trade in trades.records)
