"""Recorded history comes out as it was recorded, through upstream, store, rows, columns and tables; fetched once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tickgate import Bar, Feed, History, NotHeld, Tier, connect
from tickgate.v1 import error_reason_pb2, history_pb2, provenance_pb2
from tickgate.v1 import history_service_pb2 as pb
from tickgate_sandbox import Plan, SandboxSettings

from ..support.recordings import REAL_RECORDINGS
from ..support.running import Stack, running
from ..support.stores import postgres_url, redis_url
from ..support.tape import nanoseconds
from ..support.told import (
    Row,
    Told,
    recorded_bars,
    recorded_quotes,
    recorded_trades,
    rows_of_chunk,
    rows_of_page,
    told,
    within,
)
from ..support.waiting import until_told

PLENTY = {"plan": "plus", "budget": {"data_per_minute": 1_000_000, "trading_per_minute": 1_000_000}}
SIP = provenance_pb2.FEED_SIP
STORED = ["TIER_STORE"]

pytestmark = [
    pytest.mark.recordings,
    pytest.mark.skipif(
        not (REAL_RECORDINGS / "bars").exists(),
        reason="the real recordings are not part of the project and not beside it",
    ),
]


def moment(text: str) -> Timestamp:
    """Return an instant of the contract."""
    time = Timestamp()
    time.FromNanoseconds(nanoseconds(text))
    return time


@asynccontextmanager
async def stored(at: str, *symbols: str, cached: bool = False) -> AsyncIterator[Stack]:
    """Run a gateway with a store before a replay that stands at *at*, with Redis or without."""
    market = SandboxSettings(
        replay=REAL_RECORDINGS, symbols=symbols, at=at, speed=0, plan=Plan.PLUS
    )
    with postgres_url() as postgres, redis_url() as redis:
        more: dict[str, Any] = {"redis_url": redis} if cached else {}
        async with running(market, alpaca=PLENTY, postgres_url=postgres, **more) as stack:
            yield stack


async def held(stack: Stack, symbol: str, start: Timestamp, end: Timestamp, **series: Any) -> None:
    """Wait until the store has a range that was answered: it is written while callers read on."""
    request = pb.GetCoverageRequest(symbols=[symbol], feed=SIP, **series)

    def covers(answer: pb.GetCoverageResponse) -> bool:
        return any(
            one.start_time.ToNanoseconds() <= start.ToNanoseconds()
            and end.ToNanoseconds() <= one.end_time.ToNanoseconds()
            for one in answer.results[0].coverage.intervals
        )

    await until_told(lambda: stack.history.GetCoverage(request), covers)


BARS = history_pb2.SERIES_KIND_BARS
TRADES = history_pb2.SERIES_KIND_TRADES
QUOTES = history_pb2.SERIES_KIND_QUOTES


async def bars(stack: Stack, symbol: str, **terms: Any) -> Told:
    """Stream bars of one symbol."""
    request = pb.StreamBarsRequest(symbols=[symbol], feed=SIP, **terms)
    return (await told(stack.history.StreamBars(request)))[symbol]


SPY: Final[dict[str, Any]] = {
    "timeframe": "1Min",
    "start_time": moment("2024-02-20T00:00:00Z"),
    "end_time": moment("2024-05-18T00:00:00Z"),
}


@pytest.mark.slow
async def test_minute_bars_are_served_exactly_and_fetched_once() -> None:
    """49,720 real minute bars come out as recorded: from upstream, store, as rows, as a table, fetched once."""
    recorded = recorded_bars("SPY-1Min-2024-02-20_2024-05-17")
    assert len(recorded) == 49_720
    async with stored("2024-05-20T12:00:00Z", "SPY") as stack:
        first = await bars(stack, "SPY", **SPY)
        assert first.rows == recorded
        assert first.tiers == ["TIER_UPSTREAM"]
        await held(stack, "SPY", SPY["start_time"], SPY["end_time"], kind=BARS, timeframe="1Min")
        asked = stack.asked("/v2/stocks/bars")

        again = await bars(stack, "SPY", **SPY)
        assert again.rows == recorded
        assert again.tiers == STORED
        newest = await bars(stack, "SPY", sort=history_pb2.SORT_NEWEST_FIRST, **SPY)
        assert newest.rows == recorded[::-1]
        part = {
            "start_time": moment("2024-03-01T14:30:00Z"),
            "end_time": moment("2024-03-08T21:00:00Z"),
        }
        assert await listed_bars(stack, "SPY", timeframe="1Min", **part) == within(
            recorded, nanoseconds("2024-03-01T14:30:00Z"), nanoseconds("2024-03-08T21:00:00Z")
        )
        await check_tables(stack, recorded)
        assert stack.asked("/v2/stocks/bars") == asked


async def listed_bars(stack: Stack, symbol: str, **terms: Any) -> list[Row]:
    """Return the rows of all pages."""
    rows: list[Row] = []
    token = ""
    while True:
        page = await stack.history.ListBars(
            pb.ListBarsRequest(symbols=[symbol], feed=SIP, page_token=token, page_size=997, **terms)
        )
        for result in page.results:
            assert result.WhichOneof("result") == "page"
            rows += rows_of_page(result.page.bars)
        token = page.next_page_token
        if not token:
            return rows


async def check_tables(stack: Stack, recorded: list[Row]) -> None:
    """Read the same as a table, straight from the columns."""
    async with connect(stack.target) as client:
        frame = await client.bars(
            "SPY", "1Min", "2024-02-20T00:00:00Z", "2024-05-18T00:00:00Z", feed=Feed.SIP
        ).polars()
    assert frame["time"].dt.epoch("ns").to_list() == [row["t"] for row in recorded]
    for name, key in (("open", "o"), ("high", "h"), ("low", "l"), ("close", "c"), ("vwap", "vw")):
        assert frame[name].to_list() == [float(row[key]) for row in recorded]
    assert frame["volume"].to_list() == [row["v"] for row in recorded]
    assert frame["trade_count"].to_list() == [row["n"] for row in recorded]


async def test_daily_bars_are_served_exactly_across_splits() -> None:
    """AAPL's raw daily bars of 23 years come out as recorded, splits and all, and the second time out of the store."""
    recorded = recorded_bars("AAPL-1Day-raw")
    terms: dict[str, Any] = {"timeframe": "1Day", "start_time": moment("1998-01-01T00:00:00Z")}
    async with stored("2021-04-05T12:00:00Z", "AAPL") as stack:
        first = await bars(stack, "AAPL", **terms)
        end = moment("2021-04-01T04:00:00Z")
        await held(stack, "AAPL", terms["start_time"], end, kind=BARS, timeframe="1Day")
        asked = stack.asked("/v2/stocks/bars")
        again = await bars(stack, "AAPL", end_time=end, **terms)

        assert first.rows == again.rows == recorded
        assert again.tiers == STORED
        assert stack.asked("/v2/stocks/bars") == asked


