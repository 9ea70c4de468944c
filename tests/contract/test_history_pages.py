"""What every `HistoryPages` promises, whether it is the upstream, as it is or in the sandbox, or a fake of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tickgate_sandbox import SandboxSettings, sandbox
from tickgate_sandbox.faults import Status
from tickgate_server.errors import UpstreamBroken, UpstreamRejected
from tickgate_server.market.columns import Block
from tickgate_server.market.history_rows import rows
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import DataSource, Feed, Tier
from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.time import NANOS, parse_rfc3339
from tickgate_server.market.timeframe import parse_timeframe
from tickgate_server.market.trade import Trade
from tickgate_server.ports import HistoryPages, Priority, SeriesPart, Upstream, Walk
from tickgate_server.upstream.alpaca.history import AlpacaHistory
from tickgate_server.upstream.alpaca.http import HttpLimits, HttpRequests, http_session

from ..support.fakes import HandClock, gate, provenance
from ..support.history_pages import FakePages
from ..support.history_upstream import PagedRequests
from ..support.recordings import Recording, write_recordings

DAY = date(2024, 3, 13)
SYMBOLS = ("IBM", "AAPL", "MSFT")
"""Not in alphabetical order, and of the last one nothing was recorded."""

INVALID = "BAD2"
"""What no stock's symbol looks like."""

WHOLE = Interval(parse_rfc3339("2024-03-13T00:00:00Z"), parse_rfc3339("2024-03-14T00:00:00Z"))
"""The recorded day."""

TWO_WEEKS = Interval(parse_rfc3339("2024-02-01T00:00:00Z"), WHOLE.end)
"""The days of which there are bars."""

TRADES = SeriesKey(SeriesKind.TRADES, "IBM", Feed.SIP)
BARS = SeriesKey(SeriesKind.BARS, "IBM", Feed.SIP, parse_timeframe("1Day"))
"""What is walked through."""


class Subject:
    """Pages of the recordings, and how to break them."""

    def __init__(self, pages: HistoryPages, break_it: Callable[[], None]) -> None:
        self.pages = pages
        self.break_it = break_it

    async def walk(self, **changed: Any) -> list[Sequence[SeriesPart]]:
        """Read a walk to its end."""
        async with aclosing(self.start(**changed)) as pages:  # type: ignore[type-var]  # all of them are generators
            return [page async for page in pages]

    def start(self, **changed: Any) -> AsyncIterator[Sequence[SeriesPart]]:
        """Begin a walk."""
        return self.pages.walk(replace(WALK, **changed))


WALK = Walk(
    key=TRADES,
    symbols=SYMBOLS,
    interval=WHOLE,
    newest_first=False,
    page=100,
    priority=Priority.HISTORY,
    patience=10.0,
)


