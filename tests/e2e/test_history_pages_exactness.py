"""Recorded bars, trades and quotes come through the sandbox's pages exactly, however many there are."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from tickgate_sandbox import SandboxSettings, sandbox
from tickgate_server.market.corporate_action import CorporateActionType
from tickgate_server.market.history_rows import rows
from tickgate_server.market.interval import Interval
from tickgate_server.market.provenance import DataSource, Feed
from tickgate_server.market.series import SeriesKey, SeriesKind
from tickgate_server.market.time import parse_rfc3339
from tickgate_server.market.timeframe import parse_timeframe
from tickgate_server.ports import Priority, Upstream, Walk
from tickgate_server.upstream.alpaca.corporate_actions import AlpacaCorporateActions
from tickgate_server.upstream.alpaca.history import AlpacaHistory
from tickgate_server.upstream.alpaca.http import HttpLimits, HttpRequests, http_session

from ..support.fakes import HandClock, gate
from ..support.recordings import REAL_RECORDINGS

pytestmark = [
    pytest.mark.recordings,
    pytest.mark.skipif(
        not REAL_RECORDINGS.is_dir(),
        reason="the real recordings are not part of the project and not beside it",
    ),
]

DAY = Interval(parse_rfc3339("2013-10-07T00:00:00Z"), parse_rfc3339("2013-10-08T01:00:00Z"))
MONTHS = Interval(parse_rfc3339("2024-02-20T00:00:00Z"), parse_rfc3339("2024-05-18T00:00:00Z"))
LIMITS = HttpLimits(30.0, 10.0, 10, 10, 300, "tickgate/test", 30.0)


class Past:
    """The past as the sandbox replays it."""

    def __init__(self, requests: HttpRequests, clock: HandClock) -> None:
        self._clock = clock
        self.refused: dict[str, int] = {}
        judge = gate(clock, self.refused)
        self._pages = AlpacaHistory(requests, DataSource.SANDBOX, judge, clock)
        self._actions = AlpacaCorporateActions(requests, DataSource.SANDBOX, judge)

    async def values(
        self, key: SeriesKey, symbols: tuple[str, ...], interval: Interval, *, newest_first: bool
    ) -> dict[str, list[Any]]:
        """Every value of a range, a symbol at a time."""
        walk = Walk(key, symbols, interval, newest_first, 10_000, Priority.HISTORY, 30.0)
        found: dict[str, list[Any]] = {}
        async for parts in self._pages.walk(walk):
            for part in parts:
                values = [value for block in part.blocks for value in rows(block, part.symbol)]
                found.setdefault(part.symbol, []).extend(values)
        return found

    async def splits(self, symbol: str) -> list[tuple[str, object, object]]:
        """The splits of a company in its life."""
        kinds = [CorporateActionType.FORWARD_SPLIT]
        found = await self._actions.corporate_actions(
            (symbol,), kinds, date(1990, 1, 1), date(2024, 5, 1), self._clock.monotonic() + 30
        )
        return [(str(one.ex_date), one.old_rate, one.new_rate) for one in found]


@asynccontextmanager
async def past() -> AsyncIterator[Past]:
    """Alpaca's past before a sandbox that replays the recordings."""
    clock = HandClock()
    settings = SandboxSettings(
        listen="127.0.0.1:0", replay=REAL_RECORDINGS, at="2024-05-20T15:00:00Z", speed=0
    )
    async with sandbox(settings) as venue, http_session(LIMITS, "key", "secret") as session:
        yield Past(HttpRequests(session, {Upstream.DATA: venue.url}, clock), clock)


def recorded(path: str) -> list[dict[str, Any]]:
    """What was recorded, numbers with the digits that they have."""
    text = gzip.decompress((REAL_RECORDINGS / path).read_bytes()).decode()
    if path.endswith(".jsonl.gz"):
        return [json.loads(line, parse_float=Decimal) for line in text.splitlines()]
    bars: list[dict[str, Any]] = json.loads(text, parse_float=Decimal)["bars"]
    return bars


@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest", "newest"])
async def test_three_months_of_minute_bars(newest_first: bool) -> None:
    """All 49,720 minute bars of SPY come as they were recorded."""
    key = SeriesKey(SeriesKind.BARS, "SPY", Feed.SIP, parse_timeframe("1Min"))
    async with past() as venue:
        found = await venue.values(key, ("SPY",), MONTHS, newest_first=newest_first)
        assert venue.refused == {}
    bars = [
        (bar.event_time, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trade_count,
         bar.vwap)
        for bar in found["SPY"]
    ]  # fmt: skip
    expected = [
        (parse_rfc3339(bar["t"]), *(Decimal(bar[name]) for name in "ohlc"), bar["v"], bar["n"],
         Decimal(bar["vw"]))
        for bar in recorded("bars/SPY-1Min-2024-02-20_2024-05-17.json.gz")
    ]  # fmt: skip
    assert bars == (expected[::-1] if newest_first else expected)


async def test_a_day_of_trades_of_two_symbols() -> None:
    """All trades of AIG and IBM of a day come in one walk as they were recorded."""
    key = SeriesKey(SeriesKind.TRADES, "IBM", Feed.SIP)
    async with past() as venue:
        found = await venue.values(key, ("IBM", "AIG"), DAY, newest_first=False)
        assert venue.refused == {}
    assert list(found) == ["AIG", "IBM"]
    for symbol, trades in found.items():
        assert [
            (one.event_time, one.price, one.size, one.exchange, one.conditions) for one in trades
        ] == [
            (parse_rfc3339(one["t"]), Decimal(one["p"]), one["s"], one.get("x"),
             tuple(one.get("c", ())))
            for one in recorded(f"trades/{symbol}-2013-10-07.jsonl.gz")
        ]  # fmt: skip


async def test_a_day_of_quotes() -> None:
    """All quotes of IBM of a day come as they were recorded, those that were crossed or had an empty side included."""
    key = SeriesKey(SeriesKind.QUOTES, "IBM", Feed.SIP)
    async with past() as venue:
        found = await venue.values(key, ("IBM",), DAY, newest_first=False)
        assert venue.refused == {}
    assert [
        (one.event_time, *_side(one.bid), *_side(one.ask)) for one in found["IBM"]
    ] == [
        (parse_rfc3339(one["t"]), *_sent(one, "b"), *_sent(one, "a"))
        for one in recorded("quotes/IBM-2013-10-07.jsonl.gz")
    ]  # fmt: skip
    assert sum(bool(one.bid and one.ask and one.bid.price > one.ask.price)
               for one in found["IBM"]) == 43  # fmt: skip


def _side(side: Any) -> tuple[Any, ...]:
    return (None, None, None) if side is None else (side.price, side.size, side.exchange)


def _sent(quote: dict[str, Any], side: str) -> tuple[Any, ...]:
    price = Decimal(quote[f"{side}p"])
    return (price, quote[f"{side}s"], quote.get(f"{side}x")) if price else (None, None, None)


async def test_the_splits_of_apple() -> None:
    """The four splits of AAPL since 2000 come with their days and ratios."""
    async with past() as venue:
        found = await venue.splits("AAPL")
        assert venue.refused == {}
    assert found == [
        ("2000-06-21", 1, 2),
        ("2005-02-28", 1, 2),
        ("2014-06-09", 1, 7),
        ("2020-08-31", 1, 4),
    ]
