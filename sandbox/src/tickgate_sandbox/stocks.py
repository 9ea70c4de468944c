"""The stock endpoints of the market data API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from .answers import Refusal, json_response
from .clock import MarketClock
from .codes import CONDITIONS, EXCHANGES
from .market import Market
from .parameters import asked_symbol, asked_symbols, data_parameters, echoed_currency
from .pins import Pins
from .settings import Plan
from .timestamps import SECOND

FEED_DELAY: Final = timedelta(minutes=15)
"""How old the market of the feed `delayed_sip` is."""

_FEEDS = frozenset({"sip", "iex", "delayed_sip", "boats", "overnight", "otc"})
_BASIC_FEEDS = frozenset({"iex", "delayed_sip"})
_DEFAULT_FEED = {Plan.BASIC: "iex", Plan.PLUS: "sip"}

_T = TypeVar("_T")

_LATEST = {"quotes": "quote", "trades": "trade", "bars": "bar"}
"""Kinds of latest record: the word in the path and envelope, and its singular."""


class StocksApi:
    """Latest quotes, trades and bars, snapshots, and what their codes mean."""

    def __init__(self, market: Market, clock: MarketClock, pins: Pins, plan: Plan) -> None:
        """Answer from *market* at the time of *clock*, from *pins* first, as *plan* permits."""
        self._market = market
        self._clock = clock
        self._pins = pins
        self._plan = plan
        self._adding_up = asyncio.Lock()
        self._read: dict[str, Callable[[str, int], bytes | None]] = {
            "quotes": market.quote,
            "trades": market.trade,
            "bars": market.minute_bar,
        }

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes of this API."""
        return [
            *(self._many(kind) for kind in _LATEST),
            *(self._one(kind) for kind in _LATEST),
            web.get("/v2/stocks/snapshots", self._snapshots),
            web.get("/v2/stocks/{symbol}/snapshot", self._snapshot),
            web.get("/v2/stocks/meta/exchanges", _exchanges),
            web.get("/v2/stocks/meta/conditions/{ticktype}", _conditions),
        ]

    def _many(self, kind: str) -> web.RouteDef:
        return web.get(f"/v2/stocks/{kind}/latest", partial(self._latest_many, kind))

    def _one(self, kind: str) -> web.RouteDef:
        return web.get(f"/v2/stocks/{{symbol}}/{kind}/latest", partial(self._latest_one, kind))

    async def _latest_many(self, kind: str, request: web.Request) -> web.Response:
        symbols = asked_symbols(request)
        instant = self._instant(request)
        await self._market.load(symbols)
        records = await self._records(kind, symbols, instant)
        # A symbol without data is simply not in the answer, and nothing says why.
        found = {symbol: record for symbol, record in records.items() if record is not None}
        return json_response({kind: found} | echoed_currency(request))

    async def _latest_one(self, kind: str, request: web.Request) -> web.Response:
        symbol = asked_symbol(request)
        instant = self._instant(request)
        await self._market.load([symbol])
        records = await self._records(kind, [symbol], instant)
        return json_response(
            {_LATEST[kind]: records[symbol], "symbol": symbol} | echoed_currency(request)
        )

    async def _snapshots(self, request: web.Request) -> web.Response:
        symbols = asked_symbols(request)
        instant = self._instant(request)
        echoed_currency(request)
        await self._market.load(symbols)
        return json_response(await self._snapshots_of(symbols, instant))

    async def _snapshot(self, request: web.Request) -> web.Response:
        symbol = asked_symbol(request)
        instant = self._instant(request)
        await self._market.load([symbol])
        parts = (await self._snapshots_of([symbol], instant))[symbol]
        if isinstance(parts, msgspec.Raw):
            return json_response(parts)
        return json_response(parts | {"symbol": symbol} | echoed_currency(request))

    async def _records(
        self, kind: str, symbols: Sequence[str], instant: int
    ) -> dict[str, msgspec.Raw | None]:
        def read() -> dict[str, msgspec.Raw | None]:
            return {symbol: self._record(kind, symbol, instant) for symbol in symbols}

        return await self._in_thread(read) if kind == "bars" else read()

    async def _snapshots_of(
        self, symbols: Sequence[str], instant: int
    ) -> dict[str, dict[str, Any] | msgspec.Raw]:
        return await self._in_thread(
            lambda: {symbol: self._parts(symbol, instant) for symbol in symbols}
        )

    async def _in_thread(self, read: Callable[[], _T]) -> _T:
        """Return what *read* does: it asks for bars, so it may have a day to add up."""
        # One at a time, or each of several early requests would add up the same day.
        async with self._adding_up:
            return await asyncio.to_thread(read)

    def _record(self, kind: str, symbol: str, instant: int) -> msgspec.Raw | None:
        pinned = self._pins.get(kind, symbol)
        return _raw(pinned if pinned is not None else self._read[kind](symbol, instant))

    def _parts(self, symbol: str, instant: int) -> dict[str, Any] | msgspec.Raw:
        """Return the snapshot of *symbol*; a part that is not known is not there."""
        pinned = self._pins.get("snapshots", symbol)
        if pinned is not None:
            return msgspec.Raw(pinned)
        daily = self._market.daily_bars(symbol, instant)
        parts = {
            "latestTrade": self._record("trades", symbol, instant),
            "latestQuote": self._record("quotes", symbol, instant),
            "minuteBar": self._record("bars", symbol, instant),
            "dailyBar": _raw(daily.latest),
            "prevDailyBar": _raw(daily.previous),
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _instant(self, request: web.Request) -> int:
        """Return the instant that the feed asked for shows now."""
        feed = request.query.get("feed", _DEFAULT_FEED[self._plan])
        if feed not in _FEEDS:
            raise Refusal(400, f"invalid feed: {feed}")
        if self._plan is Plan.BASIC and feed not in _BASIC_FEEDS:
            data = f"recent {feed.upper()} data"
            raise Refusal(403, f"subscription does not permit querying {data}")
        now = self._clock.now()
        return now - FEED_DELAY // timedelta(seconds=1) * SECOND if feed == "delayed_sip" else now


def _raw(record: bytes | None) -> msgspec.Raw | None:
    return msgspec.Raw(record) if record is not None else None


async def _exchanges(_request: web.Request) -> web.Response:
    return json_response(EXCHANGES)


async def _conditions(request: web.Request) -> web.Response:
    kind = request.match_info["ticktype"]
    if kind not in CONDITIONS:
        raise Refusal(400, f"invalid ticktype: {kind}")
    tape = data_parameters(request).required("tape")
    if tape not in CONDITIONS[kind]:
        raise Refusal(400, f"invalid tape: {tape}")
    return json_response(CONDITIONS[kind][tape])