class Market:
    """Recordings of a day, on disk and in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recorded = write_recordings(folder, ("AAPL", "IBM"), DAY, updates=200)
        self.bars = {symbol: list(_bars(folder, symbol)) for symbol in self.recorded}

    def trades(self, symbol: str) -> list[Trade]:
        """What was recorded of *symbol*, a trade as it must come out."""
        recording: Recording | None = self.recorded.get(symbol)
        return [] if recording is None else [_trade(symbol, *line) for line in recording.trades]


def _bars(folder: Path, symbol: str) -> list[tuple[int, str]]:
    text = gzip.decompress((folder / "bars" / f"{symbol}-1Day-raw.json.gz").read_bytes())
    bars = json.loads(text, parse_float=Decimal)["bars"]
    return [(parse_rfc3339(bar["t"]), json.dumps(bar, default=float)) for bar in bars]


def _trade(symbol: str, time: int, line: str) -> Trade:
    sent = json.loads(line, parse_float=Decimal, parse_int=str)
    return Trade(
        symbol=symbol,
        price=Decimal(sent["p"]),
        size=int(sent["s"]),
        exchange=sent["x"],
        conditions=tuple(sent.get("c", ())),
        id=None,
        tape=sent["z"],
        amendment=None,
        provenance=provenance(time),
    )


Make = Callable[[Market], AbstractAsyncContextManager[Subject]]


@asynccontextmanager
async def fake(market: Market) -> AsyncIterator[Subject]:
    """The fake that other tests are fed with."""
    clock = HandClock()
    inner = AlpacaHistory(_requests(clock, market, "bars"), DataSource.SANDBOX, gate(clock), clock)
    bars: dict[SeriesKey, Block] = {}
    async for parts in inner.walk(replace(WALK, key=BARS, page=10_000, interval=TWO_WEEKS)):
        bars |= {BARS.about(one.symbol): block for one in parts for block in one.blocks}
    trades = {TRADES.about(symbol): market.trades(symbol) for symbol in market.recorded}
    pages = FakePages({**bars, **trades})
    pages.invalid = {INVALID}

    def break_it() -> None:
        pages.failing_with = UpstreamBroken("answered 500")

    yield Subject(pages, break_it)


@asynccontextmanager
async def alpaca(market: Market) -> AsyncIterator[Subject]:
    """Alpaca over requests that behave."""
    clock = HandClock()
    trades, bars = _requests(clock, market, "trades"), _requests(clock, market, "bars")

    class Both:
        async def send(self, request: Any) -> Any:
            return await (bars if request.path.endswith("bars") else trades).send(request)

    def break_it() -> None:
        trades.failure = bars.failure = UpstreamBroken("answered 500")

    yield Subject(AlpacaHistory(Both(), DataSource.SANDBOX, gate(clock), clock), break_it)


def _requests(clock: HandClock, market: Market, kind: str) -> PagedRequests:
    requests = PagedRequests(
        clock,
        market.bars
        if kind == "bars"
        else {symbol: list(one.trades) for symbol, one in market.recorded.items()},
    )
    requests.invalid = {INVALID}
    return requests


LIMITS = HttpLimits(30.0, 10.0, 10, 10, 300, "tickgate/test", 30.0)


@asynccontextmanager
async def in_the_sandbox(market: Market) -> AsyncIterator[Subject]:
    """Alpaca over HTTP, in front of a real sandbox that replays the recordings."""
    clock = HandClock()
    settings = SandboxSettings(
        listen="127.0.0.1:0", replay=market.folder, at="2024-03-18T15:00:00Z", speed=0
    )
    async with sandbox(settings) as venue, http_session(LIMITS, "key", "secret") as session:
        requests = HttpRequests(session, {Upstream.DATA: venue.url}, clock)

        def break_it() -> None:
            venue.faults.add(Status(status=500))

        yield Subject(AlpacaHistory(requests, DataSource.SANDBOX, gate(clock), clock), break_it)


MAKERS: dict[str, Make] = {"fake": fake, "alpaca": alpaca, "sandbox": in_the_sandbox}
EVERY = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
EITHER_WAY = pytest.mark.parametrize("newest_first", [False, True], ids=["oldest", "newest"])
PAGES = pytest.mark.parametrize("page", [1, 7, 100, 10_000])


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Recordings of one day."""
    return Market(tmp_path_factory.mktemp("recordings"))


def parts_of(pages: Sequence[Sequence[SeriesPart]], symbol: str) -> list[SeriesPart]:
    """What all pages make known of a symbol."""
    return [part for page in pages for part in page if part.symbol == symbol]


def values_of(pages: Sequence[Sequence[SeriesPart]], symbol: str) -> list[Any]:
    """The values of a symbol, without the answers that brought them."""
    found = [
        value
        for part in parts_of(pages, symbol)
        for block in part.blocks
        for value in rows(block, symbol)
    ]
    return [replace(value, provenance=provenance(value.event_time)) for value in found]


@EVERY
@EITHER_WAY
@PAGES
async def test_everything_comes_exactly(
    market: Market, make: Make, newest_first: bool, page: int
) -> None:
    """Every value of every symbol comes once, exactly and in the order asked for, however pages fall."""
    async with make(market) as subject:
        pages = await subject.walk(page=page, newest_first=newest_first)
    for symbol in SYMBOLS:
        expected, found = market.trades(symbol), values_of(pages, symbol)
        if newest_first:
            # Which of several in one instant is the first then, nobody says.
            times = [value.event_time for value in found]
            assert times == sorted(times, reverse=True)
            found, expected = sorted(found, key=_by_value), sorted(expected, key=_by_value)
        assert found == expected


def _by_value(trade: Trade) -> tuple[Any, ...]:
    return trade.event_time, trade.price, trade.size, trade.exchange, trade.conditions


@EVERY
@EITHER_WAY
@PAGES
async def test_parts_leave_no_hole(
    market: Market, make: Make, newest_first: bool, page: int
) -> None:
    """The parts of a symbol join to the range of the walk, and hold all that there is in each of them."""
    async with make(market) as subject:
        pages = await subject.walk(page=page, newest_first=newest_first)
    for symbol in SYMBOLS:
        parts = parts_of(pages, symbol)
        if newest_first:
            parts.reverse()
        edges = [parts[0].interval.start, *(part.interval.end for part in parts)]
        assert [part.interval.start for part in parts] == edges[:-1]
        assert (edges[0], edges[-1]) == WHOLE
        times = [trade.event_time for trade in market.trades(symbol)]
        for part in parts:
            assert not part.interval.empty
            held = sorted(time for block in part.blocks for time in block.times)
            assert held == [time for time in times if time in part.interval]
            assert (part.refused, part.refusal) == (0, None)


