"""The parts of the trading API that a data gateway reads: assets, clock and calendar."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date, timedelta
from http import HTTPStatus

import msgspec
from aiohttp import web

from .answers import NOT_FOUND, Refusal, json_response, unprocessable
from .assets import ASSET_CLASSES, EXCHANGES, STATUSES, AssetDirectory, AssetFilter
from .calendar import FIRST_DAY, LAST_DAY, ExchangeCalendar, Session
from .clock import MarketClock
from .pins import Pins
from .timestamps import render_new_york

_TRADING = "TRADING"
_SETTLEMENT = "SETTLEMENT"

_LONGEST_SETTLEMENT = timedelta(days=14)
"""Settlement days lie at most so far after trading days: five business days and holidays."""


class TradingApi:
    """Assets, market clock and market calendar. Its errors carry a `code`."""

    def __init__(
        self,
        assets: AssetDirectory,
        calendar: ExchangeCalendar,
        clock: MarketClock,
        pins: Pins,
        first_day: Callable[[], date],
    ) -> None:
        """Answer from *assets*, *pins* first, and from *calendar* at the time of *clock*.

        The clock also tells the *first_day* of which the data API has history.
        """
        self._assets = assets
        self._calendar = calendar
        self._clock = clock
        self._pins = pins
        self._first_day = first_day

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes of this API."""
        return [
            web.get("/v2/assets", self._list_assets),
            web.get("/v2/assets/{asset}", self._asset),
            web.get("/v2/clock", self._market_clock),
            web.get("/v2/calendar", self._market_calendar),
        ]

    async def _list_assets(self, request: web.Request) -> web.Response:
        wanted = AssetFilter(
            status=_choice(request, "status", STATUSES),
            asset_class=_choice(request, "asset_class", ASSET_CLASSES) or "us_equity",
            exchange=_choice(request, "exchange", EXCHANGES),
            attributes=frozenset(filter(None, request.query.get("attributes", "").split(","))),
        )
        selected = dict(self._assets.select(wanted))
        pinned = self._pins.of_kind("assets")
        # A pin for a symbol that nobody lists is listed too, whatever the filters say.
        pinned = {
            symbol: raw
            for symbol, raw in pinned.items()
            if symbol in selected or symbol not in self._assets
        }
        return json_response([msgspec.Raw(raw) for raw in (selected | pinned).values()])

    async def _asset(self, request: web.Request) -> web.Response:
        name = request.match_info["asset"]
        found = self._assets.find(name)
        symbol = found[0] if found is not None else name
        raw = self._pins.get("assets", symbol) or (found[1] if found is not None else None)
        if raw is None:
            raise Refusal(HTTPStatus.NOT_FOUND, f"asset not found for {name}", NOT_FOUND)
        return json_response(msgspec.Raw(raw))

    async def _market_clock(self, request: web.Request) -> web.Response:
        now = self._clock.now()
        return json_response(
            {
                "timestamp": render_new_york(now),
                "is_open": self._calendar.is_open(now),
                "next_open": render_new_york(self._calendar.next_open(now)),
                "next_close": render_new_york(self._calendar.next_close(now)),
                # Not Alpaca's: they tell a client how fast this market's time passes, and of
                # which day there is history at the earliest.
                "speed": self._clock.speed,
                "first_day": self._first_day().isoformat(),
            }
        )

    async def _market_calendar(self, request: web.Request) -> web.Response:
        first = _date(request, "start", FIRST_DAY)
        last = _date(request, "end", LAST_DAY)
        if first > last:
            raise unprocessable("end should not be before start")
        by = request.query.get("date_type", _TRADING)
        if by not in (_TRADING, _SETTLEMENT):
            raise unprocessable(f"invalid date_type: {by}")
        days = self._by_settlement if by == _SETTLEMENT else self._by_trading_day
        return json_response(list(days(first, last)))

    def _by_trading_day(self, first: date, last: date) -> Iterator[dict[str, str]]:
        for session in self._calendar.between(first, last):
            yield _calendar_day(session, self._calendar.settlement(session.day))

    def _by_settlement(self, first: date, last: date) -> Iterator[dict[str, str]]:
        earliest = max(FIRST_DAY, first - _LONGEST_SETTLEMENT)
        for session in self._calendar.between(earliest, last):
            settlement = self._calendar.settlement(session.day)
            if first <= settlement <= last:
                yield _calendar_day(session, settlement)


def _calendar_day(session: Session, settlement: date) -> dict[str, str]:
    return {
        "date": session.day.isoformat(),
        "open": "09:30",
        "close": "13:00" if session.early_close else "16:00",
        "session_open": "0400",
        "session_close": "2000",
        "settlement_date": settlement.isoformat(),
    }


def _choice(request: web.Request, name: str, choices: Collection[str]) -> str | None:
    value = request.query.get(name)
    if value is not None and value not in choices:
        raise unprocessable(f"invalid {name}: {value}")
    return value


def _date(request: web.Request, name: str, default: date) -> date:
    """Return a date parameter, cut to the calendar's years; a time of day is ignored."""
    text = request.query.get(name)
    if text is None:
        return default
    try:
        day = date.fromisoformat(text[:10])
    except ValueError as error:
        raise unprocessable(f"invalid {name}: {text}") from error
    return min(max(day, FIRST_DAY), LAST_DAY)