@pytest.mark.parametrize("symbol", ["AIG", "IBM", pytest.param("BAC", marks=pytest.mark.slow)])
async def test_trades_are_served_exactly(symbol: str) -> None:
    """Every recorded trade of 2013-10-07 comes out as recorded, from the upstream and from the store."""
    recorded = recorded_trades(f"{symbol}-2013-10-07")
    start, end = moment("2013-10-07T04:00:00Z"), moment("2013-10-08T04:00:00Z")
    request = pb.StreamTradesRequest(symbols=[symbol], feed=SIP, start_time=start, end_time=end)
    async with stored("2013-10-09T12:00:00Z", symbol) as stack:
        first = (await told(stack.history.StreamTrades(request)))[symbol]
        await held(stack, symbol, start, end, kind=TRADES)
        asked = stack.asked("/v2/stocks/trades")
        again = (await told(stack.history.StreamTrades(request)))[symbol]

        assert first.rows == recorded
        assert again.rows == recorded
        assert again.tiers == STORED
        assert stack.asked("/v2/stocks/trades") == asked


async def test_quotes_are_served_exactly_whichever_answers_brought_them() -> None:
    """Quotes whose page ends within an instant come out as recorded, each with the answer that brought it."""
    start, end = "2013-10-07T08:00:00Z", "2013-10-07T13:57:00Z"
    recorded = within(recorded_quotes("BAC-2013-10-07"), nanoseconds(start), nanoseconds(end))
    assert recorded[9_999]["t"] == recorded[10_000]["t"], "a page of ten thousand ends there"
    span: dict[str, Any] = {"start_time": moment(start), "end_time": moment(end)}
    async with stored("2013-10-09T12:00:00Z", "BAC") as stack:
        for tier in ("UPSTREAM", "STORE"):
            request = pb.StreamQuotesRequest(symbols=["BAC"], feed=SIP, **span)
            events = [event async for event in stack.history.StreamQuotes(request)]
            chunks = [event.chunk for event in events if event.HasField("chunk")]
            assert [row for chunk in chunks for row in rows_of_chunk(chunk)] == recorded
            for said in (chunk.provenance for chunk in chunks):
                assert said.upstream_request_id
                assert said.HasField("receive_time")
                assert provenance_pb2.Tier.Name(said.served_from) == f"TIER_{tier}"
            await held(stack, "BAC", *span.values(), kind=QUOTES)
        async with connect(stack.target) as client:
            history = client.quote_history("BAC", start, end, feed=Feed.SIP)
            rows = [row async for row in history]
            frame = await history.polars(origin=True)
    asked = {row.provenance.upstream_request_id for row in rows}
    assert len(asked) == len(recorded) // 10_000 + 1
    assert all(asked)
    assert [
        (row.provenance.event_time_ns, row.bid and row.bid.price, row.ask and row.ask.size)
        for row in rows
    ] == [(row["t"], row.get("bp"), row.get("as")) for row in recorded]
    assert frame["time"].dt.epoch("ns").to_list() == [row["t"] for row in recorded]
    assert set(frame["upstream_request_id"]) == asked
    assert frame["receive_time"].null_count() == 0