@EVERY
@EITHER_WAY
async def test_bars_come_exactly(market: Market, make: Make, newest_first: bool) -> None:
    """Bars come as they were recorded, what they have no value for stays unset, and each tells its interval."""
    async with make(market) as subject:
        pages = await subject.walk(key=BARS, interval=TWO_WEEKS, page=4, newest_first=newest_first)
    for symbol, recorded in market.bars.items():
        bars = values_of(pages, symbol)
        expected = [json.loads(text, parse_float=Decimal) for _, text in recorded]
        if newest_first:
            expected.reverse()
        assert [
            (bar.event_time, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trade_count,
             bar.vwap)
            for bar in bars
        ] == [
            (parse_rfc3339(one["t"]), *(Decimal(one[name]) for name in "ohlc"), one["v"], None, None)
            for one in expected
        ]  # fmt: skip
        for part in parts_of(pages, symbol):
            for block in part.blocks:
                assert all(time in part.interval for time in block.times)


@EVERY
@EITHER_WAY
async def test_symbols_come_in_alphabetical_order(
    market: Market, make: Make, newest_first: bool
) -> None:
    """Symbols come one after the other in alphabetical order; one of which there is nothing has its part."""
    async with make(market) as subject:
        pages = await subject.walk(page=30, newest_first=newest_first)
    symbols = [part.symbol for page in pages for part in page]
    assert symbols == sorted(symbols)
    assert set(symbols) == set(SYMBOLS)
    (nothing,) = parts_of(pages, "MSFT")
    assert (nothing.blocks, nothing.interval) == ((), WHOLE)


@EVERY
async def test_ranges_are_half_open(market: Market, make: Make) -> None:
    """The start of a range belongs to it, and its end does not, to the nanosecond."""
    times = sorted({trade.event_time or 0 for trade in market.trades("AAPL")})
    interval = Interval(times[3], times[8])
    async with make(market) as subject:
        pages = await subject.walk(symbols=("AAPL",), interval=interval)
        empty = await subject.walk(symbols=("AAPL",), interval=Interval(times[3] + 1, times[4]))
    found = {value.event_time for value in values_of(pages, "AAPL")}
    assert found == set(times[3:8])
    assert [part.blocks for part in parts_of(empty, "AAPL")] == [()]


@EVERY
@EITHER_WAY
async def test_a_failure_ends_the_walk(market: Market, make: Make, newest_first: bool) -> None:
    """When a page cannot be had the walk fails, and what it told before stands: nothing else is claimed."""
    told: list[SeriesPart] = []

    async def read(subject: Subject) -> None:
        async with aclosing(subject.start(newest_first=newest_first)) as pages:  # type: ignore[type-var]  # as above
            async for page in pages:
                told.extend(page)
                subject.break_it()

    async with make(market) as subject:
        with pytest.raises(UpstreamBroken):
            await read(subject)
    assert {part.symbol for part in told} == {"AAPL"}
    (part,) = told
    (block,) = part.blocks
    assert len(block) < len(market.trades("AAPL"))
    times = [trade.event_time for trade in market.trades("AAPL")]
    assert sorted(block.times) == [time for time in times if time in part.interval]
    edge = part.interval.end if newest_first else part.interval.start
    assert edge == (WHOLE.end if newest_first else WHOLE.start)


@EVERY
async def test_an_invalid_symbol_is_named(market: Market, make: Make) -> None:
    """A symbol that the upstream does not take fails the walk, which names it, so that the others can be asked for."""
    async with make(market) as subject:
        with pytest.raises(UpstreamRejected) as failure:
            await subject.walk(symbols=("AAPL", INVALID))
        assert failure.value.symbol == INVALID
        assert values_of(await subject.walk(symbols=("AAPL",)), "AAPL") == market.trades("AAPL")


@EVERY
async def test_a_walk_may_be_left(market: Market, make: Make) -> None:
    """Who has read enough leaves, and another walk begins anew."""
    async with make(market) as subject:
        async with aclosing(subject.start(page=7)) as pages:  # type: ignore[type-var]  # as above
            async for _ in pages:
                break
        assert values_of(await subject.walk(), "IBM") == market.trades("IBM")


@EVERY
async def test_values_have_an_origin(market: Market, make: Make) -> None:
    """Each block says where it came from, and by which answer."""
    async with make(market) as subject:
        pages = await subject.walk()
    for page in pages:
        for part in page:
            for block in part.blocks:
                origin = block.origin
                assert (origin.source, origin.served_from) == (DataSource.SANDBOX, Tier.UPSTREAM)
                assert origin.receive_time > NANOS
                assert origin.upstream_request_id
