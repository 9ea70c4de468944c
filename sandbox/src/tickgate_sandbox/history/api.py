"""The endpoints of stocks' history: bars, trades and quotes, of many symbols or of one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from functools import partial
from http import HTTPStatus
from typing import Final

from aiohttp import web

from ..answers import Refusal, bad_request, json_response
from ..clock import MarketClock
from ..market import Due
from ..parameters import (
    Parameters,
    asked_symbol,
    asked_symbols,
    data_parameters,
    echoed_currency,
)
from ..settings import Plan
from ..timestamps import days_after, new_york_date
from .actions import CorporateActions, Name
from .paging import Page, PageRequest, turn_page
from .past import Past, TickKind
from .request import RECENT, read_bar_form, read_page_request
from .span import Span

FEEDS: Final = frozenset({"sip", "iex", "boats", "otc"})
"""What history can be asked of; all of them show the same market."""

_DEFAULT_FEED = "sip"
_FREE_FEED = "iex"
"""The only feed whose newest quarter of an hour the basic plan may read."""

_BARS = "bars"
_TICKS: Sequence[TickKind] = ("trades", "quotes")

_ReadName = Callable[[str, Span], list[Due]]
"""Gives the records of a symbol under which they were recorded."""


class HistoryApi:
    """Bars, trades and quotes by the page."""

    def __init__(
        self,
        past: Past,
        actions: CorporateActions,
        clock: MarketClock,
        plan: Plan,
        moved_by: Callable[[], int],
    ) -> None:
        """Answer from *past* up to the time of *clock*, as *plan* permits.

        Args:
            past: The records.
            actions: They tell under which names a company had its records.
            clock: Market time; nothing is known of what comes after it.
            plan: The data plan of the account.
            moved_by: Days by which the recorded dates of *actions* are moved.
        """
        self._past = past
        self._actions = actions
        self._clock = clock
        self._plan = plan
        self._moved_by = moved_by
        self._adding_up = asyncio.Lock()

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes of this API."""
        return [
            web.get("/v2/stocks/bars", partial(self._many, _BARS, self._bars)),
            web.get("/v2/stocks/{symbol}/bars", partial(self._one, _BARS, self._bars)),
            *(
                web.get(f"/v2/stocks/{kind}", partial(self._many, kind, partial(self._ticks, kind)))
                for kind in _TICKS
            ),
            *(
                web.get(
                    f"/v2/stocks/{{symbol}}/{kind}",
                    partial(self._one, kind, partial(self._ticks, kind)),
                )
                for kind in _TICKS
            ),
        ]

    async def _many(self, kind: str, reader: _Reader, request: web.Request) -> web.Response:
        currency = echoed_currency(request)
        page = await self._page(kind, asked_symbols(request), reader, request)
        # A symbol without records is simply not in the answer, and nothing says why.
        return json_response({kind: page.by_symbol(), "next_page_token": page.token} | currency)

    async def _one(self, kind: str, reader: _Reader, request: web.Request) -> web.Response:
        symbol = asked_symbol(request)
        currency = echoed_currency(request)
        page = await self._page(kind, [symbol], reader, request)
        return json_response(
            {kind: page.of(symbol), "symbol": symbol, "next_page_token": page.token} | currency
        )

    async def _page(
        self, kind: str, symbols: Sequence[str], reader: _Reader, request: web.Request
    ) -> Page:
        parameters = data_parameters(request)
        now = self._clock.now()
        feed = self._feed(parameters)
        delayed = self._plan is Plan.BASIC and feed != _FREE_FEED
        read = reader(parameters, now)
        asked = read_page_request(request, symbols, now, delayed=delayed)
        as_of = self._as_of(parameters, now)
        if delayed and asked.span.end > now - RECENT:
            data = f"recent {feed.upper()} data"
            raise Refusal(HTTPStatus.FORBIDDEN, f"subscription does not permit querying {data}")
        names = {symbol: self._actions.names(symbol, as_of) for symbol in symbols}
        await self._past.load({name.symbol for each in names.values() for name in each})
        # One at a time, or each of several early requests would add up the same bars.
        async with self._adding_up if kind == _BARS else nullcontext():
            return await asyncio.to_thread(_turn, asked, now, names, read)

    def _bars(self, parameters: Parameters, now: int) -> _ReadName:
        form = read_bar_form(parameters)
        return lambda symbol, span: self._past.bars(form, symbol, span, now)

    def _ticks(self, kind: TickKind, _parameters: Parameters, _now: int) -> _ReadName:
        return partial(self._past.ticks, kind)

    def _feed(self, parameters: Parameters) -> str:
        return parameters.choice("feed", FEEDS) or _DEFAULT_FEED

    def _as_of(self, parameters: Parameters, now: int) -> date | None:
        """Return the recorded day whose symbols are meant, or None where names are not mapped."""
        if parameters.text("asof") == "-":
            return None
        day = parameters.day("asof") or new_york_date(now)
        try:
            return days_after(day, -self._moved_by())
        except OverflowError as error:
            raise bad_request(f"invalid asof: {day}") from error


_Reader = Callable[[Parameters, int], _ReadName]
"""Reads from the parameters of a request, and the market time, what reads the records."""


def _turn(asked: PageRequest, now: int, names: dict[str, Sequence[Name]], read: _ReadName) -> Page:
    span = asked.span.within(asked.span.start, now)

    def read_company(symbol: str, span: Span) -> list[Due]:
        ordered = reversed(names[symbol]) if span.newest_first else names[symbol]
        found: list[Due] = []
        for name in ordered:
            known = _under(name, span)
            found += read(name.symbol, known.wanting(span.count - len(found)))
        return found

    return turn_page(replace(asked, span=span), read_company)


def _under(name: Name, span: Span) -> Span:
    """Return the part of *span* in which *name* was the company's."""
    since = span.start if name.since is None else name.since
    until = span.end if name.until is None else name.until
    return span.within(since, until)