async def test_a_deadline_cuts_where_it_says() -> None:
    """A stream from the store that runs out of time says from where on trades are missing; its cursor brings them."""
    recorded = recorded_trades("AIG-2013-10-07")
    start, end = moment("2013-10-07T04:00:00Z"), moment("2013-10-08T04:00:00Z")
    request = pb.StreamTradesRequest(symbols=["AIG"], feed=SIP, start_time=start, end_time=end)
    async with stored("2013-10-09T12:00:00Z", "AIG") as stack:
        await told(stack.history.StreamTrades(request))
        await held(stack, "AIG", start, end, kind=TRADES)
        asked = stack.asked("/v2/stocks/trades")
        cut = await cut_short(stack, request)
        assert cut.unavailable is not None
        request.cursor = cut.unavailable.cursor
        rest = (await told(stack.history.StreamTrades(request)))["AIG"]

        assert stack.asked("/v2/stocks/trades") == asked
    assert cut.rows + rest.rows == recorded
    assert cut.unavailable.count == len(cut.rows)
    assert cut.unavailable.missing_from_time.ToNanoseconds() == cut.rows[-1]["t"]
    why = cut.unavailable.unavailable
    assert why.reason == error_reason_pb2.ERROR_REASON_OUT_OF_TIME
    assert provenance_pb2.TIER_UPSTREAM not in [one.tier for one in why.tiers_tried]


async def cut_short(stack: Stack, request: pb.StreamTradesRequest) -> Told:
    """Ask with more and more time, until there is enough for some of the answer and too little for all."""
    for hundredths in range(2, 100):
        # With far too little the call itself is cut, on its way.
        with suppress(grpc.RpcError):
            answer = stack.history.StreamTrades(request, timeout=hundredths / 100)
            (cut,) = (await told(answer)).values()
            if cut.rows and cut.unavailable is not None:
                return cut
    raise AssertionError("the answer was all or nothing")


async def test_only_what_is_missing_is_fetched() -> None:
    """Of a range that overlaps what is held, the upstream is asked for the rest alone."""
    recorded = recorded_bars("IBM-1Min-2013-10-04_2013-10-09")
    async with stored("2013-10-11T12:00:00Z", "IBM") as stack:

        async def check(start: str, end: str) -> list[str]:
            terms = {"start_time": moment(start), "end_time": moment(end)}
            answer = await bars(stack, "IBM", timeframe="1Min", **terms)
            assert answer.rows == within(recorded, nanoseconds(start), nanoseconds(end))
            await held(stack, "IBM", moment(start), moment(end), kind=BARS, timeframe="1Min")
            return answer.tiers

        await check("2013-10-07T00:00:00Z", "2013-10-08T00:00:00Z")
        tiers = await check("2013-10-04T00:00:00Z", "2013-10-10T00:00:00Z")

        assert tiers == ["TIER_UPSTREAM", "TIER_STORE"]
        # One walk for the first range; two, before and behind it, for the second.
        assert stack.asked("/v2/stocks/bars") == 3


async def test_what_is_not_held_is_told_from_what_did_not_happen() -> None:
    """With the store alone a night that was fetched is whole and empty, and what was never fetched never looks so."""
    recorded = recorded_bars("IBM-1Min-2013-10-04_2013-10-09")
    day, night = "2013-10-07T00:00:00Z", "2013-10-08T02:00:00Z"
    async with stored("2013-10-11T12:00:00Z", "IBM") as stack:
        terms = {"start_time": moment(day), "end_time": moment("2013-10-08T08:00:00Z")}
        await bars(stack, "IBM", timeframe="1Min", **terms)
        await held(stack, "IBM", *terms.values(), kind=BARS, timeframe="1Min")
        asked = stack.asked("/v2/stocks/bars")

        async with connect(stack.target) as client:

            def ask(*span: str, **more: Any) -> History[Bar]:
                alone = {"feed": Feed.SIP, "allowed_tiers": [Tier.STORE]} | more
                return client.bars(["IBM"], "1Min", *span, **alone)

            empty = await ask(night, "2013-10-08T08:00:00Z")
            some = await ask(day, "2013-10-10T00:00:00Z", partial=True)
            with pytest.raises(NotHeld) as caught:
                await ask(day, "2013-10-10T00:00:00Z")
            with pytest.raises(NotHeld, match="not known then"):
                await ask(day, night, as_of=0)
            with pytest.raises(NotHeld):
                await client.price_at(
                    "IBM", "2013-10-09T15:00:00Z", feed=Feed.SIP, allowed_tiers=[Tier.STORE]
                )

        assert (len(empty), empty.whole) == (0, True)
        assert [bar.start_time_ns for bar in some] == [
            row["t"]
            for row in within(recorded, nanoseconds(day), nanoseconds("2013-10-08T08:00:00Z"))
        ]
        assert not some.whole
        assert some.missing[0].from_time_ns == nanoseconds("2013-10-08T08:00:00Z")
        assert "not held" in caught.value.message
        assert stack.asked("/v2/stocks/bars") == asked
